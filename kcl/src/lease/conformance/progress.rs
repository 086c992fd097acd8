//! Hand-over, release, checkpoints, notes.

use bytes::Bytes;
use futures::future::FutureExt;
use kinesis_shard::{Checkpoint, ExtendedSequenceNumber, HashKeyRange, SequenceNumber, ShardId};

use super::{
    Broken, Check, CheckpointUpdate, Lease, LeaseCounter, MetaUpdate, Operation, Outcome, Owners,
    PendingCheckpoint, Stamp, Table, ann, applied, bob, ensure, equal, key, refused,
};

pub(super) fn checks() -> Vec<Check> {
    macro_rules! check {
        ($name:ident, $sentence:literal) => {
            Check { name: stringify!($name), sentence: $sentence, run: |table| $name(table).boxed() }
        };
    }
    vec![
        check!(assign_checks_owners, "an assignment needs both owner fields as read, not the counter"),
        check!(assign_owns, "an assignment sets the owner, raises the counter and ends a hand-over"),
        check!(handoff_marks, "a hand-over names both workers and leaves the counter alone"),
        check!(handoff_is_conditional, "a hand-over needs the right owner and no other hand-over"),
        check!(
            handoff_ends,
            "a hand-over that is ended leaves the row as it was before it, with the counter of the owner's writes"
        ),
        check!(
            handoff_ends_as_read,
            "the end of a hand-over needs both owner fields as read, and a hand-over"
        ),
        check!(release_frees, "a release removes the owner and raises the counter"),
        check!(release_is_conditional, "a release needs both owner fields and the counter as read"),
        check!(release_completes_handoff, "a release during a hand-over leaves the row to the new owner"),
        check!(checkpoint_writes, "a checkpoint is written, raises the counter and sets the switches to 0"),
        check!(
            checkpoint_is_conditional,
            "a checkpoint with another counter is refused, with the row as it is"
        ),
        check!(checkpoints_keep_every_digit, "every kind of checkpoint comes back as it was written"),
        check!(
            pending_comes_back,
            "a pending checkpoint and its bytes come back, and go with the next checkpoint"
        ),
        check!(pending_without_state, "a pending checkpoint without bytes is not one with empty bytes"),
        check!(
            notes_keep_the_counter,
            "children and hash range are noted without counter and without touching the rest"
        ),
        check!(stamps_come_with_the_write, "a stamp is kept by the write that it came with, or not at all"),
        check!(nudges_are_counted, "a nudge is counted and changes nothing else"),
        check!(first_pin_stays, "the first note of what LATEST means stays"),
        check!(first_stream_stays, "the first note of which stream a lease is of stays"),
        check!(checkpoint_keeps_the_notes, "a checkpoint keeps owner, parents, children and hash range"),
    ]
}

fn at(sequence_number: &str, sub_sequence_number: u64) -> Result<Checkpoint, Broken> {
    let sequence_number: SequenceNumber =
        sequence_number.parse().map_err(|error| Broken(format!("a number of the suite: {error}")))?;
    Ok(Checkpoint::At(ExtendedSequenceNumber { sequence_number, sub_sequence_number }))
}

fn update(checkpoint: Checkpoint) -> CheckpointUpdate {
    CheckpointUpdate { checkpoint, pending: None }
}

async fn assign_checks_owners(table: Table) -> Outcome {
    let row = table.owned(&key(), &ann()).await?;
    let wrong = [
        Owners::default(),
        Owners { owner: Some(bob()), checkpoint_owner: None },
        Owners { owner: Some(ann()), checkpoint_owner: Some(bob()) },
    ];
    for owners in wrong {
        table.untouched(&row, table.0.assign(&key(), &owners, &bob()).await?).await?;
    }
    applied(table.0.renew(&key(), row.counter, false).await?)?;
    applied(table.0.assign(&key(), &row.owners(), &bob()).await?)?;
    Ok(())
}

async fn assign_owns(table: Table) -> Outcome {
    table.owned(&key(), &ann()).await?;
    let marked = applied(table.0.start_handoff(&key(), &ann(), &bob()).await?)?;
    let row = applied(table.0.assign(&key(), &marked.owners(), &bob()).await?)?;
    equal(row.owners(), Owners { owner: Some(bob()), checkpoint_owner: None })?;
    equal(row.counter, marked.counter.next())?;
    // The stored owner does not change, so that an orderly hand-over is no switch.
    equal(row.owner_switches_since_checkpoint, 0)?;
    equal(table.row(&key()).await?, row)
}

async fn handoff_marks(table: Table) -> Outcome {
    let row = table.owned(&key(), &ann()).await?;
    let marked = applied(table.0.start_handoff(&key(), &ann(), &bob()).await?)?;
    let expected = Lease { owner: Some(bob()), checkpoint_owner: Some(ann()), ..row };
    equal(&marked, &expected)?;
    equal(table.row(&key()).await?, expected)
}

async fn handoff_is_conditional(table: Table) -> Outcome {
    let row = table.owned(&key(), &ann()).await?;
    table.untouched(&row, table.0.start_handoff(&key(), &bob(), &ann()).await?).await?;
    let marked = applied(table.0.start_handoff(&key(), &ann(), &bob()).await?)?;
    table.untouched(&marked, table.0.start_handoff(&key(), &ann(), &bob()).await?).await?;
    table.untouched(&marked, table.0.start_handoff(&key(), &bob(), &ann()).await?).await
}

async fn handoff_ends(table: Table) -> Outcome {
    let row = table.owned(&key(), &ann()).await?;
    let marked = applied(table.0.start_handoff(&key(), &ann(), &bob()).await?)?;
    let renewed = applied(table.0.renew(&key(), row.counter, true).await?)?;
    let ended = applied(table.0.end_handoff(&key(), &marked.owners(), &ann()).await?)?;
    equal(&ended, &Lease { counter: renewed.counter, ..row })?;
    equal(table.row(&key()).await?, ended.clone())?;
    applied(table.0.renew(&key(), ended.counter, false).await?)?;
    Ok(())
}

async fn handoff_ends_as_read(table: Table) -> Outcome {
    let row = table.owned(&key(), &ann()).await?;
    table.untouched(&row, table.0.end_handoff(&key(), &row.owners(), &bob()).await?).await?;
    let marked = applied(table.0.start_handoff(&key(), &ann(), &bob()).await?)?;
    let other = Owners { owner: Some(ann()), checkpoint_owner: Some(bob()) };
    for owners in [row.owners(), other, Owners::default()] {
        table.untouched(&marked, table.0.end_handoff(&key(), &owners, &ann()).await?).await?;
    }
    Ok(())
}

async fn release_frees(table: Table) -> Outcome {
    let row = table.owned(&key(), &ann()).await?;
    let free = applied(table.0.release(&key(), &row.owners(), row.counter).await?)?;
    equal(free.owners(), Owners::default())?;
    equal(free.counter, row.counter.next())?;
    equal(table.row(&key()).await?, free.clone())?;
    applied(table.0.take(&key(), free.counter, &bob()).await?)?;
    Ok(())
}

async fn release_is_conditional(table: Table) -> Outcome {
    let row = table.owned(&key(), &ann()).await?;
    let theirs = Owners { owner: Some(bob()), checkpoint_owner: None };
    table.untouched(&row, table.0.release(&key(), &theirs, row.counter).await?).await?;
    table.untouched(&row, table.0.release(&key(), &row.owners(), LeaseCounter::ZERO).await?).await?;
    let marked = applied(table.0.start_handoff(&key(), &ann(), &bob()).await?)?;
    table.untouched(&marked, table.0.release(&key(), &row.owners(), row.counter).await?).await
}

async fn release_completes_handoff(table: Table) -> Outcome {
    table.owned(&key(), &ann()).await?;
    let marked = applied(table.0.start_handoff(&key(), &ann(), &bob()).await?)?;
    let row = applied(table.0.release(&key(), &marked.owners(), marked.counter).await?)?;
    equal(row.owners(), Owners { owner: Some(bob()), checkpoint_owner: None })?;
    equal(row.counter, marked.counter.next())?;
    // As Java counts, whose `assign` finds the new owner stored already: an orderly hand-over is no switch.
    equal(row.owner_switches_since_checkpoint, 0)
}

async fn checkpoint_writes(table: Table) -> Outcome {
    let row = table.owned(&key(), &ann()).await?;
    let row = applied(table.0.take(&key(), row.counter, &bob()).await?)?;
    equal(row.owner_switches_since_checkpoint, 1)?;
    let to = at("49590338271490256608559692538361571095921575989136588898", 3)?;
    let written = applied(table.0.checkpoint(&key(), row.counter, update(to)).await?)?;
    equal((written.checkpoint, written.counter), (to, row.counter.next()))?;
    equal(written.owner_switches_since_checkpoint, 0)?;
    equal(table.row(&key()).await?, written)
}

async fn checkpoint_is_conditional(table: Table) -> Outcome {
    let old = table.owned(&key(), &ann()).await?;
    let row = applied(table.0.take(&key(), old.counter, &bob()).await?)?;
    for wrong in [old.counter, row.counter.next()] {
        let write = table.0.checkpoint(&key(), wrong, update(Checkpoint::ShardEnd)).await?;
        table.untouched(&row, write).await?;
    }
    Ok(())
}

async fn checkpoints_keep_every_digit(table: Table) -> Outcome {
    let mut row = table.owned(&key(), &ann()).await?;
    let all = [
        Checkpoint::AtTimestamp,
        Checkpoint::TrimHorizon,
        Checkpoint::Latest,
        at("0", 0)?,
        at("49590338271490256608559692538361571095921575989136588898", 0)?,
        at("49590338271490256608559692538361571095921575989136588899", 10_000)?,
        Checkpoint::ShardEnd,
    ];
    for checkpoint in all {
        row = applied(table.0.checkpoint(&key(), row.counter, update(checkpoint)).await?)?;
        equal(table.row(&key()).await?.checkpoint, checkpoint)?;
    }
    Ok(())
}

async fn pending_comes_back(table: Table) -> Outcome {
    let row = table.owned(&key(), &ann()).await?;
    let pending =
        PendingCheckpoint { checkpoint: at("12", 1)?, state: Some(Bytes::from_static(b"\0\xff mine")) };
    let prepared = CheckpointUpdate { checkpoint: row.checkpoint, pending: Some(pending.clone()) };
    let row = applied(table.0.checkpoint(&key(), row.counter, prepared).await?)?;
    equal(row.pending_checkpoint.as_ref(), Some(&pending))?;
    equal(table.row(&key()).await?.pending_checkpoint, Some(pending.clone()))?;
    // A new owner is told what the old one had prepared.
    let row = applied(table.0.take(&key(), row.counter, &bob()).await?)?;
    equal(row.pending_checkpoint.as_ref(), Some(&pending))?;
    let row = applied(table.0.checkpoint(&key(), row.counter, update(pending.checkpoint)).await?)?;
    equal(row.pending_checkpoint, None)?;
    equal(table.row(&key()).await?.pending_checkpoint, None)
}

async fn pending_without_state(table: Table) -> Outcome {
    let mut row = table.owned(&key(), &ann()).await?;
    for state in [None, Some(Bytes::from_static(b"x"))] {
        let pending = Some(PendingCheckpoint { checkpoint: at("5", 0)?, state });
        let prepared = CheckpointUpdate { checkpoint: row.checkpoint, pending: pending.clone() };
        row = applied(table.0.checkpoint(&key(), row.counter, prepared).await?)?;
        equal(table.row(&key()).await?.pending_checkpoint, pending)?;
    }
    Ok(())
}

async fn notes_keep_the_counter(table: Table) -> Outcome {
    let row = table.owned(&key(), &ann()).await?;
    let children = vec![ShardId::from_index(8), ShardId::from_index(9)];
    let note = MetaUpdate { children: Some(children.clone()), ..MetaUpdate::default() };
    let noted = applied(table.0.update_meta(&key(), note).await?)?;
    equal(&noted, &Lease { children: children.clone(), ..row.clone() })?;
    let note = MetaUpdate { hash_key_range: Some(HashKeyRange::FULL), ..MetaUpdate::default() };
    let noted = applied(table.0.update_meta(&key(), note).await?)?;
    equal(&noted, &Lease { children, hash_key_range: Some(HashKeyRange::FULL), ..row.clone() })?;
    equal(table.row(&key()).await?, noted)?;
    // The owner does not notice.
    applied(table.0.renew(&key(), row.counter, false).await?)?;
    Ok(())
}

/// A store may leave stamps out altogether; one that keeps them keeps the newest, in the write that it belongs to.
async fn stamps_come_with_the_write(table: Table) -> Outcome {
    let row = table.owned(&key(), &ann()).await?;
    let stamp = |sent_micros, counter| Stamp { process: u64::MAX, sent_micros, counter };
    let first = stamp(1_000_000, row.counter.next());
    let renew = Operation::Renew { expected: row.counter, during_handoff: false };
    let renewed = applied(table.0.write(&key(), renew.clone(), Some(&first)).await?)?;
    equal(renewed.counter, row.counter.next())?;
    let kept = table.row(&key()).await?.written();
    ensure(kept.is_none() || kept == Some(first), || format!("{kept:?} instead of {first:?}"))?;
    // Refused writes leave none.
    let late = stamp(2_000_000, row.counter.next());
    equal(
        refused(table.0.write(&key(), renew, Some(&late)).await?)?.map(|row| row.counter),
        Some(renewed.counter),
    )?;
    equal(table.row(&key()).await?.written(), kept)?;
    // A write without one leaves the old one, which is then of another counter.
    let written = applied(table.0.renew(&key(), renewed.counter, false).await?)?;
    equal(written.written(), None)?;
    let checkpoint =
        Operation::Checkpoint { expected: written.counter, update: update(Checkpoint::ShardEnd) };
    let third = stamp(3_000_000, written.counter.next());
    applied(table.0.write(&key(), checkpoint, Some(&third)).await?)?;
    let take = Operation::Take { expected: written.counter.next(), worker: bob() };
    let fourth = stamp(4_000_000, written.counter.next().next());
    let taken = applied(table.0.write(&key(), take, Some(&fourth)).await?)?;
    equal(taken.owner, Some(bob()))?;
    let row = table.row(&key()).await?;
    equal(row.written(), kept.and(Some(fourth)))?;
    let peeked = table.0.peek(&key()).await?;
    equal(peeked.map(|row| row.key), Some(key()))
}

/// As above: all or nothing.
async fn nudges_are_counted(table: Table) -> Outcome {
    let row = table.owned(&key(), &ann()).await?;
    let nudge = MetaUpdate { nudge: true, ..MetaUpdate::default() };
    for count in 1..=3 {
        applied(table.0.update_meta(&key(), nudge.clone()).await?)?;
        let found = table.row(&key()).await?;
        ensure([0, count].contains(&found.nudges), || format!("{} nudges instead of {count}", found.nudges))?;
        equal(Lease { nudges: 0, ..found }, row.clone())?;
    }
    // The owner does not notice, and finds them in its answer.
    let renewed = applied(table.0.renew(&key(), row.counter, false).await?)?;
    equal(renewed.nudges, table.row(&key()).await?.nudges)
}

async fn first_pin_stays(table: Table) -> Outcome {
    table.created(&key()).await?;
    for (pin, stays) in
        [(None, None), (Some(1_700_000_000_123), Some(1_700_000_000_123)), (Some(5), Some(1_700_000_000_123))]
    {
        let note = MetaUpdate { latest_pinned_at: pin, ..MetaUpdate::default() };
        applied(table.0.update_meta(&key(), note).await?)?;
        equal(table.row(&key()).await?.latest_pinned_at, stays)?;
    }
    Ok(())
}

async fn first_stream_stays(table: Table) -> Outcome {
    table.created(&key()).await?;
    for (stream, stays) in
        [(None, None), (Some("orders@1"), Some("orders@1")), (Some("orders@2"), Some("orders@1"))]
    {
        let note = MetaUpdate { stream: stream.map(Into::into), ..MetaUpdate::default() };
        applied(table.0.update_meta(&key(), note).await?)?;
        equal(table.row(&key()).await?.stream.as_deref(), stays)?;
    }
    Ok(())
}

async fn checkpoint_keeps_the_notes(table: Table) -> Outcome {
    let row = table.owned(&key(), &ann()).await?;
    let note = MetaUpdate {
        children: Some(vec![ShardId::from_index(8)]),
        hash_key_range: Some(HashKeyRange::FULL),
        latest_pinned_at: Some(7),
        stream: Some("orders@1".into()),
        nudge: true,
    };
    let noted = applied(table.0.update_meta(&key(), note).await?)?;
    let written = applied(table.0.checkpoint(&key(), row.counter, update(Checkpoint::ShardEnd)).await?)?;
    let expected = Lease { checkpoint: Checkpoint::ShardEnd, counter: row.counter.next(), ..noted };
    equal(&written, &expected)?;
    equal(table.row(&key()).await?, expected)?;
    equal(refused(table.0.renew(&key(), row.counter, false).await?)?.is_some(), true)
}
