//! What the service said to a request, in our words, and what kind of answer that is.

use std::sync::Arc;

use kinesis_shard::{SequenceNumber, ShardId};

use crate::error::PutErrorReason;

/// The answer to one `PutRecords`.
#[derive(Debug)]
pub(crate) enum PutRecordsAnswer {
    /// One entry for each of the request, in its order, if the service keeps its word.
    Entries(Vec<EntryAnswer>),
    Failed(CallError),
}

#[derive(Debug, Clone)]
pub(crate) enum EntryAnswer {
    Stored {
        shard_id: ShardId,
        sequence_number: SequenceNumber,
    },
    Refused {
        code: Arc<str>,
        message: Arc<str>,
    },
    /// Neither or both of the above, or unreadable.
    Malformed,
}

/// A request that failed as a whole, classified where the error was seen.
#[derive(Debug, Clone)]
pub(crate) struct CallError {
    pub(crate) class: ErrorClass,
    pub(crate) code: Arc<str>,
    pub(crate) message: Arc<str>,
    /// The service may have stored what the request held.
    pub(crate) may_have_been_written: bool,
}

impl CallError {
    /// An error that the service named.
    pub(crate) fn of_code(code: &str, message: &str) -> Self {
        let class = ErrorClass::of_code(code);
        Self {
            class,
            code: code.into(),
            message: message.into(),
            // A failure inside the service says nothing of how far it came; a refusal does.
            may_have_been_written: class == ErrorClass::Transient && code != "ExpiredTokenException",
        }
    }

    /// No answer, or one that cannot be read.
    pub(crate) fn unanswered(code: &str, message: &str, may_have_been_written: bool) -> Self {
        Self {
            class: ErrorClass::Transient,
            code: code.into(),
            message: message.into(),
            may_have_been_written,
        }
    }
}

/// What to do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorClass {
    /// Will not change by itself: answer at once.
    Permanent,
    /// The request as a whole was refused, perhaps for one of its records: find out which.
    Invalid,
    /// Over a limit: slow this shard down.
    Throttled,
    /// May pass: send again after a pause.
    Transient,
}

impl ErrorClass {
    /// Unknown codes are transient: the time to live bounds what a wrong guess costs.
    pub(crate) fn of_code(code: &str) -> Self {
        match code {
            "ResourceNotFoundException"
            | "AccessDeniedException"
            | "UnrecognizedClientException"
            | "InvalidSignatureException"
            | "IncompleteSignatureException"
            | "MissingAuthenticationTokenException"
            | "InvalidClientTokenId"
            | "OptInRequired"
            | "UnknownOperationException"
            | "KMSAccessDeniedException"
            | "KMSDisabledException"
            | "KMSInvalidStateException"
            | "KMSNotFoundException"
            | "KMSOptInRequired"
            | "DryRunOperationException" => Self::Permanent,
            "InvalidArgumentException" | "ValidationException" | "SerializationException" => Self::Invalid,
            "ProvisionedThroughputExceededException"
            | "KMSThrottlingException"
            | "LimitExceededException"
            | "ThrottlingException"
            | "Throttling" => Self::Throttled,
            _ => Self::Transient,
        }
    }
}

/// The typed cause of a permanent error.
pub(crate) fn permanent_reason(code: &Arc<str>, message: &Arc<str>) -> PutErrorReason {
    let (code, message) = (Arc::clone(code), Arc::clone(message));
    match &*code {
        "ResourceNotFoundException" => PutErrorReason::StreamNotFound,
        code_text if code_text.starts_with("KMS") => PutErrorReason::Encryption { code, message },
        "AccessDeniedException"
        | "UnrecognizedClientException"
        | "InvalidSignatureException"
        | "IncompleteSignatureException"
        | "MissingAuthenticationTokenException"
        | "InvalidClientTokenId"
        | "OptInRequired" => PutErrorReason::AccessDenied { code, message },
        _ => PutErrorReason::Rejected { code, message },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_its_class_and_says_whether_data_may_have_been_written() {
        use ErrorClass::{Invalid, Permanent, Throttled, Transient};
        let cases = [
            ("ResourceNotFoundException", Permanent, false),
            ("AccessDeniedException", Permanent, false),
            ("KMSDisabledException", Permanent, false),
            ("ValidationException", Invalid, false),
            ("InvalidArgumentException", Invalid, false),
            ("ProvisionedThroughputExceededException", Throttled, false),
            ("KMSThrottlingException", Throttled, false),
            ("InternalFailure", Transient, true),
            ("InternalFailureException", Transient, true),
            ("ServiceUnavailable", Transient, true),
            ("ExpiredTokenException", Transient, false),
            ("NeverHeardOfIt", Transient, true),
        ];
        for (code, class, in_doubt) in cases {
            let error = CallError::of_code(code, "");
            assert_eq!((error.class, error.may_have_been_written), (class, in_doubt), "{code}");
        }
    }

    #[test]
    fn permanent_codes_have_typed_causes() {
        let reason = |code: &str| permanent_reason(&code.into(), &"why".into());
        assert_eq!(reason("ResourceNotFoundException"), PutErrorReason::StreamNotFound);
        assert!(matches!(reason("AccessDeniedException"), PutErrorReason::AccessDenied { .. }));
        assert!(matches!(reason("KMSNotFoundException"), PutErrorReason::Encryption { .. }));
        assert!(matches!(reason("ValidationException"), PutErrorReason::Rejected { .. }));
    }
}
