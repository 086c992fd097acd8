use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use super::*;
use crate::testing::{CountingLedger, delivered, failed};

#[derive(Default)]
struct Counter(AtomicUsize);
impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn batch() -> (Arc<Batch>, Arc<CountingLedger>) {
    let ledger = Arc::new(CountingLedger::default());
    (Batch::new(7, Arc::clone(&ledger) as Arc<dyn Ledger>), ledger)
}

fn poll(ticket: &mut Ticket, waker: &Waker) -> Poll<Result<Delivered, PutError>> {
    Pin::new(ticket).poll(&mut Context::from_waker(waker))
}

#[test]
fn a_whole_answer_reaches_every_ticket_with_its_own_index() {
    let (batch, ledger) = batch();
    let tickets: Vec<_> = (0..3).map(|index| Ticket::new(Arc::clone(&batch), index)).collect();
    assert!(tickets[0].answer().is_none());
    Origin::whole(batch, 3, 300).settle(delivered("shardId-000000000001", 5));
    for (index, ticket) in (0..).zip(&tickets) {
        let answer = ticket.answer().unwrap().unwrap();
        assert_eq!(answer.sub_sequence_number, index);
        assert_eq!(answer.shard_id.as_str(), "shardId-000000000001");
    }
    assert_eq!((ledger.delivered(), ledger.bytes(), ledger.finished_epochs()), (3, 300, vec![7]));
}

#[test]
fn members_of_a_cut_batch_are_answered_by_the_piece_that_carried_them() {
    let (batch, ledger) = batch();
    let tickets: Vec<_> = (0..3).map(|index| Ticket::new(Arc::clone(&batch), index)).collect();
    let whole = Origin::whole(batch, 3, 60);
    assert_eq!((whole.len(), whole.bytes()), (3, 60));
    let pieces = whole.divide(&[10, 20, 30], vec![vec![0, 2], vec![1]]);
    let [even, odd] = <[Origin; 2]>::try_from(pieces).unwrap();
    assert_eq!((even.len(), even.bytes(), odd.len(), odd.bytes()), (2, 40, 1, 20));
    even.settle(delivered("left", 9));
    assert_eq!(ledger.bytes(), 40);
    assert_eq!(ledger.finished_epochs(), Vec::<u64>::new());
    assert_eq!(tickets[2].answer().unwrap().unwrap().sub_sequence_number, 1);
    assert!(tickets[1].answer().is_none());
    odd.settle(failed());
    assert!(tickets[1].answer().unwrap().is_err());
    assert_eq!((ledger.delivered(), ledger.failed(), ledger.bytes()), (2, 1, 60));
    assert_eq!(ledger.finished_epochs(), vec![7]);
}

#[test]
fn a_piece_can_be_divided_again() {
    let (batch, ledger) = batch();
    let tickets: Vec<_> = (0..4).map(|index| Ticket::new(Arc::clone(&batch), index)).collect();
    let mut pieces = Origin::whole(batch, 4, 4).divide(&[1; 4], vec![vec![0], vec![1, 2, 3]]);
    let again = pieces.pop().unwrap().divide(&[1; 3], vec![vec![0, 1], vec![2]]);
    for piece in pieces.into_iter().chain(again) {
        piece.settle(delivered("s", 1));
    }
    let positions: Vec<_> =
        tickets.iter().map(|ticket| ticket.answer().unwrap().unwrap().sub_sequence_number).collect();
    assert_eq!(positions, [0, 0, 1, 0]);
    assert_eq!(ledger.finished_epochs(), vec![7]);
}

#[test]
fn an_origin_that_is_dropped_answers_closed_and_in_doubt() {
    let (batch, ledger) = batch();
    let ticket = Ticket::new(Arc::clone(&batch), 0);
    drop(Origin::whole(batch, 1, 10));
    let error = ticket.answer().unwrap().unwrap_err();
    assert_eq!(error.reason(), &crate::PutErrorReason::Closed);
    assert!(error.may_have_been_written());
    assert_eq!((ledger.failed(), ledger.bytes()), (1, 10));
}

#[test]
fn one_task_that_waits_for_many_tickets_is_woken_once() {
    let (batch, _ledger) = batch();
    let counter = Arc::new(Counter::default());
    let waker = Waker::from(Arc::clone(&counter));
    let mut tickets: Vec<_> = (0..100).map(|index| Ticket::new(Arc::clone(&batch), index)).collect();
    for ticket in tickets.iter_mut().chain(&mut []) {
        assert!(poll(ticket, &waker).is_pending());
    }
    assert!(poll(&mut tickets[3], &waker).is_pending());
    Origin::whole(batch, 100, 100).settle(delivered("s", 1));
    assert_eq!(counter.0.load(Ordering::SeqCst), 1);
    assert!(poll(&mut tickets[3], &waker).is_ready());
    assert!(poll(&mut tickets[3], &waker).is_ready(), "an answer can be read again");
}

#[test]
fn a_ticket_that_moves_between_tasks_wakes_the_last_and_keeps_no_others() {
    let (batch, _ledger) = batch();
    let mut ticket = Ticket::new(Arc::clone(&batch), 0);
    let counters: Vec<_> = (0..50).map(|_| Arc::new(Counter::default())).collect();
    for counter in &counters {
        assert!(poll(&mut ticket, &Waker::from(Arc::clone(counter))).is_pending());
    }
    assert_eq!(batch.lock().wakers.slots(), 1);
    Origin::whole(batch, 1, 1).settle(delivered("s", 1));
    let woken: Vec<_> = counters.iter().map(|counter| counter.0.load(Ordering::SeqCst)).collect();
    assert_eq!(woken.iter().sum::<usize>(), 1);
    assert_eq!(woken[49], 1);
}

#[test]
fn a_dropped_ticket_leaves_no_waker_behind() {
    let (batch, _ledger) = batch();
    let counter = Arc::new(Counter::default());
    let mut ticket = Ticket::new(Arc::clone(&batch), 0);
    assert!(poll(&mut ticket, &Waker::from(Arc::clone(&counter))).is_pending());
    drop(ticket);
    Origin::whole(batch, 1, 1).settle(delivered("s", 1));
    assert_eq!(counter.0.load(Ordering::SeqCst), 0);
}
