//! The name of a stream, as callers write it: a plain name or a full ARN.

use std::{fmt, sync::Arc};

/// A stream's name or its ARN; cloning is cheap.
///
/// Anything that starts with `arn:` is sent as `StreamARN`, everything else as `StreamName`. The service
/// judges the text itself (1 to 128 of `[a-zA-Z0-9_.-]` for a name): nothing is refused here.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamName(Arc<str>);

impl StreamName {
    /// Takes a name or an ARN.
    pub fn new(name_or_arn: impl Into<Arc<str>>) -> Self {
        Self(name_or_arn.into())
    }

    /// The text as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the text is an ARN.
    pub fn is_arn(&self) -> bool {
        self.0.starts_with("arn:")
    }

    /// The bare name: what follows `:stream/` in an ARN, else the text itself.
    pub fn name(&self) -> &str {
        if !self.is_arn() {
            return &self.0;
        }
        self.0.split_once(":stream/").map_or(&self.0, |(_, name)| name)
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for StreamName {
    fn from(name_or_arn: &str) -> Self {
        Self::new(name_or_arn)
    }
}

impl From<String> for StreamName {
    fn from(name_or_arn: String) -> Self {
        Self::new(name_or_arn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_name_is_its_own_name() {
        let stream = StreamName::from("orders");
        assert!(!stream.is_arn());
        assert_eq!(stream.name(), "orders");
    }

    #[test]
    fn the_name_is_read_out_of_an_arn() {
        let stream = StreamName::from("arn:aws:kinesis:eu-central-1:123456789012:stream/orders");
        assert!(stream.is_arn());
        assert_eq!(stream.name(), "orders");
    }
}
