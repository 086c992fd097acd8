//! What stands between one worker or producer and the service: it holds answers back while the process is frozen, and
//! can be told to cut the process off for good.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use aws_sdk_kinesis::config::http::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http_body::{Body, Frame};
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
            answer.map(|answer| {
                answer.map(|body| SdkBody::from_body_1_x(FrozenBody::new(body, freezer.clone())))
            })
        })
    }
}

/// The body of an answer; what comes while the process is frozen is seen when it goes on.
struct FrozenBody {
    body: SdkBody,
    freezer: Freezer,
    /// A lock only because a body must be `Sync`.
    thaws: Mutex<Option<BoxFuture<'static, ()>>>,
}

impl FrozenBody {
    fn new(body: SdkBody, freezer: Freezer) -> Self {
        Self { body, freezer, thaws: Mutex::default() }
    }
}

impl Body for FrozenBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let freezer = self.freezer.clone();
        let slot = self.thaws.get_mut().expect("no panic in it");
        let thaws = slot.get_or_insert_with(|| async move { freezer.thawed().await }.boxed());
        ready!(thaws.poll_unpin(context));
        *slot = None;
        Pin::new(&mut self.body).poll_frame(context)
    }
}
