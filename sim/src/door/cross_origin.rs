//! Browsers ask before they send, and look for leave in every answer.

use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Response};

/// How long a browser may remember the leave: two days, in seconds.
const MAX_AGE: &str = "172800";

const EXPOSED: &str =
    "x-amzn-RequestId,x-amzn-ErrorType,x-amz-request-id,x-amz-id-2,x-amzn-ErrorMessage,Date";

/// Whether a browser asks for leave.
pub(super) fn is_preflight(parts: &Parts) -> bool {
    parts.method == Method::OPTIONS && parts.headers.contains_key(header::ORIGIN)
}

/// Gives leave to any origin that asks.
pub(super) fn allow<B>(parts: &Parts, response: &mut Response<B>) {
    if !parts.headers.contains_key(header::ORIGIN) {
        return;
    }
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    if !is_preflight(parts) {
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
        return;
    }
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE));
    let mut echo = |asked: HeaderName, granted: HeaderName| {
        if let Some(value) = parts.headers.get(asked) {
            headers.insert(granted, value.clone());
        }
    };
    echo(header::ACCESS_CONTROL_REQUEST_HEADERS, header::ACCESS_CONTROL_ALLOW_HEADERS);
    echo(header::ACCESS_CONTROL_REQUEST_METHOD, header::ACCESS_CONTROL_ALLOW_METHODS);
}
