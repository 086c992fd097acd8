//! Whose answer a Kinesis record will be: consumed exactly once, by its answer or by its drop.

use std::sync::Arc;

use crate::batch::{Answer, Batch};
use crate::error::{Failure, Held, PutErrorReason};
use crate::user_record::Attempts;

/// The user records that a Kinesis record carries.
///
/// Not `Clone`: whoever holds it owes the answer. Dropped without one, it answers `Closed`, in doubt, so that no ticket can hang
/// even if the driver dies half way.
#[derive(Debug)]
pub(crate) struct Origin {
    batch: Arc<Batch>,
    members: Members,
}

#[derive(Debug)]
enum Members {
    All { records: u32, bytes: usize },
    Some(Vec<Member>),
    Answered,
}

/// One user record of a batch that was cut.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member {
    /// In the batch.
    pub(crate) index: u32,
    /// What it takes of the outstanding bytes.
    pub(crate) bytes: usize,
}

impl Origin {
    /// All records of a batch.
    pub(crate) fn whole(batch: Arc<Batch>, records: u32, bytes: usize) -> Self {
        Self { batch, members: Members::All { records, bytes } }
    }

    pub(crate) fn len(&self) -> usize {
        match &self.members {
            Members::All { records, .. } => usize::try_from(*records).unwrap_or(usize::MAX),
            Members::Some(members) => members.len(),
            Members::Answered => 0,
        }
    }

    /// What its user records take of the outstanding bytes.
    pub(crate) fn bytes(&self) -> usize {
        match &self.members {
            Members::All { bytes, .. } => *bytes,
            Members::Some(members) => members.iter().map(|member| member.bytes).sum(),
            Members::Answered => 0,
        }
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.batch.epoch()
    }

    pub(crate) fn settle(mut self, answer: Answer) {
        self.answer(answer);
    }

    fn answer(&mut self, answer: Answer) {
        match std::mem::replace(&mut self.members, Members::Answered) {
            Members::All { records, bytes } => self.batch.settle_whole(records, bytes, answer),
            Members::Some(members) => self.batch.settle_members(&members, &answer),
            Members::Answered => {}
        }
    }

    /// One origin for each group of positions. `bytes` are those of the members, by position; the groups must hold every position
    /// once.
    pub(crate) fn divide(mut self, bytes: &[usize], groups: Vec<Vec<usize>>) -> Vec<Self> {
        let members = match std::mem::replace(&mut self.members, Members::Answered) {
            Members::All { records, .. } => {
                self.batch.cut(records);
                (0..records).zip(bytes).map(|(index, bytes)| Member { index, bytes: *bytes }).collect()
            }
            Members::Some(members) => members,
            Members::Answered => Vec::new(),
        };
        let grouped: usize = groups.iter().map(Vec::len).sum();
        assert_eq!(
            grouped,
            members.len(),
            "an aggregate was divided into groups that do not hold all of its members"
        );
        let pick = |position: usize| *members.get(position).expect("positions are those of the members");
        groups
            .into_iter()
            .map(|group| Self {
                batch: Arc::clone(&self.batch),
                members: Members::Some(group.into_iter().map(pick).collect()),
            })
            .collect()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        if !matches!(self.members, Members::Answered) {
            self.answer(Answer::Failed(Arc::new(Failure {
                stream: Arc::from(""),
                reason: PutErrorReason::Closed,
                attempts: Attempts::none(),
                may_have_been_written: true,
                held: Held::Nothing,
            })));
        }
    }
}
