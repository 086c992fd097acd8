//! What the service answers when it refuses: names and statuses as data, and the texts in the service's words.

use std::fmt::Display;

/// The errors that can be answered; `name`, `status` and `text_member` are the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorCode {
    DryRunOperation,
    ExpiredIterator,
    ExpiredNextToken,
    IncompleteSignature,
    InternalFailure,
    InvalidArgument,
    InvalidSignature,
    LimitExceeded,
    MissingAuthenticationToken,
    ProvisionedThroughputExceeded,
    ResourceInUse,
    ResourceNotFound,
    Serialization,
    UnknownOperation,
    Validation,
}

impl ErrorCode {
    /// The short name that goes into `__type`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::DryRunOperation => "DryRunOperationException",
            Self::ExpiredIterator => "ExpiredIteratorException",
            Self::ExpiredNextToken => "ExpiredNextTokenException",
            Self::IncompleteSignature => "IncompleteSignatureException",
            Self::InternalFailure => "InternalFailure",
            Self::InvalidArgument => "InvalidArgumentException",
            Self::InvalidSignature => "InvalidSignatureException",
            Self::LimitExceeded => "LimitExceededException",
            Self::MissingAuthenticationToken => "MissingAuthenticationTokenException",
            Self::ProvisionedThroughputExceeded => "ProvisionedThroughputExceededException",
            Self::ResourceInUse => "ResourceInUseException",
            Self::ResourceNotFound => "ResourceNotFoundException",
            Self::Serialization => "SerializationException",
            Self::UnknownOperation => "UnknownOperationException",
            Self::Validation => "ValidationException",
        }
    }

    /// Throttles are 400 too; only faults of the service itself are 500.
    pub(crate) const fn status(self) -> u16 {
        match self {
            Self::InternalFailure => 500,
            _ => 400,
        }
    }

    /// One error spells its text member with a capital.
    pub(crate) const fn text_member(self) -> &'static str {
        match self {
            Self::Serialization => "Message",
            _ => "message",
        }
    }
}

/// One refusal: the code and, where the service gives one, the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServiceError {
    pub(crate) code: ErrorCode,
    pub(crate) text: Option<String>,
}

/// Where the texts say a stream lives.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Named<'a> {
    pub(crate) stream: &'a str,
    pub(crate) account: &'a str,
}

impl ServiceError {
    pub(crate) const fn bare(code: ErrorCode) -> Self {
        Self { code, text: None }
    }

    pub(crate) fn new(code: ErrorCode, text: impl Into<String>) -> Self {
        Self { code, text: Some(text.into()) }
    }

    pub(crate) fn invalid_argument(text: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidArgument, text)
    }

    pub(crate) fn serialization(text: impl Into<String>) -> Self {
        Self::new(ErrorCode::Serialization, text)
    }

    pub(crate) fn stream_not_found(Named { stream, account }: Named<'_>) -> Self {
        Self::new(ErrorCode::ResourceNotFound, format!("Stream {stream} under account {account} not found."))
    }

    pub(crate) fn stream_exists(Named { stream, account }: Named<'_>) -> Self {
        Self::new(
            ErrorCode::ResourceInUse,
            format!("Stream {stream} under account {account} already exists."),
        )
    }

    pub(crate) fn stream_not_active(Named { stream, account }: Named<'_>, state: &str) -> Self {
        Self::new(
            ErrorCode::ResourceInUse,
            format!("Stream {stream} under account {account} not ACTIVE, instead in state {state}"),
        )
    }

    pub(crate) fn on_demand_mode(Named { stream, account }: Named<'_>) -> Self {
        Self::new(
            ErrorCode::Validation,
            format!("Request is invalid. Stream {stream} under account {account} is in On-Demand mode."),
        )
    }

    /// The id does not parse (`shard` as given), or a reshard names one that is not there (canonical form).
    pub(crate) fn shard_not_found(Named { stream, account }: Named<'_>, shard: impl Display) -> Self {
        Self::new(
            ErrorCode::ResourceNotFound,
            format!("Could not find shard {shard} in stream {stream} under account {account}."),
        )
    }

    /// The id is fine, but the stream has no such shard, or no longer.
    pub(crate) fn shard_does_not_exist(Named { stream, account }: Named<'_>, shard: impl Display) -> Self {
        Self::new(
            ErrorCode::ResourceNotFound,
            format!("Shard {shard} in stream {stream} under account {account} does not exist"),
        )
    }

    pub(crate) fn shard_not_eligible(Named { stream, account }: Named<'_>, shard: impl Display) -> Self {
        Self::invalid_argument(format!(
            "Shard {shard} in stream {stream} under account {account} has already been merged or split, and \
             thus is not eligible for merging or splitting."
        ))
    }

    pub(crate) fn write_rate(named: Named<'_>, shard: impl Display) -> Self {
        Self::new(ErrorCode::ProvisionedThroughputExceeded, write_rate_text(named, shard))
    }

    pub(crate) fn read_rate(Named { stream, account }: Named<'_>, shard: impl Display) -> Self {
        Self::new(
            ErrorCode::ProvisionedThroughputExceeded,
            format!("Rate exceeded for Shard - {account}/{stream}/{shard}"),
        )
    }

    pub(crate) fn control_rate(Named { stream, account }: Named<'_>) -> Self {
        let what = if stream.is_empty() { String::new() } else { format!("stream {stream} under ") };
        Self::new(ErrorCode::LimitExceeded, format!("Rate exceeded for {what}account {account}."))
    }

    /// A request with `DryRun` that would have succeeded. Text not verified against the service.
    pub(crate) fn dry_run() -> Self {
        Self::new(ErrorCode::DryRunOperation, "Request would have succeeded, but DryRun flag is set.")
    }

    pub(crate) fn limit_exceeded(text: impl Into<String>) -> Self {
        Self::new(ErrorCode::LimitExceeded, text)
    }

    pub(crate) fn invalid_shard_iterator() -> Self {
        Self::invalid_argument("Invalid ShardIterator.")
    }

    pub(crate) fn expired_iterator(issued: u64, now: u64) -> Self {
        Self::new(
            ErrorCode::ExpiredIterator,
            format!(
                "Iterator expired. The iterator was created at time {} while right now it is {} which is further \
                 in the future than the tolerated delay of 300000 milliseconds.",
                utc_text(issued),
                utc_text(now)
            ),
        )
    }

    pub(crate) fn invalid_explicit_hash_key(value: &str) -> Self {
        Self::invalid_argument(format!(
            "Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. Specified value was {value}"
        ))
    }
}

/// The text of a refused write, whole calls and entries alike.
pub(crate) fn write_rate_text(Named { stream, account }: Named<'_>, shard: impl Display) -> String {
    format!("Rate exceeded for shard {shard} in stream {stream} under account {account}.")
}

/// `Thu Jan 22 01:22:02 UTC 2015`, as the service prints times in texts.
pub(crate) fn utc_text(millis: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let seconds = millis / 1000;
    let days = seconds / 86_400;
    let (year, month, day) = civil_date(days);
    let pick = |names: &[&'static str], index: u64| {
        usize::try_from(index).ok().and_then(|index| names.get(index).copied()).unwrap_or("???")
    };
    format!(
        "{} {} {day:02} {:02}:{:02}:{:02} UTC {year}",
        pick(&DAYS, days % 7),
        pick(&MONTHS, month - 1),
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60,
    )
}

/// Year, month (from 1) and day (from 1) of a day counted from 1 January 1970: years start in March here, so
/// that the leap day is the last of its year.
fn civil_date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_print_as_the_service_does() {
        assert_eq!(utc_text(0), "Thu Jan 01 00:00:00 UTC 1970");
        assert_eq!(utc_text(1_421_889_722_000), "Thu Jan 22 01:22:02 UTC 2015");
        assert_eq!(utc_text(1_709_210_096_999), "Thu Feb 29 12:34:56 UTC 2024");
        assert_eq!(utc_text(1_767_225_600_000), "Thu Jan 01 00:00:00 UTC 2026");
    }
}
