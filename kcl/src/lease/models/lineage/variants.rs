//! The same with one rule that is laxer, and the property that each breaks.

use super::stream::Stream;
use super::{BASE, Bounds, breaks};

/// One rule that is laxer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Variant {
    /// A child is read before its parents have ended.
    ReadsChildrenFirst,
    /// `SHARD_END` is written before the children's rows exist.
    EndsBeforeChildren,
    /// A child of a merge is created without a look for its other parent.
    ForgetsTheOtherParent,
    /// Rows of finished shards are deleted at once.
    DeletesEarly,
    /// A shard that is missing in one listing is gone.
    GuessesGone,
    /// The end of what there is to read is the end of the shard, whatever the listing says.
    TrustsAnyEnd,
    /// An error is the end of the shard.
    StopsAtErrors,
    /// Children begin where the application is configured to.
    ChildrenAtLatest,
    /// A child that the end of its parent did not create is not looked for.
    LeavesHoles,
    /// A row is created whether there is one or not.
    CreatesOverRows,
}

#[test]
fn each_laxer_rule_breaks_its_property() {
    let split = Bounds { reshards: 0b001, ..BASE };
    let quick = Bounds { syncs: 0, ..split.clone() };
    let cases = [
        (Variant::ReadsChildrenFirst, "C8: parents first", &quick),
        (Variant::EndsBeforeChildren, "C9: an end is earned", &quick),
        (Variant::ForgetsTheOtherParent, "C8: parents first", &Bounds { syncs: 0, ..BASE }),
        (Variant::DeletesEarly, "C11: rows go last", &split),
        (Variant::GuessesGone, "C11: rows go last", &Bounds { lags: true, ..split.clone() }),
        (Variant::TrustsAnyEnd, "C9: an end is earned", &Bounds { lags: true, ..quick.clone() }),
        (Variant::StopsAtErrors, "C9: an end is earned", &quick),
        (Variant::LeavesHoles, "C10: no hole", &quick),
        (Variant::ChildrenAtLatest, "C8: children from their first record", &quick),
        // A creation whose worker died lands when the child has been read by others.
        (Variant::CreatesOverRows, "C4: never back", &Bounds { crashes: 1, late: 1, ..quick.clone() }),
    ];
    for (variant, property, bounds) in cases {
        breaks(&format!("{variant:?}"), Stream::new(bounds.clone(), Some(variant)), property);
    }
}
