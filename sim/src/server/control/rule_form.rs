//! Rules as JSON.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::rule::{EntryError, Rule, Verdict};

/// A rule as users write it and read it back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleForm {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    operation: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stream: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shard: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    consumer: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    caller: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    times: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    probability: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    for_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    window: Option<WindowForm>,
    verdict: VerdictForm,
    /// Only read back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hits: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WindowForm {
    from_ms: u64,
    to_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum VerdictForm {
    Pass,
    Delay { ms: u64 },
    Throttle,
    Fail,
    FailEntries { probability: f64, error: EntryErrorForm },
    LoseRequest,
    LoseAnswer,
    ExpireIterator,
    CutSubscription { after_ms: u64 },
    StallSubscription { after_ms: u64 },
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum EntryErrorForm {
    Throttled,
    Internal,
}

impl RuleForm {
    pub(super) fn of(rule: &Rule) -> Self {
        Self {
            id: None,
            operation: rule.operation.clone(),
            stream: rule.stream.clone(),
            shard: rule.shard.clone(),
            consumer: rule.consumer.clone(),
            caller: rule.caller.clone(),
            times: rule.times,
            probability: (rule.probability < 1.0).then_some(rule.probability),
            for_ms: None,
            window: rule
                .window
                .as_ref()
                .map(|window| WindowForm { from_ms: millis(window.start), to_ms: millis(window.end) }),
            verdict: VerdictForm::of(rule.verdict),
            hits: None,
        }
    }

    pub(super) fn with_place(mut self, id: u64, hits: u64) -> Self {
        (self.id, self.hits) = (Some(id), Some(hits));
        self
    }

    /// The rule that is meant, `elapsed` after the start of the simulation.
    pub(super) fn into_rule(self, elapsed: Duration) -> Result<Rule, String> {
        if let Some(operation) = self.operation.as_deref()
            && crate::operation::find(operation).is_none()
        {
            return Err(format!("there is no operation `{operation}`: use a name of the service's API"));
        }
        let probability = self.probability.unwrap_or(1.0);
        check_probability(probability)?;
        let window = match (self.window, self.for_ms) {
            (Some(_), Some(_)) => {
                return Err("a rule has either `window` or `for_ms`: leave one out".to_owned());
            }
            (Some(WindowForm { from_ms, to_ms }), None) => {
                Some(Duration::from_millis(from_ms)..Duration::from_millis(to_ms))
            }
            (None, Some(length)) => Some(elapsed..elapsed.saturating_add(Duration::from_millis(length))),
            (None, None) => None,
        };
        Ok(Rule {
            operation: self.operation,
            stream: self.stream,
            shard: self.shard,
            consumer: self.consumer,
            caller: self.caller,
            times: self.times,
            probability,
            window,
            verdict: self.verdict.into_verdict()?,
        })
    }
}

impl VerdictForm {
    fn of(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Pass => Self::Pass,
            Verdict::Delay(delay) => Self::Delay { ms: millis(delay) },
            Verdict::Throttle => Self::Throttle,
            Verdict::Fail => Self::Fail,
            Verdict::FailEntries { probability, error } => Self::FailEntries {
                probability,
                error: match error {
                    EntryError::Throttled => EntryErrorForm::Throttled,
                    EntryError::Internal => EntryErrorForm::Internal,
                },
            },
            Verdict::LoseRequest => Self::LoseRequest,
            Verdict::LoseAnswer => Self::LoseAnswer,
            Verdict::ExpireIterator => Self::ExpireIterator,
            Verdict::CutSubscription { after } => Self::CutSubscription { after_ms: millis(after) },
            Verdict::StallSubscription { after } => Self::StallSubscription { after_ms: millis(after) },
        }
    }

    fn into_verdict(self) -> Result<Verdict, String> {
        Ok(match self {
            Self::Pass => Verdict::Pass,
            Self::Delay { ms } => Verdict::Delay(Duration::from_millis(ms)),
            Self::Throttle => Verdict::Throttle,
            Self::Fail => Verdict::Fail,
            Self::FailEntries { probability, error } => {
                check_probability(probability)?;
                let error = match error {
                    EntryErrorForm::Throttled => EntryError::Throttled,
                    EntryErrorForm::Internal => EntryError::Internal,
                };
                Verdict::FailEntries { probability, error }
            }
            Self::LoseRequest => Verdict::LoseRequest,
            Self::LoseAnswer => Verdict::LoseAnswer,
            Self::ExpireIterator => Verdict::ExpireIterator,
            Self::CutSubscription { after_ms } => {
                Verdict::CutSubscription { after: Duration::from_millis(after_ms) }
            }
            Self::StallSubscription { after_ms } => {
                Verdict::StallSubscription { after: Duration::from_millis(after_ms) }
            }
        })
    }
}

fn check_probability(probability: f64) -> Result<(), String> {
    if (0.0..=1.0).contains(&probability) {
        return Ok(());
    }
    Err(format!("a probability of {probability} makes no sense: use 0 to 1"))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> Result<Rule, String> {
        let form: RuleForm = serde_json::from_str(text).map_err(|error| error.to_string())?;
        form.into_rule(Duration::from_secs(100))
    }

    #[test]
    fn every_verdict_and_condition_comes_back_as_it_was_written() {
        let verdicts = [
            r#""pass""#,
            r#"{"delay":{"ms":250}}"#,
            r#""throttle""#,
            r#""fail""#,
            r#"{"fail_entries":{"probability":0.5,"error":"throttled"}}"#,
            r#"{"fail_entries":{"probability":1.0,"error":"internal"}}"#,
            r#""lose_request""#,
            r#""lose_answer""#,
            r#""expire_iterator""#,
            r#"{"cut_subscription":{"after_ms":1000}}"#,
            r#"{"stall_subscription":{"after_ms":1000}}"#,
        ];
        for verdict in verdicts {
            let text = format!(r#"{{"verdict":{verdict}}}"#);
            assert_eq!(serde_json::to_string(&RuleForm::of(&rule(&text).unwrap())).unwrap(), text);
        }
        let text = r#"{"operation":"SubscribeToShard","stream":"orders","shard":"shardId-000000000001","consumer":"reader","caller":"a","times":3,"probability":0.25,"window":{"from_ms":1,"to_ms":2},"verdict":"fail"}"#;
        assert_eq!(serde_json::to_string(&RuleForm::of(&rule(text).unwrap())).unwrap(), text);
    }

    #[test]
    fn for_so_long_counts_from_now() {
        let rule = rule(r#"{"for_ms":5000,"verdict":"fail"}"#).unwrap();
        assert_eq!(rule.window, Some(Duration::from_secs(100)..Duration::from_secs(105)));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_a_sentence() {
        let cases = [
            ("{}", "missing field `verdict`"),
            (r#"{"verdict":"explode"}"#, "unknown variant `explode`"),
            (r#"{"verdict":"fail","colour":1}"#, "unknown field `colour`"),
            (r#"{"verdict":"fail","operation":"MakeCoffee"}"#, "there is no operation `MakeCoffee`"),
            (r#"{"verdict":"fail","probability":2}"#, "a probability of 2"),
            (r#"{"verdict":{"fail_entries":{"probability":-1,"error":"internal"}}}"#, "a probability of -1"),
            (
                r#"{"verdict":"fail","for_ms":1,"window":{"from_ms":0,"to_ms":1}}"#,
                "either `window` or `for_ms`",
            ),
        ];
        for (text, expected) in cases {
            let error = rule(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
