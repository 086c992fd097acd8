//! One completion shared by all user records of an aggregate; a [`Ticket`] is an index into it.
//!
//! A batch is settled as a whole while its aggregate stays in one piece, which is the rule and costs one step for all of its
//! records, or member by member once a new shard map has cut the aggregate up.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::error::{Failure, PutError};
use crate::user_record::{Attempts, Delivered};
use kinesis_shard::{SequenceNumber, ShardId, read_soon};

mod origin;
mod tickets;
mod wakers;

#[cfg(test)]
mod tests;

pub(crate) use origin::{Member, Origin};
pub use tickets::{Answers, Tickets};
use wakers::{Key, Wakers};

/// Who keeps count of what is outstanding. The real one hands bytes back to waiting callers.
pub(crate) trait Ledger: fmt::Debug + Send + Sync {
    /// Some records were answered.
    fn answered(&self, delivered: bool, records: u32, bytes: usize);
    /// Every record of a batch of this epoch was answered.
    fn finished(&self, epoch: u64);
}

/// What became of a Kinesis record, for all user records in it.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Delivered(Receipt),
    Failed(Arc<Failure>),
}

#[derive(Debug, Clone)]
pub(crate) struct Receipt {
    pub(crate) shard_id: ShardId,
    pub(crate) sequence_number: SequenceNumber,
    pub(crate) attempts: Attempts,
}

impl Answer {
    #[inline]
    fn for_member(&self, position: u32) -> Result<Delivered, PutError> {
        match self {
            Self::Delivered(receipt) => Ok(Delivered {
                shard_id: receipt.shard_id.clone(),
                sequence_number: receipt.sequence_number,
                sub_sequence_number: u64::from(position)
                    + u64::from(kinesis_shard::planted("sub-sequence numbers count from one")),
                attempts: receipt.attempts.clone(),
            }),
            Self::Failed(failure) => Err(PutError::of_member(Arc::clone(failure), position)),
        }
    }
}

#[repr(C)]
pub(crate) struct Batch {
    /// First, beside the count of references.
    epoch: u64,
    ledger: Arc<dyn Ledger>,
    /// The answer to all members: read without the lock, since that is what nearly every ticket finds.
    whole: OnceLock<Answer>,
    state: Mutex<State>,
}

struct State {
    progress: Progress,
    wakers: Wakers,
}

/// ```text
/// Pending --settle_whole--> Whole
///    '--cut--> Partial --settle_members, until none is left--> Partial (complete)
/// ```
enum Progress {
    Pending,
    /// One slot a member: the answer and the member's position in the piece that was answered.
    Partial {
        answers: Vec<Option<(Answer, u32)>>,
        left: u32,
    },
    /// The answer is beside the lock.
    Whole,
}

impl Progress {
    fn name(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Partial { .. } => "partial",
            Self::Whole => "whole",
        }
    }

    /// Whether all of these members of a batch that was cut have their answers.
    fn answers(&self, mut members: impl Iterator<Item = u32>) -> bool {
        match self {
            Self::Pending | Self::Whole => false,
            Self::Partial { answers, .. } => members.all(|index| {
                let answer = usize::try_from(index).ok().and_then(|index| answers.get(index));
                answer.is_some_and(Option::is_some)
            }),
        }
    }

    /// The answer to one member of a batch that was cut.
    fn answer(&self, index: u32) -> Option<Result<Delivered, PutError>> {
        match self {
            Self::Pending | Self::Whole => None,
            Self::Partial { answers, .. } => {
                let (answer, position) = answers.get(usize::try_from(index).ok()?)?.as_ref()?;
                Some(answer.for_member(*position))
            }
        }
    }
}

impl Batch {
    pub(crate) fn new(epoch: u64, ledger: Arc<dyn Ledger>) -> Arc<Self> {
        let state = State { progress: Progress::Pending, wakers: Wakers::default() };
        Arc::new(Self { epoch, ledger, whole: OnceLock::new(), state: Mutex::new(state) })
    }

    #[inline]
    fn whole_answer(&self, index: u32) -> Option<Result<Delivered, PutError>> {
        self.whole.get().map(|answer| answer.for_member(index))
    }

    #[inline]
    fn answer(&self, index: u32) -> Option<Result<Delivered, PutError>> {
        self.whole_answer(index).or_else(|| self.answer_under_lock(index))
    }

    #[cold]
    fn answer_under_lock(&self, index: u32) -> Option<Result<Delivered, PutError>> {
        let state = self.lock();
        self.whole_answer(index).or_else(|| state.progress.answer(index))
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// A ticket for it will soon be made, which counts a reference.
    #[inline]
    pub(crate) fn join_soon(&self) {
        read_soon(&self.epoch);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers all members at once.
    fn settle_whole(&self, records: u32, bytes: usize, answer: Answer) {
        let delivered = matches!(answer, Answer::Delivered(_));
        let wakers = {
            let mut state = self.lock();
            let Progress::Pending = state.progress else {
                panic!("batch went from {} to whole: it was answered twice", state.progress.name())
            };
            state.progress = Progress::Whole;
            // Under the lock: a ticket that found no answer before it took the lock finds it after.
            self.whole.get_or_init(|| answer);
            state.wakers.take()
        };
        self.ledger.answered(delivered, records, bytes);
        self.ledger.finished(self.epoch);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// From now on members are answered one by one.
    fn cut(&self, records: u32) {
        let mut state = self.lock();
        let Progress::Pending = state.progress else {
            panic!("batch went from {} to partial: it was cut twice", state.progress.name())
        };
        state.progress = Progress::Partial { answers: (0..records).map(|_| None).collect(), left: records };
    }

    /// Answers some members; `members` are in the order of the piece that carried them.
    fn settle_members(&self, members: &[Member], answer: &Answer) {
        let delivered = matches!(answer, Answer::Delivered(_));
        let (finished, wakers) = {
            let mut state = self.lock();
            let State { progress, wakers } = &mut *state;
            let Progress::Partial { answers, left } = progress else {
                panic!("batch answered members while {}", progress.name())
            };
            for (position, member) in (0..).zip(members) {
                let slot = usize::try_from(member.index).ok().and_then(|index| answers.get_mut(index));
                let previous = slot.map(|slot| slot.replace((answer.clone(), position)));
                assert!(matches!(previous, Some(None)), "member {} was answered twice", member.index);
                *left -= 1;
            }
            // The others look, see nothing and wait on: their wakers stay.
            (*left == 0, if *left == 0 { wakers.take() } else { wakers.all() })
        };
        let records = u32::try_from(members.len()).unwrap_or(u32::MAX);
        self.ledger.answered(delivered, records, members.iter().map(|member| member.bytes).sum());
        if finished {
            self.ledger.finished(self.epoch);
        }
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Batch").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

/// The answer to one accepted user record, when it comes.
///
/// A future of `Result<Delivered, PutError>`. It resolves once the record is delivered or has failed for good, at the latest when the
/// producer is closed or dropped. It may be dropped: the record is delivered all the same. It may be polled again after it resolved
/// and gives the same answer. Cancel safe.
pub struct Ticket {
    batch: Arc<Batch>,
    index: u32,
    waker: Option<Key>,
}

impl Ticket {
    pub(crate) fn new(batch: Arc<Batch>, index: u32) -> Self {
        Self { batch, index, waker: None }
    }

    /// The answer, if there is one already.
    pub fn answer(&self) -> Option<Result<Delivered, PutError>> {
        self.batch.answer(self.index)
    }
}

impl Future for Ticket {
    type Output = Result<Delivered, PutError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let ticket = self.get_mut();
        if let Some(answer) = ticket.batch.whole_answer(ticket.index) {
            // Its slot is gone: all wakers were taken with the answer.
            ticket.waker = None;
            return Poll::Ready(answer);
        }
        let mut state = ticket.batch.lock();
        let answer = ticket.batch.whole_answer(ticket.index);
        if let Some(answer) = answer.or_else(|| state.progress.answer(ticket.index)) {
            if let Some(slot) = ticket.waker.take() {
                state.wakers.leave(slot);
            }
            return Poll::Ready(answer);
        }
        ticket.waker = Some(state.wakers.join(ticket.waker, context.waker()));
        Poll::Pending
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(slot) = self.waker.take() {
            self.batch.lock().wakers.leave(slot);
        }
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Ticket").field("index", &self.index).finish_non_exhaustive()
    }
}
