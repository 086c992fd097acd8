//! How a producer ended.

use std::fmt;

/// How a producer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CloseReport {
    /// User records delivered since `close` began.
    pub delivered: u64,
    /// User records that failed since `close` began, for another reason than the deadline.
    pub failed: u64,
    /// User records that were neither at the deadline; they were answered with `Closed`.
    pub left: u64,
}

impl CloseReport {
    /// Everything that was accepted is delivered.
    pub fn is_complete(&self) -> bool {
        self.failed == 0 && self.left == 0
    }
}

impl fmt::Display for CloseReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { delivered, failed, left } = self;
        write!(out, "closed: {delivered} records delivered, {failed} failed, {left} left at the deadline")
    }
}
