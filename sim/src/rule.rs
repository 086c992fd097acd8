//! Faults: a rule says which calls it means and what happens to them.
//!
//! Whether a rule strikes is a pure function of (seed, rule, caller, how many matching calls that caller made):
//! leaving one rule out moves no other, and the order in which different callers run does not matter.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What happens to a call that a [`Rule`] strikes.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Verdict {
    /// The call goes through, and no later rule is asked: an exemption.
    Pass,
    /// The call reaches the engine this much later, and takes effect then even if its caller has gone.
    /// Later rules are still asked, and delays add up.
    Delay(Duration),
    /// Answered `ProvisionedThroughputExceededException` (control plane: `LimitExceededException`) without effect.
    /// On `PutRecords`, a rule with a shard throttles only the entries of that shard.
    Throttle,
    /// Answered HTTP 500 `InternalFailure` without effect. On `PutRecords`, a rule with a shard fails only its entries.
    Fail,
    /// Some entries of a `PutRecords` call are refused in an answer that is otherwise a success; other
    /// operations pass.
    FailEntries {
        /// Chance of each entry, from 0.0 to 1.0.
        probability: f64,
        /// What the refused entries are told.
        error: EntryError,
    },
    /// The call never reaches the engine: its caller sees a broken connection or a timeout, after a drawn delay. Over
    /// HTTP/2, all calls on that connection break with it.
    LoseRequest,
    /// The call takes effect, but its caller sees a broken connection or a timeout, after a drawn delay. Over HTTP/2, all
    /// calls on that connection break with it.
    LoseAnswer,
    /// `GetRecords` is answered `ExpiredIteratorException`; other operations pass.
    ExpireIterator,
    /// A subscription begins, and its connection (over HTTP/2: its stream) breaks this long after; other operations than
    /// `SubscribeToShard` pass.
    CutSubscription {
        /// Whole milliseconds; zero: right after the first frame.
        after: Duration,
    },
    /// A subscription begins and sends nothing any more this long after, not even an empty event or its end, while its
    /// connection stays open: a broken network that nobody has noticed. Other operations than `SubscribeToShard` pass.
    StallSubscription {
        /// Whole milliseconds; zero: right after the first frame.
        after: Duration,
    },
}

/// The error code of a refused `PutRecords` entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntryError {
    /// `ProvisionedThroughputExceededException`.
    Throttled,
    /// `InternalFailure`.
    Internal,
}

/// Which calls are meant, how often they are struck, and the verdict on them.
///
/// ```
/// use kinesis_sim::{EntryError, Rule, Verdict};
/// let rule = Rule::operation("PutRecords")
///     .stream("orders")
///     .times(3)
///     .then(Verdict::FailEntries { probability: 0.5, error: EntryError::Internal });
/// # let _ = rule;
/// ```
#[derive(Debug, Clone)]
pub struct Rule {
    pub(crate) operation: Option<String>,
    pub(crate) stream: Option<String>,
    pub(crate) shard: Option<String>,
    pub(crate) consumer: Option<String>,
    pub(crate) caller: Option<String>,
    pub(crate) times: Option<u64>,
    pub(crate) probability: f64,
    pub(crate) window: Option<Range<Duration>>,
    pub(crate) verdict: Verdict,
}

impl Rule {
    /// Means the calls of one operation, by its name in the service's API.
    pub fn operation(name: impl Into<String>) -> Self {
        Self { operation: Some(name.into()), ..Self::any() }
    }

    /// Means every call.
    pub fn any() -> Self {
        Self {
            operation: None,
            stream: None,
            shard: None,
            consumer: None,
            caller: None,
            times: None,
            probability: 1.0,
            window: None,
            verdict: Verdict::Pass,
        }
    }

    /// Only calls on this stream (by name).
    #[must_use]
    pub fn stream(mut self, name: impl Into<String>) -> Self {
        self.stream = Some(name.into());
        self
    }

    /// Only calls that touch this shard, by its id in the service's form (`shardId-000000000000`).
    #[must_use]
    pub fn shard(mut self, shard_id: impl Display) -> Self {
        self.shard = Some(shard_id.to_string());
        self
    }

    /// Only calls about this registered consumer, by name: subscriptions, descriptions and so on.
    #[must_use]
    pub fn consumer(mut self, name: impl Into<String>) -> Self {
        self.consumer = Some(name.into());
        self
    }

    /// Only calls of the client with this name ([`Sim::client_named`](crate::Sim::client_named)); over HTTP, of the
    /// client with this access key id.
    #[must_use]
    pub fn caller(mut self, name: impl Into<String>) -> Self {
        self.caller = Some(name.into());
        self
    }

    /// Strikes at most so many calls, over all callers. Default: no bound.
    #[must_use]
    pub fn times(mut self, count: u64) -> Self {
        self.times = Some(count);
        self
    }

    /// Strikes each matching call with this chance, from 0.0 to 1.0 (values outside are moved to the nearer end).
    /// Default: 1.0.
    #[must_use]
    pub fn probability(mut self, probability: f64) -> Self {
        self.probability = probability.clamp(0.0, 1.0);
        self
    }

    /// Only calls that arrive in this window, counted from the first use of the simulation.
    #[must_use]
    pub fn window(mut self, window: Range<Duration>) -> Self {
        self.window = Some(window);
        self
    }

    /// What happens to the calls that are struck. Default: [`Verdict::Pass`].
    #[must_use]
    pub fn then(mut self, verdict: Verdict) -> Self {
        self.verdict = verdict;
        self
    }

    fn means(&self, elapsed: Duration, subject: &Subject<'_>) -> bool {
        let is = |wanted: &Option<String>, given: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| Some(wanted) == given)
        };
        is(&self.operation, Some(subject.operation))
            && is(&self.stream, subject.stream)
            && is(&self.consumer, subject.consumer)
            && is(&self.caller, Some(subject.caller))
            && self.shard.as_ref().is_none_or(|wanted| subject.shards.contains(wanted))
            && self.window.as_ref().is_none_or(|window| window.contains(&elapsed))
    }
}

/// What a call is about, as far as rules ask.
#[derive(Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) operation: &'a str,
    pub(crate) stream: Option<&'a str>,
    pub(crate) shards: Vec<String>,
    pub(crate) consumer: Option<&'a str>,
    pub(crate) caller: &'a str,
}

/// The verdicts of all rules on one call.
#[derive(Debug, Clone, Default)]
pub(crate) struct Decision {
    pub(crate) delay: Duration,
    pub(crate) strike: Option<Strike>,
}

/// The one verdict that decides, and the numbers drawn for it.
#[derive(Debug, Clone)]
pub(crate) struct Strike {
    pub(crate) verdict: Verdict,
    /// The rule's shard: entries of other shards are spared.
    pub(crate) shard: Option<String>,
    pub(crate) draw: Draw,
}

impl Strike {
    /// What an entry of a `PutRecords` call that goes to `shard_id` is told, if it is struck.
    pub(crate) fn on_entry(&self, shard_id: &str, entry: u64) -> Option<EntryError> {
        if self.shard.as_deref().is_some_and(|only| only != shard_id) {
            return None;
        }
        match self.verdict {
            Verdict::Throttle => Some(EntryError::Throttled),
            Verdict::Fail => Some(EntryError::Internal),
            Verdict::FailEntries { probability, error } => {
                (self.draw.unit(1 + entry) < probability).then_some(error)
            }
            _ => None,
        }
    }
}

/// Numbers that depend on nothing but what identifies the call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Draw(u64);

impl Draw {
    /// A number in `[0, 1)`; each salt gives another.
    pub(crate) fn unit(self, salt: u64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "53 bits are exact in an f64")]
        let bits = (mix(self.0 ^ mix(salt)) >> 11) as f64;
        bits / 9_007_199_254_740_992.0
    }
}

/// All rules in force, in the order in which they were added.
#[derive(Debug)]
pub(crate) struct RuleBook {
    seed: u64,
    next: u64,
    rules: BTreeMap<u64, ActiveRule>,
}

#[derive(Debug)]
struct ActiveRule {
    rule: Rule,
    matched: BTreeMap<String, u64>,
    hits: Arc<AtomicU64>,
}

impl RuleBook {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, next: 0, rules: BTreeMap::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether any rule asks for the shards that a call touches, which cost a hash of each key to know.
    pub(crate) fn asks_for_shards(&self) -> bool {
        self.rules.values().any(|active| active.rule.shard.is_some())
    }

    /// Adds a rule; the number names it to `remove`, the counter shows its hits.
    pub(crate) fn add(&mut self, rule: Rule) -> (u64, Arc<AtomicU64>) {
        let number = self.next;
        self.next += 1;
        let hits = Arc::new(AtomicU64::new(0));
        let shown = Arc::clone(&hits);
        self.rules.insert(number, ActiveRule { rule, matched: BTreeMap::new(), hits });
        (number, shown)
    }

    /// Whether there was such a rule.
    pub(crate) fn remove(&mut self, number: u64) -> bool {
        self.rules.remove(&number).is_some()
    }

    /// As `remove`, unless the number has gone to another rule since: numbers begin anew after a reset.
    pub(crate) fn remove_own(&mut self, number: u64, hits: &Arc<AtomicU64>) {
        if self.rules.get(&number).is_some_and(|active| Arc::ptr_eq(&active.hits, hits)) {
            self.rules.remove(&number);
        }
    }

    #[cfg(feature = "server")]
    pub(crate) fn clear(&mut self) {
        self.rules.clear();
    }

    /// Number, rule and hits of each, in order.
    #[cfg(feature = "server")]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &Rule, u64)> {
        self.rules.iter().map(|(number, active)| (*number, &active.rule, active.hits.load(Ordering::Relaxed)))
    }

    /// Asks every rule in order, until one decides.
    pub(crate) fn decide(&mut self, elapsed: Duration, subject: &Subject<'_>) -> Decision {
        let mut decision = Decision::default();
        for (number, active) in &mut self.rules {
            if !active.rule.means(elapsed, subject) {
                continue;
            }
            let ordinal = if let Some(count) = active.matched.get_mut(subject.caller) {
                *count += 1;
                *count
            } else {
                active.matched.insert(subject.caller.to_owned(), 0);
                0
            };
            let draw = Draw(mix(self.seed ^ mix(*number ^ mix(hash(subject.caller) ^ mix(ordinal)))));
            let spent = active.rule.times.is_some_and(|times| active.hits.load(Ordering::Relaxed) >= times);
            if spent || draw.unit(0) >= active.rule.probability {
                continue;
            }
            active.hits.fetch_add(1, Ordering::Relaxed);
            if let Verdict::Delay(delay) = active.rule.verdict {
                decision.delay += delay;
            } else {
                decision.strike =
                    Some(Strike { verdict: active.rule.verdict, shard: active.rule.shard.clone(), draw });
                break;
            }
        }
        decision
    }
}

/// Keeps a rule in force; dropping it removes the rule.
#[must_use = "the rule is removed as soon as its guard is dropped"]
pub struct RuleGuard {
    pub(crate) hits: Arc<AtomicU64>,
    pub(crate) remove: Option<Box<dyn FnOnce() + Send + Sync>>,
}

impl RuleGuard {
    /// How many calls the rule has struck so far.
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for RuleGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuleGuard").field("hits", &self.hits()).finish_non_exhaustive()
    }
}

impl Drop for RuleGuard {
    fn drop(&mut self) {
        if let Some(remove) = self.remove.take() {
            remove();
        }
    }
}

/// A well-spread 64-bit number from another (the finaliser of `SplitMix64`).
pub(crate) fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A 64-bit number from a text (FNV-1a), the same on every machine.
pub(crate) fn hash(text: &str) -> u64 {
    text.bytes()
        .fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(caller: &str) -> Subject<'_> {
        Subject {
            operation: "PutRecords",
            stream: Some("orders"),
            shards: vec!["shardId-000000000001".to_owned()],
            consumer: None,
            caller,
        }
    }

    fn strikes(book: &mut RuleBook, caller: &str, count: usize) -> Vec<bool> {
        (0..count).map(|_| book.decide(Duration::ZERO, &subject(caller)).strike.is_some()).collect()
    }

    #[test]
    fn a_rule_means_only_calls_that_match_every_condition() {
        let all = Rule::operation("PutRecords")
            .stream("orders")
            .shard("shardId-000000000001")
            .caller("a")
            .window(Duration::from_secs(1)..Duration::from_secs(2));
        let at = Duration::from_millis(1500);
        assert!(all.means(at, &subject("a")));
        assert!(!all.means(Duration::from_secs(2), &subject("a")), "the window's end is outside");
        assert!(!all.means(at, &subject("b")));
        assert!(!all.clone().stream("other").means(at, &subject("a")));
        assert!(!all.clone().shard("shardId-000000000000").means(at, &subject("a")));
        assert!(!Rule::operation("PutRecord").means(at, &subject("a")));
        assert!(Rule::any().means(at, &subject("a")));
    }

    #[test]
    fn times_bounds_hits_over_all_callers() {
        let mut book = RuleBook::new(1);
        let (_, hits) = book.add(Rule::any().times(3).then(Verdict::Throttle));
        assert_eq!(strikes(&mut book, "a", 2), [true, true]);
        assert_eq!(strikes(&mut book, "b", 2), [true, false]);
        assert_eq!(hits.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn decisions_on_a_caller_do_not_depend_on_other_callers_or_rules_after() {
        let rule = || Rule::any().probability(0.5).then(Verdict::Fail);
        let mut alone = RuleBook::new(9);
        alone.add(rule());
        let expected = strikes(&mut alone, "a", 64);
        assert!(expected.contains(&true) && expected.contains(&false));

        let mut mixed = RuleBook::new(9);
        mixed.add(rule());
        mixed.add(Rule::any().probability(0.3).then(Verdict::Throttle));
        let mut seen = Vec::new();
        for _ in 0..64 {
            let decision = mixed.decide(Duration::ZERO, &subject("a"));
            seen.push(decision.strike.is_some_and(|strike| strike.verdict == Verdict::Fail));
            mixed.decide(Duration::ZERO, &subject("b"));
        }
        assert_eq!(seen, expected);
    }

    #[test]
    fn probability_strikes_about_that_share() {
        let mut book = RuleBook::new(4);
        book.add(Rule::any().probability(0.1).then(Verdict::Fail));
        let count = strikes(&mut book, "a", 10_000).into_iter().filter(|struck| *struck).count();
        assert!((900..1100).contains(&count), "{count}");
    }

    #[test]
    fn delays_add_up_and_a_pass_ends_the_search() {
        let mut book = RuleBook::new(1);
        book.add(Rule::any().then(Verdict::Delay(Duration::from_millis(5))));
        book.add(Rule::any().then(Verdict::Delay(Duration::from_millis(7))));
        let (pass, _) = book.add(Rule::any().then(Verdict::Pass));
        book.add(Rule::any().then(Verdict::Fail));
        let decision = book.decide(Duration::ZERO, &subject("a"));
        assert_eq!(decision.delay, Duration::from_millis(12));
        assert_eq!(decision.strike.map(|strike| strike.verdict), Some(Verdict::Pass));
        book.remove(pass);
        let decision = book.decide(Duration::ZERO, &subject("a"));
        assert_eq!(decision.strike.map(|strike| strike.verdict), Some(Verdict::Fail));
    }

    #[test]
    fn a_strike_with_a_shard_spares_the_entries_of_others() {
        let strike = Strike {
            verdict: Verdict::Throttle,
            shard: Some("shardId-000000000001".to_owned()),
            draw: Draw(1),
        };
        assert_eq!(strike.on_entry("shardId-000000000001", 0), Some(EntryError::Throttled));
        assert_eq!(strike.on_entry("shardId-000000000000", 0), None);
    }
}
