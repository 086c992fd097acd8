//! Records by the stream: a `futures::Sink` in front of a producer.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::Sink;
use futures::future::BoxFuture;

use crate::batch::Ticket;
use crate::error::PutError;
use crate::producer::Producer;
use crate::user_record::UserRecord;

/// So many tickets are looked at with each record, so that they do not pile up and no record pays for many.
const LOOK_AT: usize = 4;

/// A [`futures::Sink`] of user records, from [`Producer::sink`]: for `StreamExt::forward`, codecs, and whoever has a stream of records
/// and no use for a ticket each.
///
/// `poll_ready` waits for room in `max_outstanding_bytes`. `poll_flush` is ready when everything that was sent into the sink is
/// delivered, and `poll_close` is the same: the producer stays open for others. **Any of them fails with the first record that was not
/// delivered**, once for each such record, so one error does not hide the next; the record is in the error, and the sink can be used
/// on. Dropping the sink drops the tickets: what was accepted is delivered all the same, and one record that still waited for room is
/// not put.
#[must_use = "a sink does nothing until records are sent into it"]
pub struct ProducerSink {
    producer: Producer,
    /// A record that waits for room.
    putting: Option<BoxFuture<'static, Result<Ticket, PutError>>>,
    tickets: VecDeque<Ticket>,
    flushing: Option<BoxFuture<'static, ()>>,
}

impl ProducerSink {
    pub(super) fn new(producer: Producer) -> Self {
        Self { producer, putting: None, tickets: VecDeque::new(), flushing: None }
    }

    /// Records sent into the sink whose delivery it has not seen.
    pub fn pending(&self) -> usize {
        self.tickets.len() + usize::from(self.putting.is_some())
    }

    fn poll_putting(&mut self, context: &mut Context<'_>) -> Poll<Result<(), PutError>> {
        if let Some(putting) = &mut self.putting {
            let ticket = ready!(putting.as_mut().poll(context));
            self.putting = None;
            self.tickets.push_back(ticket?);
        }
        Poll::Ready(Ok(()))
    }

    /// Forgets the oldest tickets that are answered, at most this many; the first failure among them.
    fn settle(&mut self, most: usize) -> Result<(), PutError> {
        for _ in 0..most {
            let Some(answer) = self.tickets.front().and_then(Ticket::answer) else { break };
            self.tickets.pop_front();
            answer?;
        }
        Ok(())
    }
}

impl Sink<UserRecord> for ProducerSink {
    type Error = PutError;

    fn poll_ready(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), PutError>> {
        let sink = self.get_mut();
        ready!(sink.poll_putting(context))?;
        Poll::Ready(sink.settle(LOOK_AT))
    }

    fn start_send(self: Pin<&mut Self>, record: UserRecord) -> Result<(), PutError> {
        let sink = self.get_mut();
        assert!(sink.putting.is_none(), "start_send was called without poll_ready");
        match sink.producer.try_put(record) {
            Ok(ticket) => sink.tickets.push_back(ticket),
            Err(refused) => match refused.into_record() {
                Ok(record) => {
                    let producer = sink.producer.clone();
                    sink.putting = Some(Box::pin(async move { producer.put(record).await }));
                }
                Err(error) => return Err(error),
            },
        }
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), PutError>> {
        let sink = self.get_mut();
        loop {
            ready!(sink.poll_putting(context))?;
            sink.settle(usize::MAX)?;
            if sink.tickets.is_empty() {
                return Poll::Ready(Ok(()));
            }
            // A flush answers all that was accepted before it began; what came later takes another round.
            let producer = &sink.producer;
            let flushing = sink.flushing.get_or_insert_with(|| {
                let producer = producer.clone();
                Box::pin(async move { producer.flush().await })
            });
            ready!(flushing.as_mut().poll(context));
            sink.flushing = None;
        }
    }

    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), PutError>> {
        self.poll_flush(context)
    }
}

impl fmt::Debug for ProducerSink {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ProducerSink").field("pending", &self.pending()).finish_non_exhaustive()
    }
}
