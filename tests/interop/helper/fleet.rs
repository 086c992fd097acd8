//! One application, workers of the Java KCL and of `kcl` on one lease table: started, stopped and killed at random, through
//! a reshard. In the end every record must have been delivered in order, and no lease may be stuck.
//!
//! The plan follows from the seed; what the processes make of it does not.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aws_sdk_kinesis::Client;
use kcl::lease::{DynamoDbLeaseStore, Lease, LeaseStore};
use rand::rngs::SmallRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use tokio::process::{Child, Command};
use tokio::time::sleep;

use crate::check::Check;
use crate::line::{self, Entry};
use crate::split::split_all;
use crate::worker::dynamodb;
use crate::{Problem, Stream, put, streams};

const FAILOVER: Duration = Duration::from_secs(3);
const APPLICATION: &str = "fleet";
/// Workers of each kind.
const OF_A_KIND: usize = 2;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    stream: Stream,
    /// Where the DynamoDB-compatible server listens.
    #[arg(long)]
    dynamodb: String,
    /// For how long workers come and go, in seconds.
    #[arg(long)]
    seconds: u64,
    /// Decides who comes and goes when.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the processes write.
    #[arg(long)]
    directory: PathBuf,
    /// How a Java worker is started; its arguments are added.
    #[arg(required = true, last = true)]
    java: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Java,
    Rust,
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Java => "java",
            Self::Rust => "rust",
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// As an operator does it: SIGTERM, and time to finish.
    Stop,
    /// As the kernel does it: SIGKILL.
    Kill,
}

const ENDS: [(Kind, End); 4] =
    [(Kind::Java, End::Stop), (Kind::Java, End::Kill), (Kind::Rust, End::Stop), (Kind::Rust, End::Kill)];

/// One place in the fleet, in which one process after the other runs.
struct Place {
    kind: Kind,
    index: usize,
    /// How many processes ran here.
    ran: u32,
    running: Option<(Child, Instant)>,
}

impl Place {
    /// Each process is a worker of its own name, as workers are in the field.
    fn worker(&self, ran: u32) -> String {
        format!("{}-{}-{ran}", self.kind, self.index)
    }
}

pub(crate) async fn run(arguments: Arguments) -> Result<String, Problem> {
    let client = arguments.stream.client();
    let mut fleet = Fleet::new(&arguments, streams::identifiers(&client, &arguments.stream).await?);
    // Records come all the time; they end when the comings and goings do.
    let put = arguments.directory.join("put");
    let enough = AtomicBool::new(false);
    let producing = put::put_until(&arguments.stream, &enough, 300, &put);
    let changing = async {
        let outcome = fleet.come_and_go(&client).await;
        enough.store(true, Ordering::Relaxed);
        outcome
    };
    let (produced, changed) = tokio::join!(producing, changing);
    let (produced, ()) = (produced?, changed?);
    // Everybody comes back, and what is left is drained.
    fleet.start_all().await?;
    let lineage = streams::lineage(&client, &arguments.stream).await?;
    let drained = fleet.drain(&put, &lineage).await;
    let leases = fleet.leases_in_good_hands().await;
    fleet.stop_all().await?;
    let check = fleet.check(&put, &lineage)?;
    let summary = format!("{produced}; {}; {}", fleet.summary(), check.summary());
    drained.map_err(|problem| format!("{summary}\n{problem}\n{}", check.told()))?;
    leases.map_err(|problem| format!("{summary}\n{problem}"))?;
    if check.problems().is_empty() { Ok(summary) } else { Err(format!("{summary}\n{}", check.told()).into()) }
}

struct Fleet<'a> {
    arguments: &'a Arguments,
    /// The streams, as Java workers are told them.
    java_streams: String,
    places: Vec<Place>,
    store: DynamoDbLeaseStore,
    rng: SmallRng,
    began: Instant,
    /// How the next workers end, the last one first.
    ends: Vec<(Kind, End)>,
    /// What happened, by its name.
    events: BTreeMap<String, u32>,
}

impl<'a> Fleet<'a> {
    fn new(arguments: &'a Arguments, java_streams: String) -> Self {
        let places = [Kind::Java, Kind::Rust]
            .into_iter()
            .flat_map(|kind| (0..OF_A_KIND).map(move |index| Place { kind, index, ran: 0, running: None }))
            .collect();
        Self {
            arguments,
            java_streams,
            places,
            store: DynamoDbLeaseStore::new(&dynamodb(&arguments.dynamodb), APPLICATION),
            rng: SmallRng::seed_from_u64(arguments.seed),
            began: now(),
            ends: Vec::new(),
            events: BTreeMap::new(),
        }
    }

    async fn come_and_go(&mut self, client: &Client) -> Result<(), Problem> {
        self.start_all().await?;
        self.until_each_kind_delivers().await?;
        let (began, whole) = (now(), Duration::from_secs(self.arguments.seconds));
        let mut split = false;
        // Each kind was started, and each way to end comes up at least once.
        while began.elapsed() < whole || self.events.len() < 2 + ENDS.len() {
            if began.elapsed() > whole + Duration::from_mins(2) {
                return Err(format!("not everything happened in time: {:?}", self.events).into());
            }
            self.change().await?;
            if !split && began.elapsed() > whole / 3 {
                for stream in self.arguments.stream.names() {
                    split_all(client, stream).await?;
                }
                self.tell("every shard is split");
                split = true;
            }
        }
        Ok(())
    }

    fn tell(&self, event: &str) {
        eprintln!("{:>6.1} s: {event}", self.began.elapsed().as_secs_f32());
    }

    async fn start_all(&mut self) -> Result<(), Problem> {
        let mut places: Vec<_> = (0..self.places.len()).filter(|&index| self.is_down(index)).collect();
        places.shuffle(&mut self.rng);
        for place in places {
            self.start(place)?;
            sleep(Duration::from_millis(self.rng.random_range(0..1_500))).await;
        }
        Ok(())
    }

    fn start(&mut self, place: usize) -> Result<(), Problem> {
        let Arguments { stream, dynamodb, directory, java, .. } = self.arguments;
        let Some(place) = self.places.get_mut(place) else { return Ok(()) };
        place.ran += 1;
        let (kind, worker) = (place.kind, place.worker(place.ran));
        let log = File::create(directory.join(format!("{worker}.log")))?;
        let out = directory.join(format!("{worker}.got"));
        let failover = FAILOVER.as_millis().to_string();
        let mut command = match kind {
            Kind::Java => {
                let mut command = Command::new(java.first().ok_or("no command for Java")?);
                command.args(java.iter().skip(1));
                command.args([&stream.endpoint, dynamodb, &self.java_streams, APPLICATION, &worker]);
                command.args(["polling".as_ref(), out.as_os_str(), failover.as_ref()]);
                command
            }
            Kind::Rust => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["worker", "--endpoint", &stream.endpoint, "--stream", &stream.stream]);
                command.args(["--dynamodb", dynamodb, "--application", APPLICATION]);
                command.args(["--worker", &worker, "--failover-millis", &failover, "--out"]).arg(&out);
                command
            }
        };
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
        place.running = Some((command.spawn()?, now()));
        self.happened("started", kind, &worker);
        Ok(())
    }

    fn happened(&mut self, what: &str, kind: Kind, worker: &str) {
        *self.events.entry(format!("{kind} {what}")).or_default() += 1;
        self.tell(&format!("{worker} is {what}"));
    }

    /// One worker comes or goes, after a while.
    async fn change(&mut self) -> Result<(), Problem> {
        sleep(Duration::from_millis(self.rng.random_range(500..4_000))).await;
        let down: Vec<_> = (0..self.places.len()).filter(|&index| self.is_down(index)).collect();
        let come = self.rng.random_bool(0.5);
        if let Some(&place) = down.choose(&mut self.rng).filter(|_| come) {
            return self.start(place);
        }
        // All ways to end come up before one comes up again.
        if self.ends.is_empty() {
            self.ends = ENDS.to_vec();
            self.ends.shuffle(&mut self.rng);
        }
        let Some(&(kind, end)) = self.ends.last() else { return Ok(()) };
        let settled: Vec<_> = (0..self.places.len()).filter(|&index| self.has_settled(index, kind)).collect();
        if let Some(&place) = settled.choose(&mut self.rng) {
            self.ends.pop();
            return self.end(place, end).await;
        }
        match down.choose(&mut self.rng) {
            Some(&place) => self.start(place),
            None => Ok(()),
        }
    }

    fn is_down(&self, index: usize) -> bool {
        self.places.get(index).is_some_and(|place| place.running.is_none())
    }

    /// Of that kind, and held a lease, or could have for a while: ending a process before that would show nothing.
    fn has_settled(&self, index: usize, kind: Kind) -> bool {
        self.places.get(index).filter(|place| place.kind == kind).is_some_and(|place| {
            let Some((_, since)) = &place.running else { return false };
            let began = fs::metadata(self.got_file(place, place.ran)).is_ok_and(|file| file.len() > 0);
            began || since.elapsed() > Duration::from_secs(20)
        })
    }

    async fn end(&mut self, index: usize, end: End) -> Result<(), Problem> {
        let Some(place) = self.places.get_mut(index) else { return Ok(()) };
        let (kind, worker) = (place.kind, place.worker(place.ran));
        let Some((mut child, _)) = place.running.take() else { return Ok(()) };
        if let Some(status) = child.try_wait()? {
            return Err(format!("{worker} ended by itself: {status}").into());
        }
        match end {
            End::Stop => stop(child).await?,
            End::Kill => child.kill().await?,
        }
        self.happened(if end == End::Stop { "stopped" } else { "killed" }, kind, &worker);
        Ok(())
    }

    async fn stop_all(&mut self) -> Result<(), Problem> {
        let running: Vec<_> = self.places.iter_mut().filter_map(|place| place.running.take()).collect();
        for outcome in futures::future::join_all(running.into_iter().map(|(child, _)| stop(child))).await {
            outcome?;
        }
        Ok(())
    }

    fn got_file(&self, place: &Place, ran: u32) -> PathBuf {
        self.arguments.directory.join(format!("{}.got", place.worker(ran)))
    }

    /// The files that workers wrote so far.
    fn got(&self, kind: Option<Kind>) -> Vec<PathBuf> {
        let places = self.places.iter().filter(|place| kind.is_none_or(|kind| kind == place.kind));
        places
            .flat_map(|place| (1..=place.ran).map(move |ran| self.got_file(place, ran)))
            // A process that was ended early has none.
            .filter(|path| path.exists())
            .collect()
    }

    async fn until_each_kind_delivers(&mut self) -> Result<(), Problem> {
        for kind in [Kind::Rust, Kind::Java] {
            let waiting = now();
            while !self.delivers(kind)? {
                if waiting.elapsed() > Duration::from_secs(90) {
                    return Err(format!("no {kind} worker delivered anything within 90 s").into());
                }
                sleep(Duration::from_millis(200)).await;
            }
        }
        self.tell("both kinds deliver");
        Ok(())
    }

    fn delivers(&self, kind: Kind) -> Result<bool, Problem> {
        for path in self.got(Some(kind)) {
            if line::read(&path)?.iter().any(|entry| matches!(entry, Entry::Record(_))) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn check(&self, put: &Path, lineage: &[(String, String)]) -> Result<Check, Problem> {
        let mut check = Check::default();
        check.add_put(put)?;
        for path in self.got(None) {
            check.add_got(&path)?;
        }
        check.judge();
        check.judge_lineage(lineage);
        Ok(check)
    }

    async fn drain(&mut self, put: &Path, lineage: &[(String, String)]) -> Result<(), Problem> {
        let began = now();
        while self.check(put, lineage)?.is_incomplete() {
            if began.elapsed() > Duration::from_secs(90) {
                return Err("records are missing 90 s after the last change".into());
            }
            sleep(Duration::from_secs(1)).await;
        }
        self.tell("every record was delivered");
        Ok(())
    }

    /// Every shard that was split is finished, every other lease is written by a worker that runs.
    async fn leases_in_good_hands(&mut self) -> Result<(), Problem> {
        let began = now();
        loop {
            let before = self.store.list().await?;
            sleep(FAILOVER).await;
            let after = self.store.list().await?;
            let left = after.iter().filter(|lease| lease.checkpoint_owner.is_some()).count();
            let stuck: Vec<_> = after.iter().filter(|lease| !self.is_in_good_hands(lease, &before)).collect();
            if stuck.is_empty() && !after.is_empty() {
                self.tell(&format!("all {} leases are in good hands, {left} with a mark", after.len()));
                return Ok(());
            }
            if began.elapsed() > Duration::from_mins(1) {
                return Err(format!("leases are stuck a minute after the last change: {stuck:?}").into());
            }
        }
    }

    fn is_in_good_hands(&self, lease: &Lease, before: &[Lease]) -> bool {
        let runs = |worker: &str| {
            self.places.iter().any(|place| place.running.is_some() && worker == place.worker(place.ran))
        };
        let moved = before.iter().any(|old| old.key == lease.key && old.counter < lease.counter);
        // A Java 2.x worker that took a marked row leaves the mark, so that both names say nothing but "one of these".
        let mut owners = [&lease.owner, &lease.checkpoint_owner].into_iter().flatten();
        lease.is_finished() || (moved && owners.any(|owner| runs(owner.as_str())))
    }

    fn summary(&self) -> String {
        let events: Vec<_> = self.events.iter().map(|(what, count)| format!("{count} {what}")).collect();
        format!("seed {}: {}", self.arguments.seed, events.join(", "))
    }
}

async fn stop(mut child: Child) -> Result<(), Problem> {
    let Some(id) = child.id() else { return Ok(()) };
    // The standard library sends no other signal than SIGKILL.
    Command::new("kill").arg(id.to_string()).status().await?;
    if tokio::time::timeout(Duration::from_secs(30), child.wait()).await.is_err() {
        child.kill().await?;
        return Err(format!("process {id} did not stop within 30 s").into());
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a program in real time")]
fn now() -> Instant {
    Instant::now()
}
