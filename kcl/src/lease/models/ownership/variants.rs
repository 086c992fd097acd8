//! The rules, each one laxer than the protocol's, and the property that each breaks.

use super::world::World;
use super::{BASE, Bounds, STAMPED, breaks};

/// One rule that is laxer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Variant {
    /// Belief counts from the response.
    CountsFromTheResponse,
    /// A write in doubt that landed counts from the latest attempt.
    LatestAttemptCounts,
    /// The same from the first attempt.
    FirstAttemptCounts,
    /// A write in doubt that landed counts from when that is found.
    AdoptsTheTime,
    /// A write in doubt counts as done.
    DoubtIsSuccess,
    /// A checkpoint whose counter the store does not compare.
    ChecksNoCounter,
    /// Others wait less than an owner believes.
    WatchesTooShort,
    /// Belief lasts as long as others wait, whatever their clocks.
    NoMarginForClocks,
    /// A counter stands still since the listing was asked for, not since it was answered.
    WatchesFromTheRequest,
    /// A processor is called without looking whether the lease is still ours.
    CallsWithoutBelief,
    /// A record is checkpointed before it was handed over.
    CheckpointsBeforeHandOver,
    /// What was attempted before is forgotten.
    ForgetsTheFloor,
    /// The row is given away while belief lasts.
    ReleasesBeforeBeliefEnds,
    /// A take of a row that names this worker needs no confirmation.
    TrustsItsOwnName,
    /// A lease that somebody asked for is believed in as long as it is renewed.
    DeafToMarks,
    /// Who asked for a lease and stops frees it, though its owner still has it.
    FreesWhatIsMarked,
    /// The store ends a hand-over whatever the row says by then.
    TakesBackWhateverStands,
    /// The time between two stamps of another worker's clock is taken for the same time on one's own.
    StampsAreExact,
    /// A stamp counts also after a write that left none.
    StampsOutliveTheirWrites,
}

const BELIEVES: &str = "L3: who believes owns";

#[test]
fn each_laxer_rule_breaks_its_property() {
    let bare = Bounds { records: 0, ..BASE };
    let quick = Bounds { late: 0, ..bare.clone() };
    let one = Bounds { records: 1, ..quick.clone() };
    let asked = Bounds { asks: 1, losses: false, ..quick.clone() };
    let three = Bounds { clocks: &[2, 4, 4], counter: 2, stops: 1, ..asked.clone() };
    let cases = [
        (Variant::CountsFromTheResponse, BELIEVES, &quick),
        (Variant::LatestAttemptCounts, BELIEVES, &quick),
        (Variant::FirstAttemptCounts, "L5: no time is adopted", &quick),
        (Variant::AdoptsTheTime, BELIEVES, &quick),
        (Variant::DoubtIsSuccess, BELIEVES, &quick),
        (Variant::ChecksNoCounter, "L1: every write is conditional", &one),
        (Variant::ChecksNoCounter, "C5: only the owner checkpoints", &one),
        (Variant::WatchesTooShort, BELIEVES, &quick),
        (Variant::WatchesTooShort, "L7: one believer", &quick),
        (Variant::NoMarginForClocks, BELIEVES, &quick),
        (Variant::NoMarginForClocks, "L4: belief counts from the send", &quick),
        (Variant::WatchesFromTheRequest, "L6: expiry is observed", &quick),
        (Variant::WatchesFromTheRequest, BELIEVES, &quick),
        (Variant::CallsWithoutBelief, "L8: no call without belief", &one),
        (Variant::CheckpointsBeforeHandOver, "C3: only what was handed over", &one),
        (Variant::ForgetsTheFloor, "C4: never back", &Bounds { records: 2, ..one.clone() }),
        (Variant::ReleasesBeforeBeliefEnds, BELIEVES, &Bounds { releases: 1, ..quick.clone() }),
        (Variant::TrustsItsOwnName, BELIEVES, &Bounds { releases: 1, ..quick.clone() }),
        (Variant::DeafToMarks, BELIEVES, &asked),
        (Variant::FreesWhatIsMarked, BELIEVES, &Bounds { stops: 1, ..asked.clone() }),
        // A third one takes the lease while the request is under way.
        (Variant::TakesBackWhateverStands, BELIEVES, &three),
        (Variant::StampsAreExact, BELIEVES, &Bounds { losses: false, ..STAMPED }),
        (
            Variant::StampsOutliveTheirWrites,
            BELIEVES,
            &Bounds { stamps: &[false, true], releases: 1, losses: false, ..STAMPED },
        ),
    ];
    for (variant, property, bounds) in cases {
        breaks(&format!("{variant:?}"), World::new(bounds.clone(), Some(variant)), property);
    }
}
