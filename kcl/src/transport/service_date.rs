use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use aws_sdk_kinesis::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_kinesis::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_kinesis::error::BoxError;
use aws_sdk_kinesis::primitives::{DateTime, DateTimeFormat};

/// The time of the service's own clock, as the header of an answer tells it: whole seconds, rounded down.
///
/// Our own wall clock would not do: what `LATEST` means is a moment of the service's.
#[derive(Debug, Clone, Default)]
pub(super) struct ServiceDate(Arc<Mutex<Option<SystemTime>>>);

impl ServiceDate {
    /// When the call was answered; `None` if the answer did not tell.
    pub(super) fn read(&self) -> Option<SystemTime> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Intercept for ServiceDate {
    fn name(&self) -> &'static str {
        "ServiceDate"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let text = context.response().headers().get("date");
        let date = text.and_then(|text| DateTime::from_str(text, DateTimeFormat::HttpDate).ok());
        let date = date.and_then(|date| SystemTime::try_from(date).ok());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = date;
        Ok(())
    }
}
