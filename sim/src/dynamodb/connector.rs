//! The double under the unmodified AWS SDK.

use std::io;
use std::sync::Arc;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use http_body_util::BodyExt;
use serde_json::Value;

use super::SimDynamoDb;
use super::exchange::{Call, Reply};
use crate::door::NoAnswer;

/// An HTTP client for the AWS SDK that answers from simulated tables. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SimDynamoDbHttpClient {
    pub(super) tables: SimDynamoDb,
    pub(super) caller: Arc<str>,
}

impl HttpClient for SimDynamoDbHttpClient {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for SimDynamoDbHttpClient {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let Self { tables, caller } = self.clone();
        HttpConnectorFuture::new(async move {
            let request =
                request.try_into_http1x().map_err(|error| ConnectorError::other(error.into(), None))?;
            let (parts, body) = request.into_parts();
            // Polled to its end: the SDK's stalled-stream protection counts what is polled, not what is peeked at.
            let body = body.collect().await.map_err(ConnectorError::user)?.to_bytes();
            let target = parts.headers.get("x-amz-target").and_then(|value| value.to_str().ok());
            let operation = target.and_then(|target| target.strip_prefix("DynamoDB_20120810.")).unwrap_or("");
            let input = serde_json::from_slice(&body).unwrap_or(Value::Null);
            let sent_at = tables.now_millis();
            let call = Call { caller, operation: operation.to_owned(), input, sent_at };
            match tables.exchange(call).await {
                Ok(reply) => response(&reply),
                Err(NoAnswer::ConnectionBroken) => Err(ConnectorError::io(
                    io::Error::new(io::ErrorKind::ConnectionReset, "the simulated connection broke").into(),
                )),
                Err(NoAnswer::TimedOut) => Err(ConnectorError::timeout(
                    io::Error::new(io::ErrorKind::TimedOut, "the simulated service did not answer in time")
                        .into(),
                )),
            }
        })
    }
}

fn response(reply: &Reply) -> Result<HttpResponse, ConnectorError> {
    let response = http::Response::builder()
        .status(reply.status)
        .header("content-type", "application/x-amz-json-1.0")
        .body(SdkBody::from(reply.body.to_string()))
        .map_err(|error| ConnectorError::other(error.into(), None))?;
    HttpResponse::try_from(response).map_err(|error| ConnectorError::other(error.into(), None))
}
