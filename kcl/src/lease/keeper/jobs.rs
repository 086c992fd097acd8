//! What the keeper has under way: futures that it polls itself, so that dropping the keeper drops them all.

use std::time::{Duration, Instant};

use kinesis_shard::Backoff;

use super::{KeeperError, KeeperSettings, SyncError, Synced};
use crate::lease::assign::Why;
use crate::lease::held::{Hands, HeldLease, answer};
use crate::lease::tenure::{Answer, Next, Purpose, Tenure, Terms};
use crate::lease::{Lease, LeaseCounter, LeaseKey, LeaseStoreError, Operation, Owners, WorkerId, Write};

/// News from a job.
#[derive(Debug)]
pub(super) enum Done {
    /// The store is ready and the first sync was made; the table as it was then.
    Started(Result<Vec<Lease>, KeeperError>),
    /// The listing for a sync, which is one for everything else as well, and when it came.
    ListedForSync(Result<Vec<Lease>, LeaseStoreError>, Instant),
    Synced(Result<Synced, SyncError>),
    Scanned(Result<Vec<Lease>, LeaseStoreError>, Instant),
    Took(LeaseKey, LeaseCounter, Option<Box<Tenure>>),
    Asked(LeaseKey, bool),
    Renewed(LeaseKey),
    /// The watched row, and when the answer came.
    Watched(LeaseKey, Result<Option<Box<Lease>>, LeaseStoreError>, Instant),
    /// The others were told, as far as that was possible.
    Nudged,
    /// A gained lease was handed to the one who processes it; false: nobody is there any more.
    Delivered(bool),
    Released(LeaseKey),
    /// A row was relieved of a mark, or not.
    Cleared,
}

/// Prepares the store and makes the first sync, for as long as it takes or until it cannot succeed.
pub(super) async fn start(
    hands: Hands,
    settings: KeeperSettings,
    mut found: Option<Vec<Lease>>,
) -> Result<Vec<Lease>, KeeperError> {
    let clock = hands.calls.clock().clone();
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5), 2.0, settings.seed);
    loop {
        let error = match first_steps(&hands, found.take()).await {
            Ok(leases) => return Ok(leases),
            Err(error) => error,
        };
        match error.into_fatal() {
            Ok(fatal) => return Err(fatal),
            Err(error) => tracing::warn!(%error, "the first shard sync failed, trying again"),
        }
        clock.sleep_until(clock.now() + backoff.next_delay()).await;
    }
}

async fn first_steps(hands: &Hands, found: Option<Vec<Lease>>) -> Result<Vec<Lease>, SyncError> {
    let leases = if let Some(leases) = found {
        leases
    } else {
        hands.calls.prepare().await?;
        first_look(hands).await?
    };
    hands.syncs.run().await?;
    Ok(leases)
}

/// What the table held before this worker did anything, once it is known to be of this stream: rows that name the worker
/// are from an earlier life.
pub(super) async fn first_look(hands: &Hands) -> Result<Vec<Lease>, SyncError> {
    let leases = hands.calls.list().await?;
    hands.calls.stamp_for(&hands.worker, &leases);
    hands.syncs.identify(&leases).await?;
    Ok(leases)
}

/// Takes a lease; what is believed afterwards, if it is ours.
pub(super) async fn take(
    hands: Hands,
    terms: Terms,
    key: LeaseKey,
    counter: LeaseCounter,
    why: Why,
) -> Option<Tenure> {
    let mut tenure = try_take(&hands, terms, &key, counter, why).await?;
    if !tenure.needs_confirming() {
        return Some(tenure);
    }
    confirm(&hands, &key, &mut tenure).await.then_some(tenure)
}

async fn try_take(
    hands: &Hands,
    terms: Terms,
    key: &LeaseKey,
    counter: LeaseCounter,
    why: Why,
) -> Option<Tenure> {
    let clock = hands.calls.clock();
    let mut backoff = hands.calls.backoff(key);
    let operation = Operation::Take { expected: counter, worker: hands.worker.clone() };
    let mut in_doubt = false;
    // Three attempts, as the Java library makes: somebody else may want the lease more than a slow store lets us.
    for _ in 0..3 {
        let sent_at = clock.now();
        match answer(hands.calls.write(key, &operation).await) {
            Answer::Applied(row) if why.must_be_confirmed() => {
                return Some(Tenure::unconfirmed(hands.worker.clone(), terms, row, sent_at));
            }
            Answer::Applied(row) => return Some(Tenure::taken(hands.worker.clone(), terms, row, sent_at)),
            Answer::Refused(Some(row)) if in_doubt && is_our_take(&row, &hands.worker, counter) => {
                // Its time is unknown: belief begins with the next write.
                return Some(Tenure::unconfirmed(hands.worker.clone(), terms, row, sent_at));
            }
            Answer::Refused(_) => return None,
            Answer::InDoubt => in_doubt = true,
            Answer::Failed => {}
        }
        clock.sleep_until(clock.now() + backoff.next_delay()).await;
    }
    None
}

fn is_our_take(row: &Lease, worker: &WorkerId, expected: LeaseCounter) -> bool {
    row.owner.as_ref() == Some(worker) && row.checkpoint_owner.is_none() && row.counter == expected.next()
}

/// A renewal that must succeed by itself: a row that is one ahead here is another process of our name.
async fn confirm(hands: &Hands, key: &LeaseKey, tenure: &mut Tenure) -> bool {
    let clock = hands.calls.clock();
    let mut backoff = hands.calls.backoff(key);
    for _ in 0..3 {
        let sent_at = clock.now();
        let Ok(operation) = tenure.write(&Purpose::Renew, sent_at) else { return false };
        match tenure.answered(&operation, sent_at, answer(hands.calls.write(key, &operation).await)) {
            Next::Done => return true,
            Next::Again => {}
            Next::Retry => clock.sleep_until(clock.now() + backoff.next_delay()).await,
            Next::Over => return false,
        }
    }
    false
}

/// Marks a lease as asked for; whether the mark stands.
pub(super) async fn ask(hands: Hands, key: LeaseKey, from: WorkerId) -> bool {
    let operation = Operation::StartHandoff { from, to: hands.worker.clone() };
    match hands.calls.write(&key, &operation).await {
        Ok(Write::Applied(_)) => true,
        Ok(Write::Refused(_)) => false,
        // A mark that landed is found by the next scan.
        Err(error) => {
            tracing::debug!(lease_key = %key, %error, "asking for a lease failed");
            false
        }
    }
}

/// Gives up what this worker has asked for and not got: the mark is taken back, so that the owner goes on, or the row that
/// was handed over in the meantime is freed. What does not get through ends with the failover time.
pub(super) async fn give_up_claim(hands: Hands, key: LeaseKey) {
    let clock = hands.calls.clock();
    let mut backoff = hands.calls.backoff(&key);
    let mut freed_at = None;
    // The row may change between the two calls, but not often: mark, hand-over, somebody else's take.
    for _ in 0..4 {
        let row = match hands.calls.get(&key).await {
            Ok(row) => row,
            Err(error) => {
                return tracing::info!(lease_key = %key, %error, "what was asked for is not taken back");
            }
        };
        let Some(row) = row.filter(|row| row.owner.as_ref() == Some(&hands.worker)) else { return };
        let operation = match row.checkpoint_owner.clone() {
            Some(owner) => Operation::EndHandoff { expected: row.owners(), owner },
            // It was freed, though the answer was lost, and names us again, or another process has written it: our next
            // process took it, under the same name.
            None if freed_at.is_some_and(|counter| counter != row.counter)
                || hands.calls.is_of_another_process(&row) =>
            {
                return;
            }
            None => Operation::Release { expected: row.owners(), counter: row.counter },
        };
        match hands.calls.write(&key, &operation).await {
            Ok(Write::Applied(_)) => return,
            Ok(Write::Refused(_)) => {}
            Err(_) => {
                freed_at = operation.expected_counter();
                clock.sleep_until(clock.now() + backoff.next_delay()).await;
            }
        }
    }
}

/// Takes the mark off a row that went from this worker to one that takes without asking, and leaves marks where they are.
pub(super) async fn clear_mark(hands: Hands, key: LeaseKey, owner: WorkerId) {
    let expected = Owners { owner: Some(owner.clone()), checkpoint_owner: Some(hands.worker.clone()) };
    if let Err(error) = hands.calls.write(&key, &Operation::EndHandoff { expected, owner }).await {
        tracing::debug!(lease_key = %key, %error, "a mark that is left over stays for now");
    }
}

/// Renews one lease, or finds that it is over. Errors end in belief running out, which the lease tells itself.
pub(super) async fn renew(held: HeldLease) {
    if let Err(error) = held.renew().await {
        tracing::info!(lease_key = %held.key(), worker_id = %held.worker(), %error, "lease not renewed");
    }
}
