//! Where an example's stream lives: in the engine inside this process (the default), or at an endpoint.

use std::time::Duration;

use aws_config::{BehaviorVersion, Region};
use aws_credential_types::provider::ProvideCredentials;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::error::{ConnectorError, DisplayErrorContext, SdkError};
use aws_sdk_kinesis::operation::describe_stream_summary::DescribeStreamSummaryError;
use aws_sdk_kinesis::types::StreamStatus;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use kinesis_sim::{Limits, Sim};

type Problem = Box<dyn std::error::Error + Send + Sync>;

/// Options that every example takes.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Connection {
    /// Stream to use on a real service or server; without this and the next two, an engine inside this process is used.
    #[arg(long)]
    stream: Option<String>,
    /// Endpoint of a local server, for example <http://127.0.0.1:4567>.
    #[arg(long)]
    endpoint: Option<String>,
    /// AWS region, for example eu-central-1; by default from the environment or the profile.
    #[arg(long)]
    region: Option<String>,
}

/// A stream that is there and ready.
#[derive(Debug)]
pub(crate) struct OpenStream {
    pub(crate) client: Client,
    pub(crate) name: String,
    /// This run created the stream, so it may reshape it.
    pub(crate) created: bool,
}

impl Connection {
    /// True when nothing outside this process is involved.
    pub(crate) fn is_embedded(&self) -> bool {
        self.stream.is_none() && self.endpoint.is_none() && self.region.is_none()
    }

    /// Connects, creates the stream if it is missing, and waits until it is ACTIVE.
    pub(crate) async fn open(&self, default_name: &str, shard_count: i32) -> Result<OpenStream, Problem> {
        let client = if self.is_embedded() {
            Sim::builder().limits(Limits::Aws).state_delay(Duration::from_millis(50)).build().client()
        } else {
            self.remote_client().await?
        };
        let name = self.stream.clone().unwrap_or_else(|| default_name.to_owned());
        let created = ensure_stream(&client, &name, shard_count).await?;
        Ok(OpenStream { client, name, created })
    }

    async fn remote_client(&self) -> Result<Client, Problem> {
        let https = aws_smithy_http_client::Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .build_https();
        let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(https);
        if let Some(region) = &self.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(endpoint) = &self.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        let config = loader.load().await;
        if config.region().is_none() {
            return Err("no AWS region is set: pass --region, or set AWS_REGION or a profile".into());
        }
        let credentials = match config.credentials_provider() {
            Some(provider) => provider.provide_credentials().await.ok(),
            None => None,
        };
        if credentials.is_none() {
            return Err("no AWS credentials found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY \
                        (any values will do for a local server), or AWS_PROFILE"
                .into());
        }
        Ok(Client::new(&config))
    }
}

/// Creates the stream if it is missing and waits until it is ACTIVE; true if it was missing.
async fn ensure_stream(client: &Client, name: &str, shard_count: i32) -> Result<bool, Problem> {
    let mut created = false;
    loop {
        match client.describe_stream_summary().stream_name(name).send().await {
            Ok(answer) => {
                let summary = answer.stream_description_summary();
                match summary.map(aws_sdk_kinesis::types::StreamDescriptionSummary::stream_status) {
                    Some(StreamStatus::Active) => return Ok(created),
                    Some(StreamStatus::Deleting) => {
                        return Err(
                            format!("stream \"{name}\" is being deleted: wait, or use another name").into()
                        );
                    }
                    _ => tokio::time::sleep(Duration::from_millis(if created { 100 } else { 500 })).await,
                }
            }
            Err(SdkError::DispatchFailure(failure)) => {
                let why = failure.as_connector_error().map_or_else(String::new, innermost);
                return Err(format!("cannot reach the endpoint for stream \"{name}\": check --endpoint and the network ({why})").into());
            }
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(DescribeStreamSummaryError::is_resource_not_found_exception)
                    && !created =>
            {
                client.create_stream().stream_name(name).shard_count(shard_count).send().await.map_err(
                    |error| format!("cannot create stream \"{name}\": {}", DisplayErrorContext(error)),
                )?;
                created = true;
            }
            Err(error) => {
                return Err(
                    format!("cannot describe stream \"{name}\": {}", DisplayErrorContext(error)).into()
                );
            }
        }
    }
}

/// The cause behind all causes: the only one that a user needs.
fn innermost(error: &ConnectorError) -> String {
    let mut error: &dyn std::error::Error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
