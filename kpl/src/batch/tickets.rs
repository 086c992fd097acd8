//! The answers to many records at once, which share what a [`Ticket`] each would hold for itself.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::wakers::Key;
use super::{Answer, Batch, Ticket};
use crate::error::PutError;
use crate::user_record::Delivered;

/// The answers to the records of one [`put_many`](crate::Producer::put_many), in their order, when they come.
///
/// A future of [`Answers`]: awaited, it resolves once every record is answered, at the latest when the producer is closed or dropped.
/// That is far cheaper than to await a [`Ticket`] for each record, which `into_iter` gives. It may be dropped: the records are
/// delivered all the same. Cancel safe.
#[derive(Default)]
#[must_use = "a ticket not awaited says nothing of its record"]
pub struct Tickets {
    places: Places,
    /// All batches before this one are answered, as far as they are ours.
    answered: usize,
    /// Our place among those who wait for that one.
    waker: Option<Key>,
}

/// Where the answer to each record is found.
#[derive(Default)]
struct Places {
    batches: Vec<Arc<Batch>>,
    of_records: Vec<Place>,
}

#[derive(Clone, Copy, Default)]
struct Place {
    /// Which of the batches, and which of its members.
    batch: u32,
    index: u32,
}

impl Places {
    fn get(&self, record: usize) -> Option<(&Arc<Batch>, u32)> {
        let place = self.of_records.get(record)?;
        Some((self.batches.get(usize::try_from(place.batch).ok()?)?, place.index))
    }
}

impl Tickets {
    pub(crate) fn with_capacity(records: usize) -> Self {
        // A run of records brings few to each batch when there are many shards, and many otherwise.
        let batches = Vec::with_capacity(records.div_ceil(8));
        let places = Places { batches, of_records: Vec::with_capacity(records) };
        Self { places, ..Self::default() }
    }

    /// Makes room for so many more records, each of which is [placed](Self::place) before anybody looks.
    pub(crate) fn extend(&mut self, records: usize) {
        let len = self.len() + records;
        self.places.of_records.resize(len, Place::default());
    }

    /// A record has become this member of that batch. Cheapest when records of one batch follow one another.
    pub(crate) fn place(&mut self, record: usize, batch: &Arc<Batch>, index: u32) {
        let Places { batches, of_records } = &mut self.places;
        if batches.last().is_none_or(|last| !Arc::ptr_eq(last, batch)) {
            batches.push(Arc::clone(batch));
        }
        // A batch takes two of these and an aggregate's framing besides: there is no memory for 2^32.
        let batch = u32::try_from(batches.len() - 1).unwrap_or(u32::MAX);
        if let Some(place) = of_records.get_mut(record) {
            *place = Place { batch, index };
        }
    }

    /// How many records.
    pub fn len(&self) -> usize {
        self.places.of_records.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The answer to the record at this place, if there is one already; none if there is no such record.
    pub fn answer(&self, record: usize) -> Option<Result<Delivered, PutError>> {
        let (batch, index) = self.places.get(record)?;
        batch.answer(index)
    }

    /// Whether our members of the batch that is next are answered.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Self { places: Places { batches, of_records }, answered, waker } = self;
        let Some(batch) = batches.get(*answered) else { return Poll::Ready(()) };
        if batch.whole.get().is_none() {
            let mut state = batch.lock();
            let ours = of_records.iter().filter(|place| usize::try_from(place.batch) == Ok(*answered));
            if batch.whole.get().is_none() && !state.progress.answers(ours.map(|place| place.index)) {
                *waker = Some(state.wakers.join(*waker, context.waker()));
                return Poll::Pending;
            }
            if let Some(key) = waker.take() {
                state.wakers.leave(key);
            }
        }
        // Its slot is gone: all wakers were taken with the answer.
        *waker = None;
        *answered += 1;
        Poll::Ready(())
    }
}

impl Future for Tickets {
    type Output = Answers;

    /// # Panics
    /// Never; polled again after it resolved, it gives no answers.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answers> {
        let tickets = self.get_mut();
        while tickets.answered < tickets.places.batches.len() {
            if tickets.poll_next(context).is_pending() {
                return Poll::Pending;
            }
        }
        tickets.answered = 0;
        Poll::Ready(Answers { places: std::mem::take(&mut tickets.places), next: 0 })
    }
}

impl Drop for Tickets {
    fn drop(&mut self) {
        if let (Some(key), Some(batch)) = (self.waker.take(), self.places.batches.get(self.answered)) {
            batch.lock().wakers.leave(key);
        }
    }
}

/// A ticket for each record.
impl IntoIterator for Tickets {
    type Item = Ticket;
    type IntoIter = std::vec::IntoIter<Ticket>;

    fn into_iter(self) -> Self::IntoIter {
        let tickets = (0..self.len()).filter_map(|record| {
            let (batch, index) = self.places.get(record)?;
            Some(Ticket::new(Arc::clone(batch), index))
        });
        tickets.collect::<Vec<_>>().into_iter()
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Tickets").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// What became of each record of one [`put_many`](crate::Producer::put_many), in their order: an iterator of
/// `Result<Delivered, PutError>`, made as they are asked for.
#[derive(Default)]
pub struct Answers {
    places: Places,
    next: usize,
}

impl Answers {
    /// Whether all records were delivered, of those that are left in the iterator: cheapest when they were, because one look at each
    /// aggregate says so.
    ///
    /// # Errors
    /// The first failure in the order of the records. The others can be had from the iterator.
    pub fn all_delivered(&self) -> Result<(), PutError> {
        let delivered = |batch: &Arc<Batch>| matches!(batch.whole.get(), Some(Answer::Delivered(_)));
        if self.places.batches.iter().all(delivered) {
            return Ok(());
        }
        (self.next..self.places.of_records.len())
            .filter_map(|record| self.places.get(record))
            .filter_map(|(batch, index)| batch.answer(index))
            .find_map(Result::err)
            .map_or(Ok(()), Err)
    }
}

impl Iterator for Answers {
    type Item = Result<Delivered, PutError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (batch, index) = self.places.get(self.next)?;
        let answer = batch.answer(index).expect("there are answers when every record has one");
        self.next += 1;
        Some(answer)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.places.of_records.len() - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Answers {}

impl fmt::Debug for Answers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Answers").field("left", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    use super::*;
    use crate::batch::Origin;
    use crate::testing::{CountingLedger, delivered, failed};

    #[derive(Default)]
    struct Counter(AtomicUsize);
    impl Wake for Counter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn batch() -> Arc<Batch> {
        Batch::new(7, Arc::new(CountingLedger::default()))
    }

    /// Records 0 and 2 are in the first batch, 1 and 3 in the second, which holds another's record besides.
    fn tickets() -> (Tickets, Arc<Batch>, Arc<Batch>) {
        let (left, right) = (batch(), batch());
        let mut tickets = Tickets::with_capacity(4);
        tickets.extend(4);
        for (record, batch, index) in [(0, &left, 0), (2, &left, 1), (1, &right, 1), (3, &right, 2)] {
            tickets.place(record, batch, index);
        }
        (tickets, left, right)
    }

    fn poll(tickets: &mut Tickets, counter: &Arc<Counter>) -> Poll<Answers> {
        Pin::new(tickets).poll(&mut Context::from_waker(&Waker::from(Arc::clone(counter))))
    }

    fn numbers(answers: Answers) -> Vec<Option<(u8, u64)>> {
        answers
            .map(Result::ok)
            .map(|answer| answer.map(|at| (at.shard_id.as_str().as_bytes()[0], at.sub_sequence_number)))
            .collect()
    }

    #[test]
    fn all_answers_come_together_in_the_order_of_the_records() {
        let (mut tickets, left, right) = tickets();
        let counter = Arc::new(Counter::default());
        assert!(poll(&mut tickets, &counter).is_pending());
        Origin::whole(right, 3, 3).settle(delivered("right", 2));
        assert!(tickets.answer(0).is_none() && tickets.answer(1).unwrap().is_ok());
        assert_eq!(counter.0.load(Ordering::SeqCst), 0, "the other batch is not answered");
        Origin::whole(left, 2, 2).settle(delivered("left", 1));
        assert_eq!(counter.0.load(Ordering::SeqCst), 1);
        assert_eq!((tickets.len(), tickets.answer(4).is_none(), tickets.is_empty()), (4, true, false));
        let Poll::Ready(answers) = poll(&mut tickets, &counter) else { panic!("all are answered") };
        assert_eq!((answers.len(), answers.all_delivered().is_ok()), (4, true));
        assert_eq!(numbers(answers), [Some((b'l', 0)), Some((b'r', 1)), Some((b'l', 1)), Some((b'r', 2))]);
        let Poll::Ready(answers) = poll(&mut tickets, &counter) else { panic!("it resolved before") };
        assert_eq!((answers.len(), tickets.is_empty()), (0, true));
    }

    #[test]
    fn of_a_batch_that_was_cut_only_our_own_records_are_waited_for() {
        let (mut tickets, left, right) = tickets();
        let counter = Arc::new(Counter::default());
        Origin::whole(left, 2, 2).settle(failed());
        assert!(poll(&mut tickets, &counter).is_pending());
        let pieces = Origin::whole(Arc::clone(&right), 3, 3).divide(&[1; 3], vec![vec![0], vec![1], vec![2]]);
        let [other, first, second] = <[Origin; 3]>::try_from(pieces).unwrap();
        first.settle(delivered("right", 2));
        assert_eq!(counter.0.load(Ordering::SeqCst), 1);
        assert!(poll(&mut tickets, &counter).is_pending());
        second.settle(failed());
        let Poll::Ready(mut answers) = poll(&mut tickets, &counter) else { panic!("ours are answered") };
        assert!(answers.all_delivered().is_err());
        assert!(answers.next().is_some_and(|first| first.is_err()));
        assert_eq!(answers.size_hint(), (3, Some(3)));
        assert!(answers.next().is_some_and(|second| second.is_ok()));
        assert!(answers.all_delivered().is_err(), "two failed that are left");
        assert_eq!(answers.by_ref().filter(Result::is_err).count(), 2);
        assert!(answers.all_delivered().is_ok(), "none is left");
        let answers = Answers { next: 0, ..answers };
        assert_eq!(numbers(answers), [None, Some((b'r', 0)), None, None]);
        assert!(right.lock().wakers.all().is_empty(), "nobody waits for the other one");
        other.settle(delivered("right", 3));
    }

    #[test]
    fn dropped_they_leave_no_waker_behind() {
        let (mut tickets, left, _right) = tickets();
        let counter = Arc::new(Counter::default());
        assert!(poll(&mut tickets, &counter).is_pending());
        assert_eq!(left.lock().wakers.all().len(), 1);
        drop(tickets);
        assert!(left.lock().wakers.all().is_empty());
    }

    #[test]
    fn one_by_one_they_are_the_same() {
        let (tickets, left, right) = tickets();
        let single: Vec<Ticket> = tickets.into_iter().collect();
        Origin::whole(left, 2, 2).settle(delivered("left", 1));
        Origin::whole(right, 3, 3).settle(failed());
        let places: Vec<_> = single
            .iter()
            .map(|ticket| ticket.answer().unwrap().map(|at| at.sub_sequence_number).ok())
            .collect();
        assert_eq!(places, [Some(0), None, Some(1), None]);
    }

    #[test]
    fn of_no_records_there_is_nothing_to_wait_for() {
        let counter = Arc::new(Counter::default());
        let Poll::Ready(answers) = poll(&mut Tickets::default(), &counter) else {
            panic!("nothing to wait for")
        };
        assert_eq!(answers.count(), 0);
    }
}
