//! Whether a lease table is of the stream that is to be read: pure.
//!
//! A checkpoint means nothing in another stream, and the shards of a stream that was deleted and made again have the same
//! names. Read with the leases of the old one, the new one would lose everything up to where the old one stood, silently.
//! So each lease says which stream it is of (an attribute that Java leaves alone), and a worker compares at its start.
//! Leases that a Java worker made say nothing; there the positions tell: a stream never begins after its own checkpoints.

use std::sync::Arc;

use kinesis_shard::{Checkpoint, Shard};

use super::{Lease, LeaseKey, MetaUpdate};

/// How a stream is written down: a stream that is made again has the same ARN and another time.
pub(crate) fn of_stream(arn: &str, created_at_seconds: i64) -> Arc<str> {
    format!("{arn}@{created_at_seconds}").into()
}

/// What stands before the shard in lease keys of the multi-stream form, `<account>:<name>:<epoch>`, of what
/// [`of_stream`] wrote.
pub(crate) fn key_part(stream: &str) -> Option<Arc<str>> {
    let (arn, created) = stream.rsplit_once('@')?;
    let account = arn.split(':').nth(4).filter(|account| !account.is_empty())?;
    let (_, name) = arn.rsplit_once('/')?;
    Some(format!("{account}:{name}:{created}").into())
}

/// Why these leases are not of `stream`, in a sentence; none if nothing speaks against it.
pub(crate) fn contradiction(leases: &[Lease], stream: &str) -> Option<String> {
    let mut written =
        leases.iter().filter(|lease| is_single(lease)).filter_map(|lease| lease.stream.as_deref());
    let other = written.find(|written| *written != stream)?;
    let (arn, created) = split(stream);
    let (other_arn, other_created) = split(other);
    Some(if arn == other_arn {
        format!(
            "its leases are of an earlier stream {arn}, created {other_created} s after 1970, and the present one was \
             created at {created} s: delete the leases or the table to begin anew, or use another application name"
        )
    } else {
        format!(
            "its leases are of the stream {other_arn}, not of {arn}: use another application name for each stream"
        )
    })
}

/// The same by positions: each checkpoint that can be compared lies before the beginning of its shard.
pub(crate) fn contradiction_of_positions(leases: &[Lease], shards: &[Shard]) -> Option<String> {
    let mut example = None;
    for lease in leases.iter().filter(|lease| is_single(lease)) {
        let Checkpoint::At(position) = lease.checkpoint else { continue };
        let id = lease.key.shard_id();
        let Some(shard) = shards.iter().find(|shard| shard.id == id) else { continue };
        if position.sequence_number >= shard.starting_sequence_number {
            return None;
        }
        example = example.or(Some((lease, position.sequence_number, shard.starting_sequence_number)));
    }
    let (lease, checkpoint, begins) = example?;
    Some(format!(
        "the checkpoint {checkpoint} of lease {} lies before {begins}, where the shard begins: the leases are of another stream, \
         or of an earlier one of this name; delete them to begin anew, or use another application name",
        lease.key
    ))
}

/// Leases of an application of another form: of several streams, found by one of one stream, or the other way round. Their keys
/// differ, so that neither goes on where the other stood.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum OtherForm {
    /// There are no others. Begun here, records between there and the initial position would be read again, or never.
    Alone(String),
    /// Somebody has decided to begin anew, or the fleet is of two minds.
    Beside { count: usize, example: LeaseKey },
}

/// Finished leases do not count: nobody has to go on there.
pub(crate) fn other_form(leases: &[Lease], several: bool) -> Option<OtherForm> {
    let (other, own): (Vec<&Lease>, Vec<&Lease>) =
        leases.iter().partition(|lease| is_single(lease) == several);
    let mut left = other.into_iter().filter(|lease| !lease.is_finished());
    let example = left.next()?.key.clone();
    let anew = "to begin anew, delete the leases or use another application name";
    Some(match (own.is_empty(), several) {
        (false, _) => OtherForm::Beside { count: 1 + left.count(), example },
        (true, false) => OtherForm::Alone(format!(
            "its leases, like {example}, are of an application of several streams, and this one is of one stream: to go on where \
             they stand, use ConsumerConfig::multi_stream with a set of this stream; {anew}"
        )),
        (true, true) => OtherForm::Alone(format!(
            "its leases, like {example}, are of an application of one stream, and this one is of several: to go on where they \
             stand, start it for one stream with ConsumerConfig::new; {anew}"
        )),
    })
}

/// Whether the positions have to tell.
pub(crate) fn says_nothing(leases: &[Lease]) -> bool {
    leases.iter().any(|lease| is_single(lease) && lease.stream.is_none())
}

/// What to write down on leases that do not say which stream they are of.
pub(crate) fn to_note(leases: &[Lease], stream: &Arc<str>) -> Vec<(LeaseKey, MetaUpdate)> {
    let silent =
        leases.iter().filter(|lease| is_single(lease) && lease.stream.is_none() && !lease.is_finished());
    let note = |lease: &Lease| {
        (lease.key.clone(), MetaUpdate { stream: Some(Arc::clone(stream)), ..MetaUpdate::default() })
    };
    silent.map(note).collect()
}

/// The keys of several streams say themselves which one they are of.
fn is_single(lease: &Lease) -> bool {
    lease.key.stream_identifier().is_none()
}

fn split(stream: &str) -> (&str, &str) {
    stream.rsplit_once('@').unwrap_or((stream, "an unknown number of"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::test_support::{at, row, shard};

    const ORDERS: &str = "arn:aws:kinesis:eu-west-1:123456789012:stream/orders";

    fn of(index: u64, stream: Option<Arc<str>>) -> Lease {
        Lease { stream, ..row(index, "ann", 1) }
    }

    #[test]
    fn the_key_part_is_account_name_and_time_of_creation() {
        let stream = of_stream("arn:aws:kinesis:eu-west-1:123456789012:stream/orders", 1_700_000_000);
        assert_eq!(key_part(&stream).as_deref(), Some("123456789012:orders:1700000000"));
        assert_eq!(key_part("orders"), None);
    }

    #[test]
    fn leases_of_this_stream_or_of_none_that_is_named_pass() {
        let stream = of_stream(ORDERS, 1_700_000_000);
        assert_eq!(contradiction(&[], &stream), None);
        assert_eq!(contradiction(&[of(0, None), of(1, Some(Arc::clone(&stream)))], &stream), None);
    }

    #[test]
    fn only_leases_without_a_name_leave_it_to_the_positions() {
        let stream = of_stream(ORDERS, 1_700_000_000);
        assert!(!says_nothing(&[]));
        assert!(!says_nothing(&[of(0, Some(Arc::clone(&stream)))]));
        assert!(says_nothing(&[of(0, Some(stream)), of(1, None)]));
    }

    #[test]
    fn one_lease_of_another_stream_is_told_with_both_names() {
        let stream = of_stream(ORDERS, 1_700_000_000);
        let other = of_stream("arn:aws:kinesis:eu-west-1:123456789012:stream/clicks", 1_700_000_000);
        let told = contradiction(&[of(0, Some(Arc::clone(&stream))), of(1, Some(other))], &stream).unwrap();
        assert!(told.contains("stream/clicks") && told.contains("stream/orders"), "{told}");
    }

    #[test]
    fn a_stream_that_was_made_again_is_told_with_both_times() {
        let told = contradiction(
            &[of(0, Some(of_stream(ORDERS, 1_600_000_000)))],
            &of_stream(ORDERS, 1_700_000_000),
        );
        let told = told.unwrap();
        assert!(told.contains("1600000000") && told.contains("1700000000"), "{told}");
    }

    #[test]
    fn keys_of_several_streams_are_left_alone() {
        let mut lease = of(0, Some(of_stream("other", 1)));
        lease.key = LeaseKey::new("123456789012:orders:1700000000:shardId-000000000000");
        assert_eq!(contradiction(&[lease.clone()], &of_stream(ORDERS, 2)), None);
        lease.stream = None;
        assert!(!says_nothing(&[lease.clone()]) && to_note(&[lease], &of_stream(ORDERS, 2)).is_empty());
    }

    #[test]
    fn leases_of_the_other_form_alone_are_told_with_what_to_do_and_beside_others_with_their_number() {
        let of_several = |index: u64| Lease {
            key: LeaseKey::new(format!("123456789012:orders:1700000000:shardId-{index:012}")),
            ..of(index, None)
        };
        let (one, many) = (of(0, None), of_several(0));
        for (several, own, other) in [(false, &one, &many), (true, &many, &one)] {
            assert_eq!(other_form(&[], several), None);
            assert_eq!(other_form(std::slice::from_ref(own), several), None);
            let Some(OtherForm::Alone(told)) = other_form(std::slice::from_ref(other), several) else {
                panic!("{several}: nothing is told")
            };
            assert!(told.contains(other.key.as_str()) && told.contains("to begin anew"), "{told}");
            assert_eq!(told.contains("multi_stream"), !several, "{told}");
            let beside = OtherForm::Beside { count: 1, example: other.key.clone() };
            assert_eq!(other_form(&[own.clone(), other.clone()], several), Some(beside));
            let finished = Lease { checkpoint: Checkpoint::ShardEnd, ..other.clone() };
            assert_eq!(other_form(&[finished], several), None, "nobody has to go on there");
        }
        let both = [many.clone(), of_several(1), one];
        assert_eq!(other_form(&both, false), Some(OtherForm::Beside { count: 2, example: many.key }));
    }

    #[test]
    fn positions_contradict_only_if_all_of_them_do() {
        // The shards of the tests begin at 1000 and their index.
        let shards = [shard(0, &[], true), shard(1, &[], true)];
        let checkpointed = |index, number| Lease { checkpoint: at(number), ..row(index, "ann", 1) };
        let cases = [
            (vec![], false),
            (vec![row(0, "ann", 1)], false),
            (vec![checkpointed(0, 1_000)], false),
            (vec![checkpointed(0, 999)], true),
            (vec![checkpointed(0, 999), checkpointed(1, 5)], true),
            (vec![checkpointed(0, 999), checkpointed(1, 2_000)], false),
            // Trimmed away: nothing to compare with.
            (vec![checkpointed(7, 1)], false),
        ];
        for (leases, expected) in cases {
            assert_eq!(contradiction_of_positions(&leases, &shards).is_some(), expected, "{leases:?}");
        }
    }

    #[test]
    fn only_unfinished_leases_that_say_nothing_are_written_to() {
        let stream = of_stream(ORDERS, 1);
        let mut finished = of(2, None);
        finished.checkpoint = Checkpoint::ShardEnd;
        let leases = [of(0, None), of(1, Some(Arc::clone(&stream))), finished];
        let notes = to_note(&leases, &stream);
        assert_eq!(notes.len(), 1);
        assert_eq!(notes[0].0, leases[0].key);
        assert_eq!(notes[0].1.stream.as_deref(), Some(&*stream));
    }
}
