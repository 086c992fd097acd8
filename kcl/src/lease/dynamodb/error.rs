//! What an error of DynamoDB means for a worker: whether to try again, and whether the write may be there.

use std::error::Error;
use std::fmt::Debug;
use std::sync::Arc;

use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};

use crate::lease::LeaseStoreError;

/// Whether the call that failed would have changed the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Read,
    Write,
}

/// Translates an error of the SDK, which was told not to try again by itself.
pub(super) fn in_words<E>(store: &Arc<str>, call: Call, error: SdkError<E, HttpResponse>) -> LeaseStoreError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code).map(ToOwned::to_owned);
    let store = Arc::clone(store);
    match code.as_deref() {
        Some(
            "ProvisionedThroughputExceededException"
            | "ThrottlingException"
            | "RequestLimitExceeded"
            | "LimitExceededException",
        ) => LeaseStoreError::Throttled { store },
        Some("ResourceNotFoundException") => LeaseStoreError::TableMissing {
            store,
            what: "it was deleted, or the client's region or account is another one: check them, then start again"
                .into(),
        },
        Some("TransactionConflictException" | "ReplicatedWriteConflictException") => {
            unavailable(store, "another write to the same item is under way: try again", false, error)
        }
        Some("ExpiredTokenException" | "ExpiredToken" | "RequestExpired") => {
            unavailable(store, "the credentials have expired: renew them", false, error)
        }
        Some("AccessDeniedException" | "UnrecognizedClientException" | "InvalidSignatureException") => {
            let what = format!("access is denied ({}): grant the permission", DisplayErrorContext(&error));
            LeaseStoreError::Unusable { store, what: what.into(), source: Some(Arc::new(error)) }
        }
        Some(_) if error.raw_response().is_some_and(|response| response.status().is_client_error()) => {
            let what = format!("the request was refused ({})", DisplayErrorContext(&error));
            LeaseStoreError::Unusable { store, what: what.into(), source: Some(Arc::new(error)) }
        }
        _ => {
            let what = DisplayErrorContext(&error).to_string();
            unavailable(store, &what, call == Call::Write && may_have_arrived(&error), error)
        }
    }
}

/// All but a request that could not be made, and one that was turned away before it was sent.
fn may_have_arrived<E>(error: &SdkError<E, HttpResponse>) -> bool {
    match error {
        SdkError::ConstructionFailure(_) => false,
        SdkError::DispatchFailure(failure) => !failure.is_user(),
        _ => true,
    }
}

fn unavailable(
    store: Arc<str>,
    what: &str,
    may_have_been_written: bool,
    source: impl Error + Send + Sync + 'static,
) -> LeaseStoreError {
    LeaseStoreError::Unavailable {
        store,
        what: what.into(),
        may_have_been_written,
        source: Some(Arc::new(source)),
    }
}

pub(super) fn code<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Option<&str> {
    error.as_service_error().and_then(ProvideErrorMetadata::code)
}
