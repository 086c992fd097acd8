//! Errors as the service words them.

use super::item::Item;

/// Why a call was refused.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: &'static str,
    pub(super) message: String,
    /// The item that did not meet the condition, if the caller asked for it.
    pub(super) item: Option<Item>,
}

impl Refusal {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { status: 400, code, message: message.into(), item: None }
    }

    pub(super) fn validation(message: impl Into<String>) -> Self {
        Self::new("ValidationException", message)
    }

    pub(super) fn throttled() -> Self {
        Self::new(
            "ProvisionedThroughputExceededException",
            "The level of configured provisioned throughput for the table was exceeded.",
        )
    }

    pub(super) fn internal() -> Self {
        Self { status: 500, ..Self::new("InternalServerError", "The request could not be processed.") }
    }

    pub(super) fn denied(caller: &str, operation: &str) -> Self {
        let text = format!("User: {caller} is not authorized to perform: dynamodb:{operation}");
        Self::new("AccessDeniedException", text)
    }

    pub(super) fn not_found() -> Self {
        Self::new("ResourceNotFoundException", "Requested resource not found")
    }

    /// The code with the name space that the service puts before it.
    pub(super) fn kind(&self) -> String {
        let space = if self.code == "ValidationException" {
            "com.amazon.coral.validate"
        } else {
            "com.amazonaws.dynamodb.v20120810"
        };
        format!("{space}#{}", self.code)
    }
}
