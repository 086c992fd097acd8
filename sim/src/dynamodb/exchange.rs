//! A call in, an answer out: at once, late, or never, as the rules say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::refusal::Refusal;
use super::tables::Tables;
use super::{SimDynamoDb, TableUsage, TableWrite};
use crate::door::{EPOCH, NoAnswer};
use crate::engine::{Loss, loss_of};
use crate::rule::{RuleBook, Strike, Subject, Verdict};

/// How many calls the trace keeps.
const TRACE_LINES: usize = 1_000_000;

/// One call, as the SDK makes it.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) caller: Arc<str>,
    pub(super) operation: String,
    pub(super) input: Value,
    /// When its caller sent it, milliseconds since the epoch.
    pub(super) sent_at: u64,
}

impl Call {
    fn table(&self) -> Option<&str> {
        self.input.get("TableName").and_then(Value::as_str)
    }

    /// The key of the item that it is about.
    fn key(&self) -> Option<&str> {
        let key = self.input.get("Key").or_else(|| self.input.get("Item"))?.as_object()?;
        let text = |value: &Value| value.get("S")?.as_str().map(ToOwned::to_owned);
        let named = key.get("leaseKey").and_then(|value| value.get("S")).and_then(Value::as_str);
        named.or_else(|| {
            let first = key.values().find(|value| text(value).is_some())?;
            first.get("S").and_then(Value::as_str)
        })
    }
}

/// What the service answers.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Value,
}

/// What becomes of a call.
#[derive(Debug, Clone)]
enum Answer {
    Reply(Reply),
    Lost(Loss),
}

/// Who is told of each write.
pub(super) type Watch = Box<dyn Fn(&TableWrite) + Send>;

/// Everything that changes.
pub(super) struct State {
    pub(super) tables: Tables,
    pub(super) rules: RuleBook,
    pub(super) usage: BTreeMap<String, TableUsage>,
    pub(super) trace: Vec<String>,
    /// Operations for which the permission is missing.
    pub(super) denied: BTreeSet<String>,
    /// Delayed calls by when they arrive: they take effect then, also if their caller has gone.
    arriving: BTreeMap<(u64, u64), (Call, Option<Strike>)>,
    /// Answers to delayed calls that are waited for; none yet until the call arrives.
    awaited: BTreeMap<u64, Option<Answer>>,
    next_ticket: u64,
    pub(super) watches: Vec<Watch>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("tables", &self.tables).finish_non_exhaustive()
    }
}

impl State {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            tables: Tables::new(seed),
            rules: RuleBook::new(seed),
            usage: BTreeMap::new(),
            trace: Vec::new(),
            denied: BTreeSet::new(),
            arriving: BTreeMap::new(),
            awaited: BTreeMap::new(),
            next_ticket: 0,
            watches: Vec::new(),
        }
    }

    /// Lets the delayed calls arrive that are due.
    fn advance(&mut self, now: u64) {
        while let Some(entry) = self.arriving.first_entry().filter(|entry| entry.key().0 <= now) {
            let ((due, ticket), (call, strike)) = entry.remove_entry();
            let answer = self.answer(due, &call, strike.as_ref());
            if let Some(awaited) = self.awaited.get_mut(&ticket) {
                *awaited = Some(answer);
            }
        }
    }

    fn answer(&mut self, now: u64, call: &Call, strike: Option<&Strike>) -> Answer {
        let verdict = strike.map(|strike| strike.verdict);
        let answer = match (verdict, strike.and_then(loss_of)) {
            (Some(Verdict::LoseRequest), Some(loss)) => Answer::Lost(loss),
            (Some(Verdict::Throttle), _) => Answer::Reply(refused(&Refusal::throttled())),
            (Some(Verdict::Fail), _) => Answer::Reply(refused(&Refusal::internal())),
            (Some(Verdict::LoseAnswer), Some(loss)) => {
                self.take_effect(now, call);
                Answer::Lost(loss)
            }
            _ => Answer::Reply(self.take_effect(now, call)),
        };
        self.note(now, call, verdict, &answer);
        answer
    }

    fn take_effect(&mut self, now: u64, call: &Call) -> Reply {
        if self.denied.contains(&call.operation) {
            return refused(&Refusal::denied(&call.caller, &call.operation));
        }
        let before = self.watched(call);
        let usage = self.usage.entry(call.caller.to_string()).or_default();
        *usage.calls.entry(call.operation.clone()).or_default() += 1;
        let reply = match self.tables.call(now, &call.operation, &call.input, usage) {
            Ok(body) => Reply { status: 200, body },
            Err(refusal) => refused(&refusal),
        };
        self.tell(now, call, before);
        reply
    }

    /// The item that the call is about, if somebody watches.
    fn watched(&self, call: &Call) -> Option<Value> {
        if self.watches.is_empty() {
            return None;
        }
        self.tables.item(call.table()?, call.key()?).cloned().map(Value::Object)
    }

    fn tell(&self, now: u64, call: &Call, before: Option<Value>) {
        let after = self.watched(call);
        let (Some(table), Some(key)) = (call.table(), call.key()) else { return };
        if before == after {
            return;
        }
        let (caller, table, key) = (Arc::clone(&call.caller), table.to_owned(), key.to_owned());
        let (sent_at_millis, at_millis) = (call.sent_at - EPOCH, now - EPOCH);
        let write = TableWrite { caller, table, key, sent_at_millis, at_millis, before, after };
        for watch in &self.watches {
            watch(&write);
        }
    }

    fn note(&mut self, now: u64, call: &Call, verdict: Option<Verdict>, answer: &Answer) {
        if self.trace.len() >= TRACE_LINES {
            return;
        }
        let at = now.saturating_sub(EPOCH);
        let outcome = match (answer, verdict) {
            (Answer::Lost(_), Some(Verdict::LoseRequest)) => "request lost".to_owned(),
            (Answer::Lost(_), _) => "answer lost".to_owned(),
            (Answer::Reply(reply), _) if reply.status == 200 => "ok".to_owned(),
            (Answer::Reply(reply), _) => {
                let code = reply.body.get("__type").and_then(Value::as_str).unwrap_or_default();
                code.rsplit('#').next().unwrap_or_default().to_owned()
            }
        };
        let Call { caller, operation, .. } = call;
        let (table, key) = (call.table().unwrap_or("-"), call.key().unwrap_or("-"));
        self.trace.push(format!("{at} {caller} {operation} {table} {key} {outcome}"));
    }
}

fn refused(refusal: &Refusal) -> Reply {
    let mut body = json!({ "__type": refusal.kind(), "message": refusal.message });
    if let (Some(item), Some(body)) = (&refusal.item, body.as_object_mut()) {
        body.insert("Item".to_owned(), Value::Object(item.clone()));
    }
    Reply { status: refusal.status, body }
}

impl SimDynamoDb {
    /// Answers one call. If the future is dropped before the answer, the call has taken effect or, if delayed, still will.
    pub(super) async fn exchange(&self, call: Call) -> Result<Reply, NoAnswer> {
        let answer = match self.enter(call) {
            Ok(answer) => answer,
            Err((due, ticket)) => self.wait(due, ticket).await?,
        };
        match answer {
            Answer::Reply(reply) => Ok(reply),
            Answer::Lost(Loss { broken_after: Some(millis) })
                if Duration::from_millis(millis) < self.shared.call_timeout =>
            {
                tokio::time::sleep(Duration::from_millis(millis)).await;
                Err(NoAnswer::ConnectionBroken)
            }
            Answer::Lost(_) => {
                tokio::time::sleep(self.shared.call_timeout).await;
                Err(NoAnswer::TimedOut)
            }
        }
    }

    /// The answer, or when the call arrives and which one it is.
    fn enter(&self, call: Call) -> Result<Answer, (u64, u64)> {
        let now = self.now_millis();
        let mut state = self.state();
        state.advance(now);
        let subject = Subject {
            operation: &call.operation,
            stream: call.table(),
            shards: call.key().map(ToOwned::to_owned).into_iter().collect(),
            consumer: None,
            caller: &call.caller,
        };
        let decision = state.rules.decide(Duration::from_millis(now - EPOCH), &subject);
        if decision.delay.is_zero() {
            return Ok(state.answer(now, &call, decision.strike.as_ref()));
        }
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        let due = now.saturating_add(super::millis(decision.delay).max(1));
        state.awaited.insert(ticket, None);
        state.arriving.insert((due, ticket), (call, decision.strike));
        Err((due, ticket))
    }

    async fn wait(&self, due: u64, ticket: u64) -> Result<Answer, NoAnswer> {
        let abandon = Abandon { tables: self, ticket };
        let delay = Duration::from_millis(due.saturating_sub(self.now_millis()));
        if delay >= self.shared.call_timeout {
            tokio::time::sleep(self.shared.call_timeout).await;
            return Err(NoAnswer::TimedOut);
        }
        loop {
            let now = self.now_millis();
            {
                let mut state = abandon.tables.state();
                state.advance(now);
                if let Some(Some(answer)) = state.awaited.get(&ticket) {
                    return Ok(answer.clone());
                }
            }
            let rest = due.saturating_sub(now).max(1);
            tokio::time::sleep(Duration::from_millis(rest)).await;
        }
    }
}

/// However the wait ends, nobody will collect this answer any more.
struct Abandon<'a> {
    tables: &'a SimDynamoDb,
    ticket: u64,
}

impl Drop for Abandon<'_> {
    fn drop(&mut self) {
        self.tables.state().awaited.remove(&self.ticket);
    }
}
