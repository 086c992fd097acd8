//! The same with one rule that is laxer, and the property that each breaks.

use super::{BASE, Bounds, breaks};

/// One rule that is laxer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Variant {
    /// A request that was not answered counts as not written.
    DoubtIsFailure,
    /// A request that was not answered counts as stored.
    DoubtIsDelivery,
    /// What expired is said not to be written, whatever happened to its attempts.
    ExpiryIsCertain,
    /// What is given up at the close is said not to be written.
    CloseIsCertain,
    /// After a partial failure everything is sent again.
    SendsAllAgain,
    /// The answers of a request are taken in the other order.
    SwapsAnswers,
    /// Aggregates count as delivered wherever they land.
    TakesAnyShard,
    /// A flush does not wait for what is in flight.
    FlushForgetsRequests,
    /// A flush waits for what was accepted after it.
    FlushWaitsForAll,
    /// The answer to what expired gets lost.
    LosesAnswers,
    /// Requests are filled beyond the limit.
    OverfillsRequests,
}

#[test]
fn each_laxer_rule_breaks_its_property() {
    let cases = [
        (Variant::DoubtIsFailure, "P3: a failure says what it knows", Bounds { closes: 1, ..BASE }),
        (Variant::DoubtIsDelivery, "P1: readable where the answer says", BASE),
        (Variant::ExpiryIsCertain, "P3: a failure says what it knows", Bounds { stalls: 1, ..BASE }),
        (Variant::CloseIsCertain, "P3: a failure says what it knows", Bounds { closes: 1, late: 1, ..BASE }),
        (Variant::SendsAllAgain, "P12: what is acknowledged is not sent again", SPREAD),
        (Variant::SendsAllAgain, "P5: copies are accounted for", SPREAD),
        (Variant::SwapsAnswers, "P1: readable where the answer says", SPREAD),
        (Variant::TakesAnyShard, "P6: acknowledged in its shard's range", Bounds { reshards: 1, ..BASE }),
        (Variant::FlushForgetsRequests, FLUSHED, Bounds { flushes: 1, ..BASE }),
        (Variant::FlushWaitsForAll, FLUSHED, Bounds { flushes: 1, ..BASE }),
        (Variant::LosesAnswers, "P2: every record resolves", Bounds { stalls: 1, ..BASE }),
        (Variant::OverfillsRequests, "P8: within the service's limits", Bounds { records: 4, ..SPREAD }),
    ];
    for (variant, property, bounds) in cases {
        breaks(variant, property, bounds);
    }
}

const FLUSHED: &str = "P9: a flush waits for its records and no others";

/// With records for both shards.
const SPREAD: Bounds = Bounds { records: 3, ..BASE };
