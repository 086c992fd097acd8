//! The checks that stand before the engine, in the service's order.

use bytes::Bytes;
use http::request::Parts;
use http::{Method, header};

use super::credential::Credential;
use super::cross_origin;
use super::refusal::Refusal;
use crate::error::{ErrorCode, ServiceError};
use crate::operation::{self, Operation};
use crate::wire::{self, Encoding, Value};

/// The service's name and version, before the dot of the target.
const SERVICE: &str = "Kinesis_20131202";

/// Not the service's own type: it answers in a form of long ago, and never does anything.
const PLAIN_JSON: &str = "application/json";

/// A request for the engine.
#[derive(Debug)]
pub(super) struct Admitted<'a> {
    pub(super) encoding: Encoding,
    pub(super) operation: &'static Operation,
    pub(super) input: Value<'a>,
    pub(super) credential: Credential,
}

/// Admits a request, or says how it is refused. The path is of no account.
pub(super) fn admit<'a>(parts: &Parts, body: &'a Bytes) -> Result<Admitted<'a>, Refusal> {
    if cross_origin::is_preflight(parts) {
        return Err(Refusal::Preflight);
    }
    if parts.method != Method::POST {
        return Err(Refusal::AccessDenied);
    }
    let text = |name| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let media_type = text(header::CONTENT_TYPE).and_then(|value| value.split(';').next()).unwrap_or_default();
    let media_type = media_type.trim();
    let encoding =
        [Encoding::Json, Encoding::Cbor].into_iter().find(|known| known.media_type() == media_type);
    let target = parts.headers.get("x-amz-target").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (service, name) = target.split_once('.').unwrap_or((target, ""));
    let operation = operation::find(name).filter(|_| service == SERVICE);

    if body.is_empty() {
        let code = if operation.is_some() { ErrorCode::Serialization } else { ErrorCode::UnknownOperation };
        let encoding = encoding.unwrap_or(Encoding::Cbor);
        return Err(Refusal::Error(encoding, ServiceError::bare(code)));
    }
    let Some(encoding) = encoding else {
        return Err(match media_type {
            PLAIN_JSON if wire::json::read(body).is_none() => Refusal::PlainJson(ErrorCode::Serialization),
            PLAIN_JSON => Refusal::PlainJson(ErrorCode::UnknownOperation),
            _ if service.is_empty() || name.is_empty() => Refusal::AccessDenied,
            _ => Refusal::NoSuchOperation,
        });
    };
    let refused = |error| Refusal::Error(encoding, error);
    let bare = |code| refused(ServiceError::bare(code));
    let input = wire::read(encoding, body).ok_or_else(|| bare(ErrorCode::Serialization))?;
    let operation = operation.ok_or_else(|| bare(ErrorCode::UnknownOperation))?;
    let credential = Credential::find(&parts.headers, parts.uri.query()).map_err(refused)?;
    if encoding == Encoding::Cbor && operation.name == "SubscribeToShard" {
        // Its events are JSON for every client; the service knows no other form of it.
        return Err(bare(ErrorCode::InternalFailure));
    }
    Ok(Admitted { encoding, operation, input, credential })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(method: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder().method(method).uri("/any/path?x=1");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn outcome(method: &str, headers: &[(&str, &str)], body: &'static str) -> Result<&'static str, String> {
        let body = Bytes::from_static(body.as_bytes());
        admit(&parts(method, headers), &body).map(|admitted| admitted.operation.name).map_err(|refusal| {
            match refusal {
                Refusal::Preflight => "preflight".to_owned(),
                Refusal::AccessDenied => "403".to_owned(),
                Refusal::NoSuchOperation => "404".to_owned(),
                Refusal::PlainJson(code) => format!("plain {}", code.name()),
                Refusal::Error(encoding, error) => format!("{encoding:?} {}", error.code.name()),
            }
        })
    }

    const JSON: (&str, &str) = ("content-type", "application/x-amz-json-1.1");
    const CBOR: (&str, &str) = ("content-type", "application/x-amz-cbor-1.1");
    const PLAIN: (&str, &str) = ("content-type", "   application/json   ;charset=utf-8");
    const OTHER: (&str, &str) = ("content-type", "application/x-amz-json-1.0");
    const LIST: (&str, &str) = ("x-amz-target", "Kinesis_20131202.ListStreams");
    const AUTH: (&str, &str) =
        ("authorization", "AWS4-HMAC-SHA256 Credential=a, SignedHeaders=b, Signature=c");
    const DATE: (&str, &str) = ("x-amz-date", "20260101T000000Z");

    /// Method, headers, body; what comes of it.
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'static str, Result<&'a str, String>);

    #[test]
    fn checks_come_in_the_services_order() {
        let refused = |text: &str| Err(text.to_owned());
        let cases: [Case; 24] = [
            ("OPTIONS", &[("origin", "x")], "", refused("preflight")),
            ("OPTIONS", &[], "", refused("403")),
            ("GET", &[JSON, LIST, AUTH, DATE], "", refused("403")),
            ("PUT", &[JSON, LIST, AUTH, DATE], "{}", refused("403")),
            ("DELETE", &[], "", refused("403")),
            ("POST", &[], "", refused("Cbor UnknownOperationException")),
            ("POST", &[LIST], "", refused("Cbor SerializationException")),
            ("POST", &[PLAIN, LIST], "", refused("Cbor SerializationException")),
            ("POST", &[OTHER], "", refused("Cbor UnknownOperationException")),
            ("POST", &[JSON], "", refused("Json UnknownOperationException")),
            ("POST", &[JSON, LIST], "", refused("Json SerializationException")),
            ("POST", &[], "{}", refused("403")),
            ("POST", &[OTHER], "{}", refused("403")),
            ("POST", &[OTHER, LIST], "{}", refused("404")),
            ("POST", &[PLAIN, LIST, AUTH, DATE], "hello", refused("plain SerializationException")),
            ("POST", &[PLAIN, LIST, AUTH, DATE], "{}", refused("plain UnknownOperationException")),
            ("POST", &[JSON, LIST], "hello", refused("Json SerializationException")),
            ("POST", &[JSON], "hello", refused("Json SerializationException")),
            ("POST", &[JSON], "{}", refused("Json UnknownOperationException")),
            (
                "POST",
                &[JSON, ("x-amz-target", "Kinesis_20131202.Make")],
                "{}",
                refused("Json UnknownOperationException"),
            ),
            (
                "POST",
                &[JSON, ("x-amz-target", "Other_20131202.ListStreams")],
                "{}",
                refused("Json UnknownOperationException"),
            ),
            ("POST", &[JSON, LIST], "{}", refused("Json MissingAuthenticationTokenException")),
            ("POST", &[CBOR, LIST], "\u{7f}", refused("Cbor SerializationException")),
            ("POST", &[JSON, LIST, AUTH, DATE], "{}", Ok("ListStreams")),
        ];
        for (method, headers, body, expected) in cases {
            assert_eq!(outcome(method, headers, body), expected, "{method} {headers:?} {body:?}");
        }
    }
}
