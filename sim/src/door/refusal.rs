//! What is answered to requests that do not reach the engine: each form is the service's.

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};

use crate::engine::{Engine, Reply};
use crate::error::{ErrorCode, ServiceError};
use crate::subscription::body::ReplyBody;
use crate::wire::Encoding;

const ACCESS_DENIED: &str = "<AccessDeniedException>\n  <Message>Unable to determine service/operation name to be \
                             authorized</Message>\n</AccessDeniedException>\n";

const NO_SUCH_OPERATION: &str = "<UnknownOperationException/>\n";

#[derive(Debug)]
pub(super) enum Refusal {
    /// Not refused at all: a browser asked for leave.
    Preflight,
    /// Not an API request.
    AccessDenied,
    /// Of an encoding that nobody speaks.
    NoSuchOperation,
    /// Of the content type `application/json`, which nothing is done for.
    PlainJson(ErrorCode),
    /// An error like any other.
    Error(Encoding, ServiceError),
}

impl Refusal {
    pub(super) fn respond(&self, engine: &mut Engine) -> Response<ReplyBody> {
        let (reply, media_type) = match self {
            Self::Preflight => (engine.reply(200, Vec::new()), None),
            Self::AccessDenied => (engine.reply(403, ACCESS_DENIED.into()), None),
            Self::NoSuchOperation => (engine.reply(404, NO_SUCH_OPERATION.into()), None),
            Self::PlainJson(code) => {
                let status = if *code == ErrorCode::UnknownOperation { 404 } else { code.status() };
                let name = code.name();
                let body =
                    format!(r#"{{"Output":{{"__type":"com.amazon.coral.service#{name}"}},"Version":"1.0"}}"#);
                (engine.reply(status, body.into()), Some("application/json"))
            }
            Self::Error(encoding, error) => {
                (engine.error_reply(*encoding, error), Some(encoding.media_type()))
            }
        };
        let (body, mut head) = head_of(reply, media_type);
        if matches!(self, Self::Preflight) {
            head.headers_mut().remove("x-amz-id-2");
        }
        head.map(|()| ReplyBody::from(body))
    }
}

/// The body of a reply, and the head of the response that carries it.
pub(super) fn head_of(reply: Reply, media_type: Option<&'static str>) -> (Bytes, Response<()>) {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    if let Some(media_type) = media_type {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    }
    for (name, value) in [("x-amzn-requestid", reply.request_id), ("x-amz-id-2", reply.extended_request_id)] {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
    (reply.body, response)
}
