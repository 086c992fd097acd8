//! What an operation becomes as one conditional `UpdateItem`: pure.
//!
//! The conditions and effects are those of [`rules`](crate::lease::rules), which say them once for all stores; the conformance
//! suite holds both to the same sentences. Only what an operation means is written, so that attributes of other versions stay.

use aws_sdk_dynamodb::types::AttributeValue;

use super::item::{
    self, CHECKPOINT, CHECKPOINT_OWNER, CHECKPOINT_SUB, CHILDREN, ENDING_HASH_KEY, Item, LATEST_PINNED_AT,
    LEASE_COUNTER, LEASE_KEY, LEASE_OWNER, NUDGES, OWNER_SWITCHES, PENDING, PENDING_STATE, PENDING_SUB,
    STAMP, STARTING_HASH_KEY, STREAM_IDENTITY,
};
use crate::lease::{CheckpointUpdate, LeaseCounter, MetaUpdate, Owners, Stamp, WorkerId};

/// The names behind the placeholders, as the SDK has them.
#[expect(clippy::disallowed_types, reason = "the SDK's own type; nothing here depends on its order")]
pub(super) type Names = std::collections::HashMap<String, String>;

/// One conditional update.
#[derive(Debug, Default)]
pub(super) struct Change {
    conditions: Vec<String>,
    sets: Vec<String>,
    adds: Vec<String>,
    removes: Vec<String>,
    names: Names,
    values: Item,
}

impl Change {
    pub(super) fn renew(expected: LeaseCounter, during_handoff: bool) -> Self {
        let change = Self::default().raising(expected);
        if during_handoff { change } else { change.if_absent(CHECKPOINT_OWNER) }
    }

    /// Owners are a condition too, beside the counter, because whether the take counts as a switch depends on them.
    pub(super) fn take(expected: LeaseCounter, worker: &WorkerId, seen: &Owners) -> Self {
        Self::default().raising(expected).if_owned(seen).owned_by(worker, seen)
    }

    pub(super) fn assign(expected: &Owners, worker: &WorkerId) -> Self {
        Self::default()
            .if_owned(expected)
            .if_present(LEASE_KEY)
            .adding_one(LEASE_COUNTER)
            .owned_by(worker, expected)
    }

    pub(super) fn start_handoff(from: &WorkerId, to: &WorkerId) -> Self {
        let free = Owners { owner: Some(from.clone()), checkpoint_owner: None };
        Self::default()
            .if_owned(&free)
            .set(LEASE_OWNER, item::text(to.as_str()))
            .set(CHECKPOINT_OWNER, item::text(from.as_str()))
    }

    pub(super) fn end_handoff(expected: &Owners, owner: &WorkerId) -> Self {
        Self::default()
            .if_owned(expected)
            .if_present(LEASE_KEY)
            .set(LEASE_OWNER, item::text(owner.as_str()))
            .remove(CHECKPOINT_OWNER)
    }

    /// With a hand-over under way only the mark goes: the row then belongs to the one who asked.
    pub(super) fn release(expected: &Owners, counter: LeaseCounter) -> Self {
        let change = Self::default().raising(counter).if_owned(expected);
        match (&expected.owner, &expected.checkpoint_owner) {
            (_, Some(_)) => change.remove(CHECKPOINT_OWNER),
            (Some(_), None) => change.remove(LEASE_OWNER),
            (None, None) => change,
        }
    }

    pub(super) fn checkpoint(expected: LeaseCounter, update: &CheckpointUpdate) -> Self {
        let CheckpointUpdate { checkpoint, pending } = update;
        let change = Self::default()
            .raising(expected)
            .set(CHECKPOINT, item::text(checkpoint.sequence_text()))
            .set(CHECKPOINT_SUB, item::number(checkpoint.sub_sequence_number()))
            .set(OWNER_SWITCHES, item::number(0));
        let Some(pending) = pending else {
            return change.remove(PENDING).remove(PENDING_SUB).remove(PENDING_STATE);
        };
        change
            .set(PENDING, item::text(pending.checkpoint.sequence_text()))
            .set(PENDING_SUB, item::number(pending.checkpoint.sub_sequence_number()))
            .set_or_remove(PENDING_STATE, item::state(pending.state.as_ref()))
    }

    /// None if there is nothing to note.
    pub(super) fn note(update: &MetaUpdate) -> Option<Self> {
        let mut change = Self::default();
        if let Some(children) = &update.children {
            change = change.set_or_remove(CHILDREN, item::shards(children));
        }
        if let Some((start, end)) = item::hash_keys(update.hash_key_range) {
            change = change.set(STARTING_HASH_KEY, start).set(ENDING_HASH_KEY, end);
        }
        if let Some(pinned_at) = update.latest_pinned_at {
            change = change.set_once(LATEST_PINNED_AT, item::number(pinned_at));
        }
        if let Some(stream) = &update.stream {
            change = change.set_once(STREAM_IDENTITY, item::text(&**stream));
        }
        if update.nudge {
            change = change.adding_one(NUDGES);
        }
        let something = !change.sets.is_empty() || !change.adds.is_empty() || !change.removes.is_empty();
        something.then(|| change.if_present(LEASE_KEY))
    }

    /// The same, with the stamp of the write.
    pub(super) fn stamped(self, stamp: Option<&Stamp>) -> Self {
        match stamp {
            Some(stamp) => self.set(STAMP, item::text(stamp.to_string())),
            None => self,
        }
    }

    /// The condition of a creation.
    pub(super) fn if_new() -> Self {
        Self::default().if_absent(LEASE_KEY)
    }

    /// The condition of a deletion.
    pub(super) fn if_counter(expected: LeaseCounter) -> Self {
        Self::default().if_equal(LEASE_COUNTER, item::number(expected.get()))
    }

    pub(super) fn condition(&self) -> String {
        self.conditions.join(" AND ")
    }

    pub(super) fn update(&self) -> String {
        let clauses = [("SET", &self.sets), ("ADD", &self.adds), ("REMOVE", &self.removes)];
        let clause = |(verb, parts): (&str, &Vec<String>)| {
            (!parts.is_empty()).then(|| format!("{verb} {}", parts.join(", ")))
        };
        clauses.into_iter().filter_map(clause).collect::<Vec<_>>().join(" ")
    }

    /// The service refuses empty ones.
    pub(super) fn names(&self) -> Option<Names> {
        (!self.names.is_empty()).then(|| self.names.clone())
    }

    /// The service refuses empty ones.
    pub(super) fn values(&self) -> Option<Item> {
        (!self.values.is_empty()).then(|| self.values.clone())
    }

    fn raising(self, expected: LeaseCounter) -> Self {
        self.if_equal(LEASE_COUNTER, item::number(expected.get()))
            .set(LEASE_COUNTER, item::number(expected.next().get()))
    }

    /// A switch is an owner that changed, or an old owner that gets a pending hand-over back.
    fn owned_by(self, worker: &WorkerId, seen: &Owners) -> Self {
        let changed = seen.owner.as_ref().is_some_and(|owner| owner != worker);
        let back = seen.checkpoint_owner.as_ref() == Some(worker);
        let change = self.set(LEASE_OWNER, item::text(worker.as_str())).remove(CHECKPOINT_OWNER);
        if changed || back { change.adding_one(OWNER_SWITCHES) } else { change }
    }

    fn if_owned(self, expected: &Owners) -> Self {
        let mut change = self;
        for (name, owner) in [(LEASE_OWNER, &expected.owner), (CHECKPOINT_OWNER, &expected.checkpoint_owner)]
        {
            change = match owner {
                Some(owner) => change.if_equal(name, item::text(owner.as_str())),
                None => change.if_absent(name),
            };
        }
        change
    }

    fn if_equal(mut self, name: &str, value: AttributeValue) -> Self {
        let condition = format!("{} = {}", self.name(name), self.value(value));
        self.conditions.push(condition);
        self
    }

    fn if_absent(mut self, name: &str) -> Self {
        let condition = format!("attribute_not_exists({})", self.name(name));
        self.conditions.push(condition);
        self
    }

    fn if_present(mut self, name: &str) -> Self {
        let condition = format!("attribute_exists({})", self.name(name));
        self.conditions.push(condition);
        self
    }

    fn set(mut self, name: &str, value: AttributeValue) -> Self {
        let set = format!("{} = {}", self.name(name), self.value(value));
        self.sets.push(set);
        self
    }

    /// Only the first one stays.
    fn set_once(mut self, name: &str, value: AttributeValue) -> Self {
        let (name, value) = (self.name(name), self.value(value));
        self.sets.push(format!("{name} = if_not_exists({name}, {value})"));
        self
    }

    fn set_or_remove(self, name: &str, value: Option<AttributeValue>) -> Self {
        match value {
            Some(value) => self.set(name, value),
            None => self.remove(name),
        }
    }

    fn adding_one(mut self, name: &str) -> Self {
        let add = format!("{} {}", self.name(name), self.value(item::number(1)));
        self.adds.push(add);
        self
    }

    fn remove(mut self, name: &str) -> Self {
        let name = self.name(name);
        self.removes.push(name);
        self
    }

    /// Behind a placeholder, always: some names are words of the expression language.
    fn name(&mut self, name: &str) -> String {
        let placeholder = format!("#{name}");
        self.names.insert(placeholder.clone(), name.to_owned());
        placeholder
    }

    fn value(&mut self, value: AttributeValue) -> String {
        let placeholder = format!(":v{}", self.values.len());
        self.values.insert(placeholder.clone(), value);
        placeholder
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kinesis_shard::{Checkpoint, HashKeyRange, ShardId};

    use super::*;
    use crate::lease::PendingCheckpoint;
    use crate::lease::test_support::worker;

    fn counter() -> LeaseCounter {
        LeaseCounter::new(5)
    }

    /// Empty names mean nobody.
    fn owners(owner: &str, checkpoint_owner: &str) -> Owners {
        let named = |name: &str| (!name.is_empty()).then(|| worker(name));
        Owners { owner: named(owner), checkpoint_owner: named(checkpoint_owner) }
    }

    /// Condition and update, with names and values themselves in the place of their placeholders.
    fn said(change: &Change) -> [String; 2] {
        let mut known: Vec<_> = change.names().unwrap_or_default().into_iter().collect();
        let values = change.values().unwrap_or_default();
        known.extend(values.into_iter().map(|(placeholder, value)| (placeholder, shown(&value))));
        // The longest first: `#checkpointOwner` begins with `#checkpoint`.
        known.sort_by_key(|(placeholder, _)| std::cmp::Reverse(placeholder.len()));
        [change.condition(), change.update()].map(|text| {
            known.iter().fold(text, |text, (placeholder, meant)| text.replace(placeholder.as_str(), meant))
        })
    }

    fn shown(value: &AttributeValue) -> String {
        match value {
            AttributeValue::N(digits) => digits.clone(),
            AttributeValue::S(text) => format!("'{text}'"),
            AttributeValue::B(bytes) => format!("b'{}'", String::from_utf8_lossy(bytes.as_ref())),
            AttributeValue::Ss(names) => format!("<{}>", names.join(", ")),
            other => panic!("{other:?} is never written"),
        }
    }

    #[test]
    fn a_renewal_raises_the_counter_and_is_refused_by_a_mark_that_it_does_not_know() {
        let known = said(&Change::renew(counter(), true));
        assert_eq!(known, ["leaseCounter = 5", "SET leaseCounter = 6"]);
        let unknown = said(&Change::renew(counter(), false));
        let condition = "leaseCounter = 5 AND attribute_not_exists(checkpointOwner)";
        assert_eq!(unknown, [condition, "SET leaseCounter = 6"]);
    }

    #[test]
    fn owners_must_be_those_that_were_seen_and_absent_where_none_were() {
        for (seen, condition) in [
            (owners("", ""), "attribute_not_exists(leaseOwner) AND attribute_not_exists(checkpointOwner)"),
            (owners("bob", ""), "leaseOwner = 'bob' AND attribute_not_exists(checkpointOwner)"),
            (owners("bob", "cyd"), "leaseOwner = 'bob' AND checkpointOwner = 'cyd'"),
        ] {
            let at_counter = format!("leaseCounter = 5 AND {condition}");
            assert_eq!(said(&Change::take(counter(), &worker("ann"), &seen))[0], at_counter);
            assert_eq!(said(&Change::release(&seen, counter()))[0], at_counter);
            let of_a_row = format!("{condition} AND attribute_exists(leaseKey)");
            assert_eq!(said(&Change::assign(&seen, &worker("ann")))[0], of_a_row);
            assert_eq!(said(&Change::end_handoff(&seen, &worker("ann")))[0], of_a_row);
        }
    }

    #[test]
    fn a_switch_is_an_owner_that_changed_or_one_that_gets_the_lease_back() {
        for (seen, is_switch) in [
            (owners("", ""), false),
            (owners("ann", ""), false),
            (owners("bob", ""), true),
            (owners("", "bob"), false),
            (owners("", "ann"), true),
        ] {
            let (alone, too) = if is_switch {
                (" ADD ownerSwitchesSinceCheckpoint 1", ", ownerSwitchesSinceCheckpoint 1")
            } else {
                ("", "")
            };
            let taken = format!("SET leaseCounter = 6, leaseOwner = 'ann'{alone} REMOVE checkpointOwner");
            assert_eq!(said(&Change::take(counter(), &worker("ann"), &seen))[1], taken, "{seen:?}");
            let assigned = format!("SET leaseOwner = 'ann' ADD leaseCounter 1{too} REMOVE checkpointOwner");
            assert_eq!(said(&Change::assign(&seen, &worker("ann")))[1], assigned, "{seen:?}");
        }
    }

    #[test]
    fn a_handover_starts_on_a_row_without_a_mark_and_its_end_removes_the_mark() {
        let (ann, bob) = (worker("ann"), worker("bob"));
        let condition = "leaseOwner = 'ann' AND attribute_not_exists(checkpointOwner)";
        let started = said(&Change::start_handoff(&ann, &bob));
        assert_eq!(started, [condition, "SET leaseOwner = 'bob', checkpointOwner = 'ann'"]);
        let ended = said(&Change::end_handoff(&owners("bob", "ann"), &ann));
        assert_eq!(ended[1], "SET leaseOwner = 'ann' REMOVE checkpointOwner");
    }

    #[test]
    fn a_release_removes_the_mark_or_where_there_is_none_the_owner() {
        for (seen, update) in [
            (owners("bob", "ann"), "SET leaseCounter = 6 REMOVE checkpointOwner"),
            (owners("ann", ""), "SET leaseCounter = 6 REMOVE leaseOwner"),
            (owners("", ""), "SET leaseCounter = 6"),
        ] {
            assert_eq!(said(&Change::release(&seen, counter()))[1], update);
        }
    }

    #[test]
    fn a_checkpoint_sets_the_pending_one_or_removes_it() {
        let at = |sub| Checkpoint::parse("9", sub).unwrap();
        let prepared = |state| Some(PendingCheckpoint { checkpoint: at(2), state });
        let set = "SET leaseCounter = 6, checkpoint = '9', checkpointSubSequenceNumber = 1, \
                   ownerSwitchesSinceCheckpoint = 0";
        let also = "pendingCheckpoint = '9', pendingCheckpointSubSequenceNumber = 2";
        for (pending, further) in [
            (None, format!(" REMOVE {PENDING}, {PENDING_SUB}, {PENDING_STATE}")),
            (prepared(None), format!(", {also} REMOVE pendingCheckpointState")),
            (prepared(Some(Bytes::new())), format!(", {also} REMOVE pendingCheckpointState")),
            (prepared(Some(Bytes::from("mine"))), format!(", {also}, pendingCheckpointState = b'mine'")),
        ] {
            let change = Change::checkpoint(counter(), &CheckpointUpdate { checkpoint: at(1), pending });
            assert_eq!(said(&change), ["leaseCounter = 5".to_owned(), format!("{set}{further}")]);
        }
    }

    #[test]
    fn a_note_writes_what_it_has_on_a_row_that_is_there_and_one_without_anything_is_none() {
        let nothing = MetaUpdate::default;
        assert!(Change::note(&nothing()).is_none());
        let children = vec![ShardId::new("c2"), ShardId::new("c1")];
        for (update, written) in [
            (MetaUpdate { children: Some(children), ..nothing() }, "SET childShardIds = <c1, c2>"),
            (MetaUpdate { children: Some(Vec::new()), ..nothing() }, "REMOVE childShardIds"),
            (
                MetaUpdate { hash_key_range: Some(HashKeyRange::FULL), ..nothing() },
                "SET startingHashKey = '0', endingHashKey = '340282366920938463463374607431768211455'",
            ),
            (
                MetaUpdate { latest_pinned_at: Some(7), ..nothing() },
                "SET latestPinnedAt = if_not_exists(latestPinnedAt, 7)",
            ),
            (
                MetaUpdate { stream: Some("arn@7".into()), ..nothing() },
                "SET streamIdentity = if_not_exists(streamIdentity, 'arn@7')",
            ),
            (MetaUpdate { nudge: true, ..nothing() }, "ADD nudges 1"),
        ] {
            assert_eq!(said(&Change::note(&update).unwrap()), ["attribute_exists(leaseKey)", written]);
        }
    }

    #[test]
    fn a_write_bears_its_stamp_if_there_is_one() {
        let renewal = || Change::renew(counter(), true);
        let stamp = Stamp { process: 7, sent_micros: 8, counter: counter().next() };
        assert_eq!(said(&renewal().stamped(None)), said(&renewal()));
        assert_eq!(said(&renewal().stamped(Some(&stamp)))[1], "SET leaseCounter = 6, stamp = '7:8:6'");
    }

    #[test]
    fn a_row_is_created_where_there_is_none_and_deleted_at_its_counter() {
        assert_eq!(said(&Change::if_new()), ["attribute_not_exists(leaseKey)", ""]);
        assert_eq!(said(&Change::if_counter(counter())), ["leaseCounter = 5", ""]);
    }

    #[test]
    fn names_and_values_are_absent_where_there_are_none() {
        let (creation, nothing) = (Change::if_new(), Change::default());
        assert_eq!((creation.names().is_some(), creation.values().is_some()), (true, false));
        assert_eq!((nothing.names().is_some(), nothing.values().is_some()), (false, false));
    }
}
