//! Room that was waited for before there was a record.

use tokio::sync::OwnedSemaphorePermit;

use crate::batch::Ticket;
use crate::error::{PutError, PutErrorReason};
use crate::intake::NotTaken;
use crate::producer::Producer;
use crate::user_record::UserRecord;

/// Room for one record, from [`Producer::reserve`]. Dropped unused, it gives the room back.
#[derive(Debug)]
#[must_use = "dropping a permit gives its room back"]
pub struct Permit {
    producer: Producer,
    room: OwnedSemaphorePermit,
}

impl Permit {
    pub(super) fn new(producer: Producer, room: OwnedSemaphorePermit) -> Self {
        Self { producer, room }
    }

    /// The bytes held.
    pub fn bytes(&self) -> usize {
        self.room.num_permits()
    }

    /// Accepts a record without waiting. What it does not need of the room is given back.
    ///
    /// # Errors
    /// A bad key or size, a record that needs more than is held, or a producer that was closed meanwhile. The record is in the error.
    pub fn submit(self, record: UserRecord) -> Result<Ticket, PutError> {
        let Self { producer, mut room } = self;
        let record = producer.checked(record)?;
        let (bytes, maximum) = (record.outstanding_bytes(), room.num_permits());
        let Some(used) = room.split(bytes) else {
            return Err(producer.refused(PutErrorReason::PermitTooSmall { bytes, maximum }, Some(record)));
        };
        match producer.shared().intake.submit(&record) {
            Ok(ticket) => {
                used.forget();
                Ok(ticket)
            }
            // A permit is given out when there is a map, and a map is never taken back.
            Err(NotTaken::NoMap | NotTaken::Closed) => {
                Err(producer.refused(PutErrorReason::Closed, Some(record)))
            }
        }
    }
}
