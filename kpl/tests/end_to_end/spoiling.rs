//! An HTTP client for the SDK that answers from the engine and spoils what it likes on the way.

use std::fmt;
use std::sync::Arc;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use kinesis_sim::{Sim, SimHttpClient};
use serde_json::Value;

/// What to answer instead.
pub(crate) enum Spoiled {
    /// What the engine said.
    No,
    /// This status and body; the engine has taken the request all the same.
    Yes(u16, String),
    /// The same, and the engine has never seen the request.
    Refused(u16, String),
    /// Nothing, ever.
    Hangs,
}

type Spoil = dyn Fn(&str, &Value) -> Spoiled + Send + Sync;

/// A client whose answers are shown, with the name of the operation, to this function first. Before the engine is asked, it is shown
/// `null`.
pub(crate) fn client(
    sim: &Sim,
    spoil: impl Fn(&str, &Value) -> Spoiled + Send + Sync + 'static,
) -> aws_sdk_kinesis::Client {
    let spoiling = Spoiling { inner: sim.http_client("producer"), spoil: Arc::new(spoil) };
    let config = sim.client().config().to_builder().http_client(spoiling).build();
    aws_sdk_kinesis::Client::from_conf(config)
}

#[derive(Clone)]
struct Spoiling {
    inner: SimHttpClient,
    spoil: Arc<Spoil>,
}

impl fmt::Debug for Spoiling {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Spoiling")
    }
}

impl HttpClient for Spoiling {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Spoiling {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
        let (inner, spoil) = (self.inner.clone(), Arc::clone(&self.spoil));
        HttpConnectorFuture::new(async move {
            if let Some(answer) = spoiled(spoil(&operation, &Value::Null)).await {
                return Ok(answer);
            }
            let answer = inner.call(request).await?;
            let body = answer.body().bytes().unwrap_or_default();
            let seen = serde_json::from_slice(body).unwrap_or_default();
            Ok(spoiled(spoil(&operation, &seen)).await.unwrap_or(answer))
        })
    }
}

async fn spoiled(answer: Spoiled) -> Option<HttpResponse> {
    match answer {
        Spoiled::No => None,
        Spoiled::Yes(status, body) | Spoiled::Refused(status, body) => {
            let response = http::Response::builder()
                .status(status)
                .header("content-type", "application/x-amz-json-1.1")
                .body(SdkBody::from(body))
                .expect("a response");
            Some(HttpResponse::try_from(response).expect("a response"))
        }
        Spoiled::Hangs => std::future::pending().await,
    }
}
