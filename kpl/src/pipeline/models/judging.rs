//! The service's answers, and what is judged after each step.

use futures::FutureExt;
use kinesis_shard::{HashKey, ShardId};

use super::service::{Outcome, Sent, Trouble, failed, refused, timed_out};
use super::variants::Variant;
use super::world::{FAR, Flight, Live, Rule, key};
use crate::error::PutErrorReason;
use crate::pipeline::answer::{EntryAnswer, PutRecordsAnswer};

impl Live {
    pub(super) fn answer(&mut self, place: usize, outcome: Outcome) {
        let Flight { id, entries } = self.flights.remove(place);
        self.failures += usize::from(outcome != Outcome::Stored);
        let doubt = |live: &mut Self| {
            for record in entries.iter().flat_map(|entry| &entry.members) {
                live.allowed[*record] += 1;
            }
        };
        let answer = match outcome {
            Outcome::Stored => self.entry_answers(&entries, |_| None),
            Outcome::Partly(failing, trouble) => {
                self.entry_answers(&entries, |place| (place == failing).then_some(trouble))
            }
            Outcome::None(trouble) => self.entry_answers(&entries, |_| Some(trouble)),
            Outcome::TryAgain => failed("ExpiredTokenException"),
            Outcome::Denied => failed("AccessDeniedException"),
            Outcome::Lost | Outcome::AnswerLost | Outcome::Late | Outcome::Short => {
                doubt(self);
                if outcome == Outcome::Late {
                    self.lates += 1;
                    self.late.push(entries.clone());
                } else if outcome != Outcome::Lost {
                    for entry in &entries {
                        self.service.store(entry);
                    }
                }
                match outcome {
                    Outcome::Short => PutRecordsAnswer::Entries(Vec::new()),
                    _ if self.is(Variant::DoubtIsDelivery) => self.invented(&entries),
                    _ => timed_out(!self.is(Variant::DoubtIsFailure)),
                }
            }
        };
        let partly = matches!(outcome, Outcome::Partly(..));
        let answer = match (self.variant, answer) {
            (Some(Variant::SendsAllAgain), _) if partly => failed("InternalFailure"),
            (Some(Variant::SwapsAnswers), PutRecordsAnswer::Entries(mut answers)) => {
                answers.reverse();
                PutRecordsAnswer::Entries(answers)
            }
            (_, answer) => answer,
        };
        self.pipeline.answered(self.now(), id, answer);
    }

    fn invented(&self, entries: &[Sent]) -> PutRecordsAnswer {
        let shard_id = self.service.map.open()[0].id.clone();
        let sequence_number = "99".parse().unwrap();
        let stored = |_: &Sent| EntryAnswer::Stored { shard_id: shard_id.clone(), sequence_number };
        PutRecordsAnswer::Entries(entries.iter().map(stored).collect())
    }

    fn entry_answers(
        &mut self,
        entries: &[Sent],
        trouble: impl Fn(usize) -> Option<Trouble>,
    ) -> PutRecordsAnswer {
        let mut answers = Vec::new();
        for (place, entry) in entries.iter().enumerate() {
            let trouble = trouble(place);
            let stored = (!matches!(trouble, Some(Trouble::Throttled | Trouble::Before)))
                .then(|| self.service.store(entry));
            let (None, Some((shard_id, sequence_number))) = (trouble, stored) else {
                for record in &entry.members {
                    self.allowed[*record] += usize::from(trouble != Some(Trouble::Throttled));
                }
                answers.extend(trouble.map(refused));
                continue;
            };
            let belongs = self.belongs(&shard_id, &entry.members);
            for record in &entry.members {
                if belongs { self.acknowledged[*record] = true } else { self.allowed[*record] += 1 }
            }
            answers.push(EntryAnswer::Stored { shard_id, sequence_number });
        }
        PutRecordsAnswer::Entries(answers)
    }

    /// Whether a reader of the shard gets this blob: alone, or with all of its members in range.
    fn belongs(&self, shard: &ShardId, members: &[usize]) -> bool {
        let range = self.service.range_of(shard);
        let inside = |record: &usize| {
            range.is_some_and(|range| range.contains(HashKey::of_partition_key(&key(*record))))
        };
        members.len() < 2 || members.iter().all(inside)
    }

    /// Delivered or not, and whether a failure leaves doubt.
    pub(super) fn answer_of(&self, record: usize) -> Option<(bool, bool)> {
        self.tickets[record].answer().map(|answer| match answer {
            Ok(_) => (true, false),
            Err(error) => {
                let certain = match error.reason() {
                    PutErrorReason::Expired { .. } => self.is(Variant::ExpiryIsCertain),
                    PutErrorReason::Closed => self.is(Variant::CloseIsCertain),
                    _ => false,
                };
                (false, error.may_have_been_written() && !certain)
            }
        })
    }

    /// Judges what can be seen now.
    pub(super) fn look(&mut self) {
        for record in 0..self.tickets.len() {
            let copies = self.service.copies(record);
            let accounted = self.allowed[record] + usize::from(self.acknowledged[record]);
            self.judge(copies <= accounted, Rule::Copies);
            let knows = self.answer_of(record) != Some((false, false)) || copies == 0;
            self.judge(knows, Rule::Knows);
            if let Some(Ok(delivered)) = self.tickets[record].answer() {
                let blob = self.service.read(&delivered.shard_id, delivered.sequence_number);
                let blob = blob.unwrap_or_default().to_vec();
                let place = usize::try_from(delivered.sub_sequence_number).unwrap_or(usize::MAX);
                self.judge(blob.get(place) == Some(&record), Rule::Readable);
                self.judge(self.belongs(&delivered.shard_id, &blob), Rule::InRange);
            }
        }
        self.look_at_flushes();
        let due = self.wake.is_some_and(|at| at < self.now() + FAR);
        if self.terminated || self.flights.is_empty() && !self.asked && !due {
            let unanswered = self.tickets.iter().any(|ticket| ticket.answer().is_none());
            self.judge(!unanswered && self.outstanding.bytes() == 0, Rule::Resolves);
        }
    }

    fn look_at_flushes(&mut self) {
        let open = |live: &Self, record: usize| live.tickets[record].answer().is_none();
        for (epoch, records) in self.flushes.clone() {
            let left: Vec<usize> = (0..records).filter(|record| open(self, *record)).collect();
            let over = self.outstanding.finished_up_to(epoch).now_or_never().is_some();
            let in_flight = |record: &usize| {
                self.flights.iter().flat_map(|flight| &flight.entries).any(|one| one.members.contains(record))
            };
            let over = match self.variant {
                Some(Variant::FlushForgetsRequests) => left.iter().all(in_flight),
                Some(Variant::FlushWaitsForAll) => self.outstanding.bytes() == 0,
                _ => over,
            };
            self.judge(over == left.is_empty(), Rule::Flushed);
        }
    }
}
