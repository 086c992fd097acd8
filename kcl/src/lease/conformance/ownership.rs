//! Creating, reading, renewing, taking, deleting.

use futures::future::{FutureExt, join_all};
use kinesis_shard::{Checkpoint, HashKeyRange, ShardId};

use super::{
    Check, LeaseCounter, LeaseKey, NewLease, Outcome, Table, WorkerId, Write, ann, applied, bob, ensure,
    equal, key, refused,
};

pub(super) fn checks() -> Vec<Check> {
    macro_rules! check {
        ($name:ident, $sentence:literal) => {
            Check { name: stringify!($name), sentence: $sentence, run: |table| $name(table).boxed() }
        };
    }
    vec![
        check!(begins_empty, "a new store lists nothing and knows no lease"),
        check!(prepare_twice, "preparing again changes nothing"),
        check!(
            creates_what_was_given,
            "a created lease has counter 0, no owner, and what it was created from"
        ),
        check!(creates_once, "a second creation under one key is refused and changes nothing"),
        check!(lists_everything, "a listing shows every lease as it is, and none twice"),
        check!(renew_raises, "a renewal with the right counter raises it by one and changes nothing else"),
        check!(renew_is_conditional, "a renewal with another counter is refused, with the row as it is"),
        check!(renew_sees_handoff, "a renewal is refused during a hand-over, unless it knows of it"),
        check!(take_owns, "a take sets the owner, raises the counter, keeps checkpoint and parents"),
        check!(take_is_conditional, "a take with another counter is refused, with the row as it is"),
        check!(take_counts_switches, "a take counts a switch if the owner changes, and only then"),
        check!(take_ends_handoff, "a take ends a hand-over, and counts a switch if the old owner takes back"),
        check!(one_taker_wins, "of many takers at once exactly one wins, and the others see its row"),
        check!(one_creator_wins, "of many creators at once exactly one wins"),
        check!(delete_is_conditional, "a delete needs the right counter; afterwards the row is gone"),
        check!(
            unknown_rows_are_refused,
            "every operation on a row that does not exist is refused and creates none"
        ),
        check!(rows_are_apart, "a write to one lease leaves the others alone"),
    ]
}

async fn begins_empty(table: Table) -> Outcome {
    equal(table.0.list().await?, Vec::new())?;
    equal(table.0.get(&key()).await?, None)
}

async fn prepare_twice(table: Table) -> Outcome {
    let row = table.owned(&key(), &ann()).await?;
    table.0.prepare().await?;
    equal(table.row(&key()).await?, row)
}

async fn creates_what_was_given(table: Table) -> Outcome {
    let given = NewLease {
        key: key(),
        checkpoint: Checkpoint::Latest,
        parents: vec![ShardId::from_index(1), ShardId::from_index(2)],
        hash_key_range: Some(HashKeyRange::FULL),
        stream: Some("arn:aws:kinesis:us-east-1:123456789012:stream/orders@1700000000".into()),
        pinned_at: Some(1_700_000_000_123),
    };
    ensure(table.0.create_if_absent(given.clone()).await?, || "refused".to_owned())?;
    let row = table.row(&key()).await?;
    equal(row, super::Lease::created(given))
}

async fn creates_once(table: Table) -> Outcome {
    let row = table.owned(&key(), &ann()).await?;
    let again = NewLease { checkpoint: Checkpoint::Latest, ..NewLease::child(key(), [], None) };
    ensure(!table.0.create_if_absent(again).await?, || "created twice".to_owned())?;
    equal(table.row(&key()).await?, row)
}

async fn lists_everything(table: Table) -> Outcome {
    let mut rows = Vec::new();
    // More than one page of the databases in use, and keys that sort differently as text and as numbers.
    for index in [0, 7, 10, 99, 100, 1_000_000_000_000] {
        let key = LeaseKey::from(&ShardId::from_index(index));
        rows.push(if index % 2 == 0 {
            table.owned(&key, &ann()).await?
        } else {
            table.created(&key).await?
        });
    }
    let mut listed = table.0.list().await?;
    listed.sort_by(|one, other| one.key.cmp(&other.key));
    rows.sort_by(|one, other| one.key.cmp(&other.key));
    equal(listed, rows)
}

async fn renew_raises(table: Table) -> Outcome {
    let before = table.owned(&key(), &ann()).await?;
    let after = applied(table.0.renew(&key(), before.counter, false).await?)?;
    equal(&after.counter, &before.counter.next())?;
    equal(super::Lease { counter: before.counter, ..after.clone() }, before)?;
    equal(table.row(&key()).await?, after)
}

async fn renew_is_conditional(table: Table) -> Outcome {
    let old = table.owned(&key(), &ann()).await?;
    let row = applied(table.0.renew(&key(), old.counter, false).await?)?;
    for wrong in [old.counter, row.counter.next(), LeaseCounter::ZERO] {
        table.untouched(&row, table.0.renew(&key(), wrong, false).await?).await?;
        table.untouched(&row, table.0.renew(&key(), wrong, true).await?).await?;
    }
    Ok(())
}

async fn renew_sees_handoff(table: Table) -> Outcome {
    table.owned(&key(), &ann()).await?;
    let marked = applied(table.0.start_handoff(&key(), &ann(), &bob()).await?)?;
    table.untouched(&marked, table.0.renew(&key(), marked.counter, false).await?).await?;
    let renewed = applied(table.0.renew(&key(), marked.counter, true).await?)?;
    equal(renewed.owners(), marked.owners())
}

async fn take_owns(table: Table) -> Outcome {
    let parents = vec![ShardId::from_index(3)];
    let new = NewLease { parents: parents.clone(), ..NewLease::child(key(), [], Some(HashKeyRange::FULL)) };
    table.0.create_if_absent(new).await?;
    let taken = applied(table.0.take(&key(), LeaseCounter::ZERO, &ann()).await?)?;
    equal(taken.owner.as_ref(), Some(&ann()))?;
    equal(taken.counter, LeaseCounter::new(1))?;
    equal((taken.checkpoint, &taken.parents), (Checkpoint::TrimHorizon, &parents))?;
    equal(taken.hash_key_range, Some(HashKeyRange::FULL))?;
    equal(table.row(&key()).await?, taken)
}

async fn take_is_conditional(table: Table) -> Outcome {
    let row = table.owned(&key(), &ann()).await?;
    for wrong in [LeaseCounter::ZERO, row.counter.next()] {
        table.untouched(&row, table.0.take(&key(), wrong, &bob()).await?).await?;
    }
    Ok(())
}

async fn take_counts_switches(table: Table) -> Outcome {
    let mut row = table.created(&key()).await?;
    for (worker, switches) in [(ann(), 0), (ann(), 0), (bob(), 1), (ann(), 2)] {
        row = applied(table.0.take(&key(), row.counter, &worker).await?)?;
        equal(row.owner_switches_since_checkpoint, switches)?;
    }
    Ok(())
}

async fn take_ends_handoff(table: Table) -> Outcome {
    let mut row = table.owned(&key(), &ann()).await?;
    // Bob takes what is to be his; then he takes back what is to be ann's.
    for (from, to, taker, switches) in [(ann(), bob(), bob(), 0), (bob(), ann(), bob(), 1)] {
        applied(table.0.start_handoff(&key(), &from, &to).await?)?;
        row = applied(table.0.take(&key(), row.counter, &taker).await?)?;
        equal((row.owner.as_ref(), row.checkpoint_owner.as_ref()), (Some(&taker), None))?;
        equal(row.owner_switches_since_checkpoint, switches)?;
    }
    Ok(())
}

async fn one_taker_wins(table: Table) -> Outcome {
    let row = table.created(&key()).await?;
    let workers: Vec<_> = (0..16).map(|number| WorkerId::new(format!("worker-{number}"))).collect();
    let key = key();
    let takes = join_all(workers.iter().map(|worker| table.0.take(&key, row.counter, worker))).await;
    let mut won = Vec::new();
    let mut lost = Vec::new();
    for take in takes {
        match take? {
            Write::Applied(row) => won.push(row),
            Write::Refused(row) => lost.push(row),
        }
    }
    equal(won.len(), 1)?;
    let row = table.row(&key).await?;
    equal(won.first(), Some(&row))?;
    ensure(lost.iter().all(|seen| seen.as_ref() == Some(&row)), || format!("a loser saw {lost:?}"))
}

async fn one_creator_wins(table: Table) -> Outcome {
    let creations =
        join_all((0..16).map(|_| table.0.create_if_absent(NewLease::child(key(), [], None)))).await;
    let mut created = 0;
    for creation in creations {
        created += usize::from(creation?);
    }
    equal(created, 1)
}

async fn delete_is_conditional(table: Table) -> Outcome {
    let row = table.owned(&key(), &ann()).await?;
    table.untouched(&row, table.0.delete(&key(), LeaseCounter::ZERO).await?).await?;
    equal(applied(table.0.delete(&key(), row.counter).await?)?, row.clone())?;
    equal(table.0.get(&key()).await?, None)?;
    equal(refused(table.0.delete(&key(), row.counter).await?)?, None)
}

async fn unknown_rows_are_refused(table: Table) -> Outcome {
    let (key, zero) = (key(), LeaseCounter::ZERO);
    let nobody = super::Owners::default();
    let update = super::CheckpointUpdate { checkpoint: Checkpoint::Latest, pending: None };
    let answers = [
        ("renew", table.0.renew(&key, zero, false).await?),
        ("take", table.0.take(&key, zero, &ann()).await?),
        ("assign", table.0.assign(&key, &nobody, &ann()).await?),
        ("start handoff", table.0.start_handoff(&key, &ann(), &bob()).await?),
        ("end handoff", table.0.end_handoff(&key, &nobody, &ann()).await?),
        ("release", table.0.release(&key, &nobody, zero).await?),
        ("checkpoint", table.0.checkpoint(&key, zero, update).await?),
        ("update meta", table.0.update_meta(&key, super::MetaUpdate::default()).await?),
        ("delete", table.0.delete(&key, zero).await?),
    ];
    for (operation, answer) in answers {
        ensure(answer == Write::Refused(None), || format!("{operation}: {answer:?}"))?;
    }
    equal(table.0.list().await?, Vec::new())
}

async fn rows_are_apart(table: Table) -> Outcome {
    let other = table.owned(&LeaseKey::new("shardId-000000000008"), &bob()).await?;
    let row = table.owned(&key(), &ann()).await?;
    applied(table.0.renew(&key(), row.counter, false).await?)?;
    applied(table.0.delete(&key(), row.counter.next()).await?)?;
    equal(table.0.list().await?, vec![other])
}
