use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use super::*;
use crate::outstanding::Room;
use crate::testing::{bounds, shard_map, start};

const THREADS: usize = 4;
const RECORDS: usize = 5_000;

/// Four threads put, one by one and in bulk, and flush, while a driver collects and the shards change: each record comes out
/// once, and every ticket is answered.
#[test]
fn crowding_threads_lose_nothing_and_get_nothing_twice() {
    let outstanding = Arc::new(Outstanding::new(Room::new(1 << 30)));
    let mut bounds = bounds(2_000);
    bounds.collected.linger = Duration::from_millis(1);
    let intake = Intake::new(bounds, Clock::default(), outstanding, THREADS);
    let maps = [shard_map(8), shard_map(5)];
    intake.reroute(&maps[0]);
    let done = AtomicBool::new(false);
    let (tickets, mut collected) = thread::scope(|scope| {
        let putters: Vec<_> = (0..THREADS)
            .map(|number| {
                scope.spawn({
                    let intake = &intake;
                    move || put(intake, number)
                })
            })
            .collect();
        let driver = scope.spawn(|| {
            let (mut all, mut round) = (Vec::new(), 0);
            while !done.load(Ordering::SeqCst) {
                round += 1;
                let mut sealed = Vec::new();
                // Everything that is open is due.
                intake.collect(start() + Duration::from_hours(round), &mut sealed);
                all.append(&mut sealed);
                intake.reroute(&maps[usize::from(round % 2 == 0)]);
                intake.stripes.crowd();
            }
            all
        });
        let tickets: Vec<Ticket> = putters.into_iter().flat_map(|putter| putter.join().unwrap()).collect();
        done.store(true, Ordering::SeqCst);
        (tickets, driver.join().unwrap())
    });
    intake.flush();
    collected.extend(intake.uncollected());
    assert_eq!(intake.user_records(), 0, "nothing is open any more");
    assert_eq!(tickets.len(), THREADS * RECORDS);
    assert_eq!(collected.iter().map(|record| record.origin.len()).sum::<usize>(), THREADS * RECORDS);
    assert!(tickets.iter().all(|ticket| ticket.answer().is_none()));
    drop(collected);
    assert!(tickets.iter().all(|ticket| ticket.answer().is_some()));
}

fn put(intake: &Intake, thread: usize) -> Vec<Ticket> {
    let mut tickets = Vec::new();
    let records: Vec<_> =
        (0..RECORDS).map(|number| UserRecord::new(format!("{thread}-{}", number % 500), "data")).collect();
    for chunk in records.chunks(50) {
        let (one_by_one, together) = chunk.split_at(25);
        tickets.extend(one_by_one.iter().map(|record| intake.submit(record).unwrap()));
        let mut of_many = Tickets::default();
        intake.submit_many(together, &mut of_many).unwrap();
        tickets.extend(of_many);
        if tickets.len().is_multiple_of(1_000) {
            intake.flush();
        }
    }
    tickets
}
