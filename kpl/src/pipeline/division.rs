//! An aggregate that no longer fits one shard is cut along the new map. Each user record keeps its ticket.

use kinesis_shard::{AggregatedRecordWriter, HashKey, HashKeyRange, Payload, ShardMap};

use crate::error::user_records;
use crate::pipeline::kinesis_record::KinesisRecord;
use crate::user_record::UserRecord;

/// The pieces of a record, one for each shard that its user records fall on, in the order of the map. A plain record is its one piece.
///
/// Order inside a piece is that of the aggregate. Pieces inherit number, age, attempts and doubt.
pub(crate) fn divide(record: KinesisRecord, map: &ShardMap) -> Vec<KinesisRecord> {
    divide_by(record, |_, key| map.open_index_of(key))
}

/// Each user record of an aggregate alone.
pub(crate) fn separate(record: KinesisRecord) -> Vec<KinesisRecord> {
    divide_by(record, |position, _| position)
}

/// One piece for each group that a user record's position and hash key can fall into.
fn divide_by(record: KinesisRecord, group_of: impl Fn(usize, HashKey) -> usize) -> Vec<KinesisRecord> {
    let Payload::Aggregated(bytes) = &record.payload else { return vec![record] };
    let members: Vec<(HashKey, UserRecord)> =
        user_records(bytes).into_iter().map(|member| (member.hash_key(), member)).collect();
    let mut placed: Vec<(usize, usize)> =
        members.iter().enumerate().map(|(position, (key, _))| (group_of(position, *key), position)).collect();
    placed.sort_unstable();
    let groups: Vec<Vec<usize>> = placed
        .chunk_by(|left, right| left.0 == right.0)
        .map(|group| group.iter().map(|(_, position)| *position).collect())
        .collect();
    let outstanding: Vec<usize> = members.iter().map(|(_, member)| member.outstanding_bytes()).collect();

    let KinesisRecord { number, origin, opened, timeline, attempts, in_doubt, alone, .. } = record;
    let origins = origin.divide(&outstanding, groups.clone());
    groups
        .into_iter()
        .zip(origins)
        .map(|(group, origin)| {
            let piece: Vec<&(HashKey, UserRecord)> =
                group.iter().filter_map(|position| members.get(*position)).collect();
            let mut piece = piece;
            if kinesis_shard::planted("a piece of an aggregate is written backwards") {
                piece.reverse();
            }
            let (payload, route, span) = encode(&piece);
            KinesisRecord {
                number,
                timeline,
                attempts: attempts.clone(),
                in_doubt,
                alone,
                ..KinesisRecord::new(payload, route, span, origin, opened)
            }
        })
        .collect()
}

fn encode(members: &[&(HashKey, UserRecord)]) -> (Payload, HashKey, HashKeyRange) {
    let mut writer = AggregatedRecordWriter::new();
    for (_, UserRecord { partition_key, explicit_hash_key, data }) in members {
        let key_hash = HashKey::of_partition_key(partition_key).low_64();
        writer.push(partition_key, key_hash, *explicit_hash_key, data);
    }
    let keys = || members.iter().map(|(key, _)| *key);
    let span =
        keys().min().zip(keys().max()).and_then(|(least, greatest)| HashKeyRange::new(least, greatest).ok());
    let (route, span) = keys().next().zip(span).expect("a group holds at least one user record");
    (writer.finish_without_digest().payload, route, span)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{aggregate_of, delivered, shard_map};

    #[test]
    fn every_member_goes_to_the_shard_of_its_key_and_keeps_its_ticket() {
        let keys: Vec<String> = (0..40).map(|index| format!("key-{index}")).collect();
        let (record, tickets) = aggregate_of(&keys);
        let map = shard_map(4);
        let pieces = divide(record, &map);
        assert_eq!(pieces.len(), 4);
        let mut seen = 0;
        for (index, piece) in pieces.iter().enumerate() {
            assert!(piece.fits(map.open()[index].hash_key_range));
            let Payload::Aggregated(bytes) = &piece.payload else { panic!("about ten members each") };
            seen += user_records(bytes).len();
        }
        assert_eq!(seen, 40);
        for (index, piece) in pieces.into_iter().enumerate() {
            piece.origin.settle(delivered(map.open()[index].id.as_str(), 1));
        }
        for (key, ticket) in keys.iter().zip(&tickets) {
            let shard = map.shard_of(HashKey::of_partition_key(key)).id.clone();
            assert_eq!(ticket.answer().unwrap().unwrap().shard_id, shard);
        }
    }

    #[test]
    fn pieces_keep_what_is_known_of_the_whole() {
        let (mut record, _tickets) = aggregate_of(&["a", "b", "c"]);
        (record.number, record.alone, record.in_doubt) = (7, true, true);
        let (opened, second) = (record.opened, std::time::Duration::from_secs(1));
        for round in 1..=2 {
            record.attempted(opened, opened + second * round, Some("Code".into()));
            assert_eq!(record.attempts.len(), round as usize);
            assert_eq!(record.attempts.last().map(|last| last.duration), Some(second * round));
        }
        record.moved(opened + second, crate::error::WaitedIn::Backoff);
        let spent = record.timeline.spent(opened + second * 3);
        for piece in separate(record) {
            assert_eq!((piece.number, piece.alone, piece.in_doubt), (7, true, true));
            assert_eq!((piece.attempts.len(), piece.timeline.spent(opened + second * 3)), (2, spent));
        }
    }

    #[test]
    fn separated_members_are_plain_and_keep_their_order_and_tickets() {
        let (record, tickets) = aggregate_of(&["a", "b", "c"]);
        let pieces = separate(record);
        let keys: Vec<_> = pieces.iter().map(|piece| piece.entry().partition_key).collect();
        assert_eq!(keys, ["a", "b", "c"]);
        for (number, piece) in (1..).zip(pieces) {
            assert!(!piece.is_aggregate());
            piece.origin.settle(delivered("s", number));
        }
        let numbers: Vec<_> = tickets
            .iter()
            .map(|ticket| ticket.answer().unwrap().unwrap().sequence_number.to_string())
            .collect();
        assert_eq!(numbers, ["1", "2", "3"]);
    }

    #[test]
    fn a_piece_of_one_is_plain_again_with_its_own_keys() {
        let (record, _tickets) = aggregate_of(&["a", "b"]);
        let map = shard_map(64);
        let pieces = divide(record, &map);
        assert_eq!(pieces.len(), 2);
        let mut keys: Vec<_> = pieces.iter().map(|piece| piece.entry().partition_key).collect();
        keys.sort();
        assert_eq!(keys, ["a", "b"]);
        assert!(
            pieces.iter().all(|piece| !piece.is_aggregate() && piece.entry().explicit_hash_key.is_none())
        );
    }
}
