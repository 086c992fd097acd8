//! What stands between one worker or producer and the service: it holds answers back while the process is frozen, and
//! can be told to cut the process off for good.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_sdk_kinesis::config::http::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use kinesis_shard::Freezer;
use kinesis_sim::{Sim, SimHttpClient};

/// The network of one process.
#[derive(Debug, Clone)]
pub struct Network {
    inner: SimHttpClient,
    freezer: Freezer,
    cut: Arc<AtomicBool>,
}

impl Network {
    pub fn new(sim: &Sim, caller: &str, freezer: &Freezer) -> Self {
        Self { inner: sim.http_client(caller), freezer: freezer.clone(), cut: Arc::default() }
    }

    /// A client of the SDK behind this network.
    pub fn client(&self, sim: &Sim, caller: &str) -> aws_sdk_kinesis::Client {
        let config = sim.client_named(caller).config().to_builder().http_client(self.clone()).build();
        aws_sdk_kinesis::Client::from_conf(config)
    }

    /// From now on nothing gets out: what a process still does while it is torn down is not seen by anybody.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
    }
}

impl HttpClient for Network {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Network {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        if self.cut.load(Ordering::Relaxed) {
            return HttpConnectorFuture::ready(Err(ConnectorError::io("this process is dead".into())));
        }
        let (answer, freezer) = (self.inner.call(request), self.freezer.clone());
        HttpConnectorFuture::new(async move {
            let answer: Result<HttpResponse, ConnectorError> = answer.await;
            freezer.thawed().await;
            answer
        })
    }
}
