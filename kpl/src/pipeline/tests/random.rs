//! Random answers, maps and delays: every user record is answered exactly once, and no request breaks a limit.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Event {
    /// Puts this many user records under keys that start here.
    Put {
        first: u16,
        count: u8,
        bytes: u16,
    },
    /// Lets time pass.
    Pass {
        millis: u16,
    },
    /// Answers the oldest request in flight this way.
    Answer(Outcome),
    /// The stream has this many shards now; the producer learns it when it asks.
    Reshard {
        shards: u8,
    },
    /// The question under way is not answered.
    NoMap,
    /// The question under way is answered.
    Map,
    Flush,
}

#[derive(Debug, Clone)]
enum Outcome {
    Stored,
    Mixed(Vec<u8>),
    Short,
    Failed(&'static str),
}

fn event() -> impl Strategy<Value = Event> {
    let outcome = prop_oneof![
        6 => Just(Outcome::Stored),
        3 => prop::collection::vec(0_u8..6, 1..8).prop_map(Outcome::Mixed),
        1 => Just(Outcome::Short),
        1 => prop::sample::select(vec![
            "InternalFailure", "ProvisionedThroughputExceededException", "ValidationException",
            "ResourceNotFoundException", "RequestTimeout",
        ]).prop_map(Outcome::Failed),
    ];
    prop_oneof![
        4 => (0_u16..500, 1_u8..40, 0_u16..3000).prop_map(|(first, count, bytes)| Event::Put { first, count, bytes }),
        3 => (0_u16..400).prop_map(|millis| Event::Pass { millis }),
        5 => outcome.prop_map(Event::Answer),
        1 => (1_u8..6).prop_map(|shards| Event::Reshard { shards }),
        1 => Just(Event::NoMap),
        2 => Just(Event::Map),
        1 => Just(Event::Flush),
    ]
}

/// The service: its shards change, and it remembers where it stored what.
struct World {
    rig: Rig,
    tickets: Vec<(String, Ticket)>,
    flights: Vec<PutRecordsRequest>,
    generation: u64,
    map: Arc<ShardMap>,
    ranges: BTreeMap<ShardId, HashKeyRange>,
    stored: BTreeMap<(ShardId, u64), Vec<String>>,
    numbers: u64,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            rig: Rig::new(Settings {
                max_in_flight: 4,
                collection: Bounds { max_count: 20, max_bytes: 60_000, ..settings().collection },
                ..settings()
            }),
            tickets: Vec::new(),
            flights: Vec::new(),
            generation: 0,
            map: shard_map(1),
            ranges: BTreeMap::new(),
            stored: BTreeMap::new(),
            numbers: 0,
        };
        world.reshard(2);
        world
    }

    fn reshard(&mut self, count: u32) {
        self.generation += 1;
        let base = self.generation * 100;
        let open: Vec<_> =
            (base..).zip(shards(count)).map(|(id, old)| shard(id, old.hash_key_range)).collect();
        self.ranges.extend(open.iter().map(|shard| (shard.id.clone(), shard.hash_key_range)));
        self.map = Arc::new(ShardMap::new(open).unwrap());
    }

    fn put(&mut self, first: u16, count: u8, bytes: u16) {
        // As stage 1 does it: one aggregate per shard of the map that the producer knows.
        let known = self.rig.pipeline.map.clone().unwrap_or_else(|| shard_map(1));
        let mut lanes: Vec<_> = known.open().iter().map(|_| crate::testing::aggregator(20_000)).collect();
        for key in (first..).take(usize::from(count)).map(|index| format!("key-{index}")) {
            let data = vec![b'x'; usize::from(bytes)];
            let lane = known.open_index_of(HashKey::of_partition_key(&key));
            let record = UserRecord::new(key.clone(), data);
            let (ticket, sealed) = push(&mut lanes[lane], &record, self.rig.now, 0, &self.rig.ledger);
            self.tickets.push((key, ticket));
            for record in sealed {
                self.rig.pipeline.sealed(self.rig.now, record);
            }
        }
        for mut lane in lanes {
            if let Some(record) = lane.seal() {
                self.rig.pipeline.sealed(self.rig.now, record);
            }
        }
    }

    fn steps(&mut self) {
        for request in self.rig.steps() {
            assert!(!request.entries.is_empty() && request.entries.len() <= 20);
            let bytes: usize =
                request.entries.iter().map(|entry| entry.data.len() + entry.partition_key.len()).sum();
            assert!(bytes <= 60_000, "{bytes} bytes in one request");
            self.flights.push(request);
        }
        assert!(self.flights.len() <= 4);
    }

    fn store(&mut self, entry: &Entry) -> EntryAnswer {
        let key = entry.explicit_hash_key.unwrap_or_else(|| HashKey::of_partition_key(&entry.partition_key));
        let shard_id = self.map.shard_of(key).id.clone();
        self.numbers += 1;
        let members = if entry.partition_key == "a" {
            user_records(&entry.data).into_iter().map(|record| record.partition_key).collect()
        } else {
            vec![entry.partition_key.to_string()]
        };
        self.stored.insert((shard_id.clone(), self.numbers), members);
        stored(shard_id.as_str(), self.numbers)
    }

    fn answer(&mut self, outcome: &Outcome) {
        if self.flights.is_empty() {
            return;
        }
        let request = self.flights.remove(0);
        let mut entries: Vec<_> = Vec::new();
        match outcome {
            Outcome::Failed(code) => return self.rig.fail(request.id, code),
            Outcome::Stored | Outcome::Short => {
                entries.extend(request.entries.iter().map(|entry| self.store(entry)));
                if matches!(outcome, Outcome::Short) {
                    entries.pop();
                }
            }
            Outcome::Mixed(choices) => {
                for (entry, choice) in request.entries.iter().zip(choices.iter().cycle()) {
                    entries.push(match choice {
                        0 => refused("ProvisionedThroughputExceededException"),
                        1 => refused("InternalFailure"),
                        2 => {
                            self.store(entry);
                            EntryAnswer::Malformed
                        }
                        _ => self.store(entry),
                    });
                }
            }
        }
        self.rig.answer(request.id, entries);
    }

    fn apply(&mut self, event: &Event) {
        let asking = self.rig.asked > 0;
        match event {
            Event::Put { first, count, bytes } => self.put(*first, *count, *bytes),
            Event::Pass { millis } => self.rig.now += Duration::from_millis(u64::from(*millis)),
            Event::Answer(outcome) => self.answer(outcome),
            Event::Reshard { shards } => self.reshard(u32::from(*shards)),
            Event::NoMap if asking => {
                self.rig.asked = 0;
                self.rig.pipeline.no_shard_map(self.rig.now, false, &"down".into());
            }
            Event::Map if asking => {
                self.rig.asked = 0;
                self.rig.pipeline.shard_map(self.rig.now, &self.map);
            }
            Event::NoMap | Event::Map => {}
            Event::Flush => self.rig.pipeline.flush(self.rig.now, 0),
        }
        self.steps();
        assert!(self.rig.asked <= 1, "one question at a time");
    }

    /// Faults stop: everything is answered within the time to live.
    fn finish(&mut self) {
        let end = self.rig.now + TTL + Duration::from_secs(20);
        loop {
            self.apply(&Event::Map);
            while !self.flights.is_empty() {
                self.apply(&Event::Answer(Outcome::Stored));
            }
            self.apply(&Event::Map);
            if self.flights.is_empty() && self.rig.asked == 0 {
                match self.rig.wait {
                    Some(at) => self.rig.now = at,
                    None => break,
                }
                assert!(self.rig.now < end, "still busy after the time to live");
                self.steps();
            }
        }
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let mut failed = 0;
        for (key, ticket) in &self.tickets {
            match ticket.answer() {
                None => prop_assert!(false, "{key} was never answered"),
                Some(Err(_)) => failed += 1,
                Some(Ok(delivered)) => {
                    let number = delivered.sequence_number.to_string().parse().unwrap();
                    let members = self.stored.get(&(delivered.shard_id.clone(), number));
                    let members = members.expect("an acknowledged record is stored where its ticket says");
                    let position = usize::try_from(delivered.sub_sequence_number).unwrap();
                    prop_assert_eq!(&members[position], key);
                    let range = self.ranges[&delivered.shard_id];
                    let inside = |key: &String| range.contains(HashKey::of_partition_key(key));
                    prop_assert!(
                        members.len() == 1 || members.iter().all(inside),
                        "{key} was acknowledged in an aggregate that a reader drops"
                    );
                }
            }
        }
        let total = self.tickets.len() as u64;
        prop_assert_eq!(self.rig.ledger.delivered() + self.rig.ledger.failed(), total, "answered once each");
        prop_assert_eq!(self.rig.ledger.failed(), failed);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn every_record_is_answered_once_and_acknowledged_only_where_readers_find_it(
        events in prop::collection::vec(event(), 1..80),
    ) {
        let mut world = World::new();
        for event in &events {
            world.apply(event);
        }
        world.finish();
        world.check()?;
    }

    #[test]
    fn closing_at_any_moment_answers_what_is_left_once(events in prop::collection::vec(event(), 1..40)) {
        let mut world = World::new();
        for event in &events {
            world.apply(event);
        }
        world.rig.pipeline.close(world.rig.now, []).0.into_iter().for_each(Settlement::settle);
        world.steps();
        world.check()?;
    }
}
