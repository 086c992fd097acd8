use std::sync::Mutex;

use futures::FutureExt;
use kinesis_shard::{Checkpoint, Shard};
use tokio::task::JoinSet;

use super::*;
use crate::lease::test_support::{D, Listing, at, even_shards, key, row, shard, worker};
use crate::lease::{Fault, MemoryLeaseStore, Operation, Owners, StoreCall};

const SECOND: Duration = Duration::from_secs(1);

/// One worker: its keeper and the leases it was given.
struct Node {
    name: &'static str,
    commands: mpsc::Sender<KeeperCommand>,
    gained: mpsc::Receiver<HeldLease>,
    held: BTreeMap<LeaseKey, HeldLease>,
    tasks: JoinSet<Result<(), KeeperError>>,
    ever: usize,
}

impl Node {
    fn start(name: &'static str, store: &MemoryLeaseStore, listing: &Listing) -> Self {
        Self::start_with(name, store, listing, |_| {})
    }

    fn start_with(
        name: &'static str,
        store: &MemoryLeaseStore,
        listing: &Listing,
        change: impl FnOnce(&mut KeeperSettings),
    ) -> Self {
        let seed = name.bytes().map(u64::from).sum();
        let mut settings = KeeperSettings::new(worker(name), D, seed);
        change(&mut settings);
        let clock = Clock::default();
        let keeper = Keeper::new(Arc::new(store.clone()), Arc::new(listing.clone()), clock, settings);
        let (gain, gained) = mpsc::channel(4);
        let (commands, command) = mpsc::channel(4);
        let mut tasks = JoinSet::new();
        tasks.spawn(keeper.run(gain, command));
        Self { name, commands, gained, held: BTreeMap::new(), tasks, ever: 0 }
    }

    /// Takes in what the keeper gave, and drops what is over.
    fn look(&mut self) {
        while let Ok(held) = self.gained.try_recv() {
            self.ever += 1;
            assert!(
                held.is_valid(Clock::default().now()),
                "{} was given a lease it does not hold",
                self.name
            );
            self.held.insert(held.key().clone(), held);
        }
        self.held.retain(|_, held| held.is_valid(Clock::default().now()));
    }

    /// Gives up what another worker asked for, as a shard's task does.
    async fn hand_over(&mut self) {
        for held in self.held.values() {
            if held.asked_for().now_or_never().is_some() {
                held.release().await.unwrap();
            }
        }
        self.look();
    }

    fn crash(self) {
        drop(self);
    }
}

/// Lets virtual time pass; at every tenth of a second no lease may have two believers.
async fn pass(time: Duration, nodes: &mut [&mut Node], store: &MemoryLeaseStore) {
    let clock = Clock::default();
    let until = clock.now() + time;
    while clock.now() < until {
        clock.sleep(SECOND / 10).await;
        let mut believers: BTreeSet<LeaseKey> = BTreeSet::new();
        for node in nodes.iter_mut() {
            node.look();
            node.hand_over().await;
            for held in node.held.values() {
                assert!(believers.insert(held.key().clone()), "two believers in {}", held.key());
                let row = store.row(held.key()).unwrap();
                assert_eq!(row.actual_owner(), Some(&worker(node.name)), "belief without ownership");
            }
        }
    }
}

fn owned(store: &MemoryLeaseStore, name: &str) -> usize {
    store.rows().iter().filter(|row| row.owner == Some(worker(name))).count()
}

fn writes(store: &MemoryLeaseStore, operation: &str) -> u64 {
    store.writes().get(operation).copied().unwrap_or(0)
}

#[tokio::test(start_paused = true)]
async fn a_worker_alone_creates_and_takes_every_lease() {
    let (store, listing) = (MemoryLeaseStore::new(), Listing::of(even_shards(6)));
    let mut ann = Node::start("ann", &store, &listing);
    pass(SECOND, &mut [&mut ann], &store).await;
    assert_eq!(ann.held.len(), 6);
    assert!(ann.held.values().all(|held| held.start().checkpoint == Checkpoint::TrimHorizon));
}

/// L12: creations, takes, and one renewal per lease and interval; nothing else is written, and nothing is lost.
#[tokio::test(start_paused = true)]
async fn a_quiet_run_is_exact() {
    let (store, listing) = (MemoryLeaseStore::new(), Listing::of(even_shards(5)));
    let mut ann = Node::start("ann", &store, &listing);
    let (time, interval) =
        (Duration::from_mins(10), KeeperSettings::new(worker("ann"), D, 1).renewal_interval);
    pass(time, &mut [&mut ann], &store).await;
    let renewals = u64::try_from(time.as_nanos() / interval.as_nanos()).unwrap();
    assert_eq!((writes(&store, "create"), writes(&store, "take")), (5, 5));
    let found = writes(&store, "renew");
    assert!(found.abs_diff(5 * renewals) * 50 <= 5 * renewals, "{found} instead of {}", 5 * renewals);
    assert_eq!(store.writes().values().sum::<u64>(), 10 + found, "{:?}", store.writes());
    assert_eq!((ann.held.len(), ann.ever), (5, 5));
    assert!((9..=11).contains(&(listing.calls() - 1)), "a listing a minute: {}", listing.calls());
}

#[tokio::test(start_paused = true)]
async fn checkpoints_take_the_place_of_renewals() {
    let (store, listing) = (MemoryLeaseStore::new(), Listing::of(even_shards(1)));
    let mut ann = Node::start("ann", &store, &listing);
    pass(SECOND, &mut [&mut ann], &store).await;
    for position in 0..30 {
        ann.held.get(&key(0)).unwrap().checkpoint(at(position)).await.unwrap();
        pass(2 * SECOND, &mut [&mut ann], &store).await;
    }
    assert_eq!((writes(&store, "checkpoint"), writes(&store, "renew")), (30, 0));
}

#[tokio::test(start_paused = true)]
async fn two_workers_come_to_equal_shares_and_then_rest() {
    let (store, listing) = (MemoryLeaseStore::new(), Listing::of(even_shards(9)));
    let mut ann = Node::start("ann", &store, &listing);
    pass(5 * SECOND, &mut [&mut ann], &store).await;
    assert_eq!(ann.held.len(), 9);
    let mut bob = Node::start("bob", &store, &listing);
    pass(Duration::from_mins(1), &mut [&mut ann, &mut bob], &store).await;
    let (mut shares, before) = ([ann.held.len(), bob.held.len()], store.writes());
    shares.sort_unstable();
    assert_eq!(shares, [4, 5]);
    // L11: an hour at rest.
    let moves = |writes: &BTreeMap<&str, u64>| {
        ["take", "start handoff", "release"].map(|name| writes.get(name).copied())
    };
    let clock = Clock::default();
    clock.sleep(Duration::from_hours(1)).await;
    assert_eq!(moves(&store.writes()), moves(&before));
}

#[tokio::test(start_paused = true)]
async fn three_workers_that_start_together_share() {
    let (store, listing) = (MemoryLeaseStore::new(), Listing::of(even_shards(10)));
    let mut nodes = ["ann", "bob", "cyd"].map(|name| Node::start(name, &store, &listing));
    let [ann, bob, cyd] = &mut nodes;
    pass(Duration::from_mins(2), &mut [ann, bob, cyd], &store).await;
    let mut shares = nodes.each_ref().map(|node| node.held.len());
    shares.sort_unstable();
    assert_eq!(shares, [3, 3, 4]);
}

/// L10: the failover time and a scan.
#[tokio::test(start_paused = true)]
async fn after_a_crash_the_other_worker_takes_over() {
    let (store, listing) = (MemoryLeaseStore::new(), Listing::of(even_shards(4)));
    let mut ann = Node::start("ann", &store, &listing);
    pass(3 * SECOND, &mut [&mut ann], &store).await;
    let mut bob = Node::start("bob", &store, &listing);
    pass(Duration::from_mins(1), &mut [&mut ann, &mut bob], &store).await;
    assert_eq!((ann.held.len(), bob.held.len()), (2, 2));
    ann.crash();
    pass(D / 2, &mut [&mut bob], &store).await;
    assert_eq!(bob.held.len(), 2, "nothing is taken before the failover time");
    pass(D / 2 + 2 * SECOND, &mut [&mut bob], &store).await;
    assert_eq!(bob.held.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn after_a_clean_stop_the_other_worker_takes_over_in_a_second() {
    let (store, listing) = (MemoryLeaseStore::new(), Listing::of(even_shards(4)));
    let mut ann = Node::start("ann", &store, &listing);
    pass(3 * SECOND, &mut [&mut ann], &store).await;
    let mut bob = Node::start("bob", &store, &listing);
    pass(Duration::from_mins(1), &mut [&mut ann, &mut bob], &store).await;
    ann.commands.send(KeeperCommand::StopTaking).await.unwrap();
    for held in ann.held.values() {
        held.release().await.unwrap();
    }
    ann.commands.send(KeeperCommand::Stop).await.unwrap();
    ann.tasks.join_next().await.unwrap().unwrap().unwrap();
    pass(Duration::from_millis(1_200), &mut [&mut bob], &store).await;
    assert_eq!(bob.held.len(), 4);
    assert_eq!(owned(&store, "ann"), 0);
}

fn counted(store: &MemoryLeaseStore) -> Arc<Mutex<BTreeMap<&'static str, u32>>> {
    let counts: Arc<Mutex<BTreeMap<&'static str, u32>>> = Arc::default();
    let shared = Arc::clone(&counts);
    store.fail_by(move |call| {
        let name = match call {
            StoreCall::List => "list",
            StoreCall::Get(_) => "get",
            StoreCall::Write(_, operation) => operation.name(),
        };
        *shared.lock().unwrap().entry(name).or_default() += 1;
        None
    });
    counts
}

/// What Java's workers do is 3.2 listings a minute. Nothing is written but renewals: nudges are for changes.
#[tokio::test(start_paused = true)]
async fn workers_at_rest_list_the_table_no_more_often_than_javas_do() {
    let (store, listing) = (MemoryLeaseStore::new(), Listing::of(even_shards(12)));
    let mut nodes = ["ann", "bob", "cyd"].map(|name| Node::start(name, &store, &listing));
    let [ann, bob, cyd] = &mut nodes;
    pass(Duration::from_mins(2), &mut [ann, bob, cyd], &store).await;
    let counts = counted(&store);
    Clock::default().sleep(Duration::from_mins(100)).await;
    let counts = counts.lock().unwrap().clone();
    assert!((570..=690).contains(&counts["list"]), "{counts:?}");
    // One row each 0.85 s, and by each renewal none.
    assert!((19_000..=22_500).contains(&counts["get"]), "{counts:?}");
    assert_eq!(counts.keys().copied().collect::<Vec<_>>(), ["get", "list", "renew"]);
}

/// Three workers and one that leaves: each of the others has its part of it within the time of two looks.
#[tokio::test(start_paused = true)]
async fn a_clean_stop_is_told_to_all_the_others() {
    for seed in 0..5 {
        let (store, listing) = (MemoryLeaseStore::new(), Listing::of(even_shards(120)));
        let with_seed =
            |name| Node::start_with(name, &store, &listing, |settings| settings.seed ^= seed * 77);
        let mut nodes = ["ann", "bob", "cyd", "dan"].map(with_seed);
        let [ann, bob, cyd, dan] = &mut nodes;
        pass(Duration::from_mins(4), &mut [ann, bob, cyd, dan], &store).await;
        pass(Duration::from_millis(seed * 313), &mut [ann, bob, cyd, dan], &store).await;
        assert!(bob.held.len() == 30, "seed {seed}: {}", bob.held.len());
        bob.commands.send(KeeperCommand::StopTaking).await.unwrap();
        let leaving: Vec<HeldLease> = bob.held.values().cloned().collect();
        for held in leaving {
            held.release().await.unwrap();
        }
        bob.commands.send(KeeperCommand::Stop).await.unwrap();
        bob.tasks.join_next().await.unwrap().unwrap().unwrap();
        pass(Duration::from_millis(1_100), &mut [ann, cyd, dan], &store).await;
        let shares = [ann.held.len(), cyd.held.len(), dan.held.len()];
        assert_eq!(shares, [40, 40, 40], "seed {seed}");
    }
}

/// A nudge is a hint: without any, what became free is found by the next listing.
#[tokio::test(start_paused = true)]
async fn lost_nudges_cost_time_and_nothing_else() {
    let (store, listing) = (MemoryLeaseStore::new(), Listing::of(even_shards(9)));
    let mut nodes = ["ann", "bob", "cyd"].map(|name| Node::start(name, &store, &listing));
    let [ann, bob, cyd] = &mut nodes;
    pass(Duration::from_mins(2), &mut [ann, bob, cyd], &store).await;
    store.fail_by(|call| match call {
        StoreCall::Write(_, Operation::UpdateMeta(update)) if update.nudge => Some(Fault::LoseRequest),
        StoreCall::Get(_) => Some(Fault::Throttle),
        _ => None,
    });
    ann.commands.send(KeeperCommand::StopTaking).await.unwrap();
    for held in ann.held.values() {
        held.release().await.unwrap();
    }
    ann.commands.send(KeeperCommand::Stop).await.unwrap();
    ann.tasks.join_next().await.unwrap().unwrap().unwrap();
    pass(D * 36 / 10, &mut [bob, cyd], &store).await;
    assert_eq!(bob.held.len() + cyd.held.len(), 9);
}

/// L10 in a large table at rest, whichever moment of its renewals a worker dies at: the failover time and less than a second.
#[tokio::test(start_paused = true)]
async fn a_death_is_noticed_as_soon_in_a_large_table_as_in_a_small_one() {
    for (seed, shards) in [(1_u64, 150), (2, 150), (3, 2), (4, 2), (5, 8), (6, 8)] {
        let (store, listing) = (MemoryLeaseStore::new(), Listing::of(even_shards(shards)));
        let change = |settings: &mut KeeperSettings| {
            settings.seed ^= seed * 77;
            settings.max_leases_to_steal = 100;
        };
        let mut nodes = ["ann", "bob"].map(|name| Node::start_with(name, &store, &listing, change));
        let [ann, bob] = &mut nodes;
        pass(Duration::from_mins(2), &mut [ann, bob], &store).await;
        pass(Duration::from_millis(seed * 1_313), &mut [ann, bob], &store).await;
        let all = usize::try_from(shards).unwrap();
        assert_eq!(ann.held.len(), all / 2, "seed {seed}");
        let [ann, mut bob] = nodes;
        ann.crash();
        pass(D / 2, &mut [&mut bob], &store).await;
        assert_eq!(bob.held.len(), all / 2, "seed {seed}: nothing is taken too early");
        pass(D / 2 + SECOND * 9 / 10, &mut [&mut bob], &store).await;
        assert_eq!(owned(&store, "bob"), all, "seed {seed}, {shards} shards");
    }
}

#[tokio::test(start_paused = true)]
async fn after_stop_taking_nothing_is_gained_and_what_is_held_is_renewed() {
    let (store, listing) = (MemoryLeaseStore::new(), Listing::of(even_shards(2)));
    let mut ann = Node::start("ann", &store, &listing);
    pass(SECOND, &mut [&mut ann], &store).await;
    ann.commands.send(KeeperCommand::StopTaking).await.unwrap();
    store.put_row(row(9, "", 0));
    pass(Duration::from_mins(1), &mut [&mut ann], &store).await;
    assert_eq!((ann.held.len(), ann.ever), (2, 2));
}

/// H2: what is under way when the worker stops is given back too, also when its answer does not come.
#[tokio::test(start_paused = true)]
async fn a_take_that_lands_while_stopping_is_given_back() {
    let (store, listing) = (MemoryLeaseStore::new(), Listing::of(even_shards(1)));
    let mut ann = Node::start("ann", &store, &listing);
    pass(SECOND, &mut [&mut ann], &store).await;
    let mut struck = false;
    store.fail_by(move |call| {
        let take = matches!(call, StoreCall::Write(_, Operation::Take { .. }));
        let first = take && !struck;
        struck |= take;
        first.then_some(Fault::HangAfter)
    });
    store.put_row(row(9, "", 0));
    for _ in 0..900 {
        if owned(&store, "ann") < 2 {
            pass(SECOND / 10, &mut [&mut ann], &store).await;
        }
    }
    assert_eq!((ann.held.len(), owned(&store, "ann")), (1, 2), "the take has landed, its answer is missing");
    ann.commands.send(KeeperCommand::StopTaking).await.unwrap();
    for held in ann.held.values() {
        held.release().await.unwrap();
    }
    ann.commands.send(KeeperCommand::Stop).await.unwrap();
    ann.tasks.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(owned(&store, "ann"), 0);
}

/// L13: single lost answers, a failover time apart, cost no lease.
#[tokio::test(start_paused = true)]
async fn lost_answers_cost_no_lease() {
    for fault in [Fault::LoseAnswer, Fault::LoseRequest, Fault::Throttle, Fault::Hang, Fault::HangAfter] {
        let (store, listing) = (MemoryLeaseStore::new(), Listing::of(even_shards(3)));
        store.fail_next(fault);
        let mut ann = Node::start("ann", &store, &listing);
        pass(5 * SECOND, &mut [&mut ann], &store).await;
        for _ in 0..12 {
            store.fail_next(fault);
            pass(D, &mut [&mut ann], &store).await;
        }
        assert_eq!((ann.held.len(), ann.ever), (3, 3), "{fault:?}");
        assert_eq!(writes(&store, "take"), 3, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_take_whose_answer_is_lost_is_gained_once() {
    for fault in [Fault::LoseAnswer, Fault::HangAfter] {
        let (store, listing) = (MemoryLeaseStore::new(), Listing::of(even_shards(1)));
        let mut failed = false;
        store.fail_by(move |call| match call {
            StoreCall::Write(_, Operation::Take { .. }) if !failed => {
                failed = true;
                Some(fault)
            }
            _ => None,
        });
        let mut ann = Node::start("ann", &store, &listing);
        pass(5 * SECOND, &mut [&mut ann], &store).await;
        assert_eq!((ann.held.len(), ann.ever, writes(&store, "take")), (1, 1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_hangs_holds_up_no_other() {
    let (store, listing) = (MemoryLeaseStore::new(), Listing::of(even_shards(8)));
    let mut ann = Node::start("ann", &store, &listing);
    pass(SECOND, &mut [&mut ann], &store).await;
    store.fail_by(|call| match call {
        StoreCall::Write(stuck, Operation::Renew { .. }) if **stuck == key(3) => Some(Fault::Hang),
        _ => None,
    });
    pass(D, &mut [&mut ann], &store).await;
    assert_eq!(ann.held.len(), 7, "only the one that hangs is lost");
    store.heal();
    pass(2 * SECOND, &mut [&mut ann], &store).await;
    assert_eq!((ann.held.len(), ann.ever), (8, 9), "and taken again: nobody else wrote its row");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_longer_than_belief_costs_the_leases_for_no_longer_than_that() {
    let (store, listing) = (MemoryLeaseStore::new(), Listing::of(even_shards(3)));
    let mut ann = Node::start("ann", &store, &listing);
    pass(SECOND, &mut [&mut ann], &store).await;
    store.fail_by(|_| Some(Fault::Hang));
    pass(2 * D, &mut [&mut ann], &store).await;
    assert_eq!(ann.held.len(), 0);
    store.heal();
    pass(D, &mut [&mut ann], &store).await;
    assert_eq!(ann.held.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_restart_under_the_same_name_has_its_leases_back_at_once() {
    let (store, listing) = (MemoryLeaseStore::new(), Listing::of(even_shards(3)));
    let mut ann = Node::start("ann", &store, &listing);
    pass(3 * SECOND, &mut [&mut ann], &store).await;
    ann.crash();
    let mut ann = Node::start("ann", &store, &listing);
    pass(SECOND, &mut [&mut ann], &store).await;
    assert_eq!(ann.held.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn two_workers_of_one_name_never_believe_in_the_same_lease() {
    let (store, listing) = (MemoryLeaseStore::new(), Listing::of(even_shards(6)));
    let mut first = Node::start("ann", &store, &listing);
    pass(3 * SECOND, &mut [&mut first], &store).await;
    // The second takes the rows that name it; the first finds out at its next write. In between both hold the name, and
    // the confirmation makes sure that the first does not take the second's write for its own.
    let mut second = Node::start_with("ann", &store, &listing, |settings| settings.seed = 99);
    Clock::default().sleep(D).await;
    first.look();
    second.look();
    pass(Duration::from_mins(2), &mut [&mut first, &mut second], &store).await;
    assert_eq!(first.held.len() + second.held.len(), 6);
    assert!(first.ever + second.ever <= 6 * 3, "they do not take turns: {} and {}", first.ever, second.ever);
}

#[tokio::test(start_paused = true)]
async fn no_more_leases_than_allowed() {
    let (store, listing) = (MemoryLeaseStore::new(), Listing::of(even_shards(6)));
    let mut ann = Node::start_with("ann", &store, &listing, |settings| settings.max_leases = 4);
    pass(Duration::from_mins(2), &mut [&mut ann], &store).await;
    assert_eq!(ann.held.len(), 4);
    let mut bob = Node::start("bob", &store, &listing);
    pass(Duration::from_mins(1), &mut [&mut ann, &mut bob], &store).await;
    assert_eq!(ann.held.len() + bob.held.len(), 6);
}

/// A worker of another library, which renews but does not know of marks.
#[tokio::test(start_paused = true)]
async fn a_worker_that_does_not_answer_marks_gives_leases_up_all_the_same() {
    let (store, listing) = (MemoryLeaseStore::new(), Listing::of(even_shards(4)));
    for index in 0..4 {
        store.put_row(row(index, "java", 1));
    }
    let deaf = store.clone();
    let mut foreign = JoinSet::new();
    foreign.spawn(async move {
        let clock = Clock::default();
        loop {
            clock.sleep(3 * SECOND).await;
            for lease in deaf.rows() {
                if lease.actual_owner() == Some(&worker("java")) {
                    assert!(deaf.renew(&lease.key, lease.counter, true).await.unwrap().is_applied());
                }
            }
        }
    });
    let mut ann = Node::start("ann", &store, &listing);
    pass(Duration::from_mins(2), &mut [&mut ann], &store).await;
    assert_eq!(ann.held.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn after_a_shards_end_its_children_are_taken_at_once_and_the_end_is_not_renewed() {
    let (store, listing) = (MemoryLeaseStore::new(), Listing::of(even_shards(1)));
    let mut ann = Node::start("ann", &store, &listing);
    pass(3 * SECOND, &mut [&mut ann], &store).await;
    listing.set(vec![shard(0, &[], false), shard(1, &[0], true), shard(2, &[0], true)]);
    let held = ann.held.remove(&key(0)).unwrap();
    let children: Vec<Shard> = vec![shard(1, &[0], true), shard(2, &[0], true)];
    let children = crate::lease::sync::children_to_create(held.key(), &children);
    held.end_shard(&children).await.unwrap();
    held.checkpoint(Checkpoint::ShardEnd).await.unwrap();
    pass(SECOND / 5, &mut [&mut ann], &store).await;
    assert_eq!(ann.held.keys().cloned().collect::<Vec<_>>(), [key(1), key(2)]);
    let ended = store.row(&key(0)).unwrap().counter;
    pass(3 * D, &mut [&mut ann], &store).await;
    assert_eq!(store.row(&key(0)).unwrap().counter, ended, "a finished lease is not renewed");
    assert!(held.parents_done().await.unwrap());
    // Once both children have been checkpointed, the next sync deletes the parent's row.
    for child in ann.held.values() {
        child.checkpoint(at(5)).await.unwrap();
    }
    ann.commands.send(KeeperCommand::SyncShards).await.unwrap();
    pass(SECOND, &mut [&mut ann], &store).await;
    assert!(store.row(&key(0)).is_none());
    assert_eq!(ann.held.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_new_shard_is_found_by_the_next_sync() {
    let shards = even_shards(2);
    let (store, listing) = (MemoryLeaseStore::new(), Listing::of(shards.clone()));
    let mut ann = Node::start("ann", &store, &listing);
    pass(3 * SECOND, &mut [&mut ann], &store).await;
    listing.set([shards, vec![shard(7, &[], true)]].concat());
    pass(70 * SECOND, &mut [&mut ann], &store).await;
    assert!(ann.held.contains_key(&key(7)));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_stumbles_at_the_start_is_tried_again() {
    let (store, listing) = (MemoryLeaseStore::new(), Listing::of(even_shards(2)));
    let mut left = 5;
    store.fail_by(move |_| {
        left -= i32::from(left > 0);
        (left > 0).then_some(Fault::Throttle)
    });
    let mut ann = Node::start("ann", &store, &listing);
    pass(D, &mut [&mut ann], &store).await;
    assert_eq!(ann.held.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_first_listing_with_a_hole_is_not_used() {
    let shards = even_shards(3);
    let (store, listing) = (MemoryLeaseStore::new(), Listing::of(shards[1..].to_vec()));
    let mut ann = Node::start("ann", &store, &listing);
    pass(3 * SECOND, &mut [&mut ann], &store).await;
    assert_eq!(store.rows(), []);
    listing.set(shards);
    pass(D, &mut [&mut ann], &store).await;
    assert_eq!(ann.held.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_keeper_ends_when_nobody_takes_its_leases() {
    let (store, listing) = (MemoryLeaseStore::new(), Listing::of(even_shards(2)));
    let mut ann = Node::start("ann", &store, &listing);
    ann.gained.close();
    pass(3 * SECOND, &mut [&mut ann], &store).await;
    assert!(ann.tasks.join_next().await.unwrap().unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_makes_the_same_history() {
    let run = || async {
        let (store, listing) = (MemoryLeaseStore::new(), Listing::of(even_shards(10)));
        let mut nodes = ["ann", "bob", "cyd"].map(|name| Node::start(name, &store, &listing));
        let [ann, bob, cyd] = &mut nodes;
        pass(Duration::from_mins(1), &mut [ann, bob, cyd], &store).await;
        (store.rows(), store.writes(), store.calls())
    };
    assert_eq!(run().await, run().await);
}

/// A worker that takes without asking, as Java's 2.x workers do, leaves the mark of an earlier request where it was.
#[tokio::test(start_paused = true)]
async fn a_mark_that_is_left_over_on_a_row_that_moved_is_cleared_and_leaves_the_counter_alone() {
    let (store, listing) = (MemoryLeaseStore::new(), Listing::of(even_shards(1)));
    let mut ann = Node::start("ann", &store, &listing);
    pass(2 * SECOND, &mut [&mut ann], &store).await;
    let row = store.row(&key(0)).unwrap();
    let counter = LeaseCounter::new(row.counter.get() + 1);
    let (java, me) = (Some(worker("java")), Some(worker("ann")));
    store.put_row(Lease { owner: java.clone(), checkpoint_owner: me.clone(), counter, ..row.clone() });
    for renewals in 1..=10 {
        pass(SECOND / 2, &mut [&mut ann], &store).await;
        // It goes on renewing by what it knows, the counter.
        let row = store.row(&key(0)).unwrap();
        assert_eq!(row.counter.get(), counter.get() + renewals - 1);
        assert!(store.renew(&key(0), row.counter, true).await.unwrap().is_applied());
    }
    assert_eq!(store.row(&key(0)).unwrap().owners(), Owners { owner: java, checkpoint_owner: None });
    assert_eq!(writes(&store, "end handoff"), 1);
    // A mark with our name on a row that we never had is somebody else's business.
    store.put_row(Lease { owner: Some(worker("bob")), checkpoint_owner: me, key: key(7), ..row });
    pass(3 * SECOND, &mut [&mut ann], &store).await;
    assert_eq!(writes(&store, "end handoff"), 1);
}

/// The keeper gives a lease back, and its requests hang for longer than the failover time: the row still names it, so it
/// takes the lease again. The request that gives the old tenure's row back must not take the new one's away.
#[tokio::test(start_paused = true)]
async fn a_lease_taken_again_while_it_is_being_given_back_is_not_believed_in_and_free() {
    let (store, clock) = (MemoryLeaseStore::new(), Clock::default());
    let settings = KeeperSettings::new(worker("ann"), D, 1);
    let keeper = Keeper::new(Arc::new(store.clone()), Arc::new(Listing::default()), clock.clone(), settings);
    let (hands, terms) = (keeper.hands.clone(), keeper.settings.terms());
    let lease = row(1, "ann", 5);
    store.put_row(lease.clone());
    let tenure = crate::lease::tenure::Tenure::taken(worker("ann"), terms, lease.clone(), clock.now());
    let held = HeldLease::new(hands.clone(), tenure, 1);
    store.fail_next(Fault::Hang);
    let mut giving_back = Box::pin(held.release());
    assert!(giving_back.as_mut().now_or_never().is_none());

    // As a scan sees it whose observations began with the last renewal.
    let mut seen = Observations::default();
    seen.record(std::slice::from_ref(&lease), D, clock.now());
    let situation = Situation {
        worker: &worker("ann"),
        held: &BTreeSet::new(),
        left_behind: &BTreeMap::new(),
        asked: &BTreeSet::new(),
        seen: &seen,
        bounds: keeper.settings.bounds(),
        now: clock.now() + D,
    };
    let moves = assign::plan(&[lease], &situation, &mut SmallRng::seed_from_u64(1));
    let Some(assign::Move::Take { key, counter, why }) = moves.into_iter().next() else {
        panic!("it expired")
    };
    let taken = jobs::take(hands, terms, key.clone(), counter, why).await;
    giving_back.await.unwrap();
    let owner = store.row(&key).unwrap().owner;
    let believed = taken.is_some_and(|tenure| tenure.is_valid(clock.now()));
    assert_eq!(owner, believed.then(|| worker("ann")));
}
