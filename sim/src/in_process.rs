//! The engine under the unmodified AWS SDK, in this process, on tokio's clock.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sdk_kinesis::config::retry::RetryConfig;
use aws_sdk_kinesis::config::timeout::TimeoutConfig;
use aws_sdk_kinesis::config::{AsyncSleep, BehaviorVersion, Region, Sleep, StalledStreamProtectionConfig};
use aws_smithy_async::time::TimeSource;
use aws_smithy_runtime::client::retries::RetryPartition;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::DateTime;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::date_time::Format;
use http::header;
use http_body_util::BodyExt;

use crate::door::{Door, NoAnswer};
use crate::subscription::body::ReplyBody;

/// An HTTP client for the AWS SDK that answers from a simulation. Cheap to clone.
///
/// [`Sim::client`](crate::Sim::client) wraps it into a ready client; take it directly
/// ([`Sim::http_client`](crate::Sim::http_client)) to configure one yourself.
#[derive(Debug, Clone)]
pub struct SimHttpClient {
    pub(crate) door: Arc<Door>,
    pub(crate) caller: Arc<str>,
}

impl HttpClient for SimHttpClient {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for SimHttpClient {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (door, caller) = (Arc::clone(&self.door), Arc::clone(&self.caller));
        HttpConnectorFuture::new(async move {
            let request =
                request.try_into_http1x().map_err(|error| ConnectorError::other(error.into(), None))?;
            let (parts, body) = request.into_parts();
            // Polled to its end: the SDK's stalled-stream protection counts what is polled, not what is peeked at.
            let body = body.collect().await.map_err(ConnectorError::user)?.to_bytes();
            match door.exchange(&parts, body, Some(caller)).await {
                Ok(mut response) => {
                    let now = DateTime::from_millis(i64::try_from(door.now()).unwrap_or(i64::MAX));
                    let date = now.fmt(Format::HttpDate).ok().and_then(|text| text.parse().ok());
                    // What the HTTP server adds by itself: clients learn the service's time from it.
                    response.headers_mut().extend(date.map(|date| (header::DATE, date)));
                    HttpResponse::try_from(response.map(sdk_body))
                        .map_err(|error| ConnectorError::other(error.into(), None))
                }
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

fn sdk_body(body: ReplyBody) -> SdkBody {
    match body {
        ReplyBody::Whole(bytes) => SdkBody::from(bytes.unwrap_or_default()),
        events @ ReplyBody::Events(_) => SdkBody::from_body_1_x(events),
    }
}

/// The wall clock of the SDK: it dates signatures.
#[derive(Debug)]
struct SimTime(Arc<Door>);

impl TimeSource for SimTime {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.0.now())
    }
}

/// Tokio's sleep: virtual under a paused runtime.
#[derive(Debug)]
pub(crate) struct SimSleep;

impl AsyncSleep for SimSleep {
    fn sleep(&self, duration: Duration) -> Sleep {
        Sleep::new(tokio::time::sleep(duration))
    }
}

/// A client whose every call is one call of the engine: no retries, no timeouts, nothing drawn below it.
pub(crate) fn client(http_client: SimHttpClient) -> aws_sdk_kinesis::Client {
    // A partition of its own: retry tokens are shared by name within a process, should retries be switched on.
    let partition = format!("kinesis-sim-{}", http_client.caller);
    let time = SimTime(Arc::clone(&http_client.door));
    let config = aws_sdk_kinesis::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("us-east-1"))
        .credentials_provider(Credentials::from_keys("simulated", "simulated", None))
        .endpoint_url("http://kinesis.sim")
        .time_source(time)
        .sleep_impl(SimSleep)
        .retry_config(RetryConfig::disabled())
        .retry_partition(RetryPartition::custom(partition).build())
        .timeout_config(TimeoutConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .http_client(http_client)
        .build();
    aws_sdk_kinesis::Client::from_conf(config)
}
