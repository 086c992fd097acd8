//! Knobs by name and text: from a Java properties file, the environment, a command line.

use std::sync::Arc;

use crate::config::ProducerConfig;
use crate::config::knobs::{self, KNOBS, Knob, Value};
use crate::error::ConfigError;

const CLIENT: &str = "it belongs to the AWS client that is passed to Producer::start";
const NO_DAEMON: &str = "there is no child process here";
const ALWAYS: &str = "it is always on here, at no cost worth a switch";
const UPLOAD: &str = "there is no metrics upload; Producer::stats and hooks are not filtered";
const TOKIO: &str = "requests run on the caller's tokio runtime";
const GLUE: &str = "there is no schema registry; encode the data before it is put";

/// What the Java KPL can be told and this producer cannot, with the reason.
const OF_JAVA_ONLY: [(&str, &str); 41] = [
    ("MinConnections", "the Java KPL does not use it either"),
    ("ThreadingModel", TOKIO),
    ("ThreadPoolSize", TOKIO),
    ("UserRecordTimeoutInMillis", "wrap the ticket in tokio::time::timeout"),
    ("EnableOldestFutureTracker", ALWAYS),
    ("ReturnUserRecordOnFailure", ALWAYS),
    ("EnableDaemonHealthCheck", NO_DAEMON),
    ("DaemonHealthCheckTimeoutMs", NO_DAEMON),
    ("NativeExecutable", NO_DAEMON),
    ("TempDirectory", NO_DAEMON),
    ("EnableCoreDumps", NO_DAEMON),
    ("CredentialsProvider", CLIENT),
    ("MetricsCredentialsProvider", UPLOAD),
    ("CredentialsRefreshDelay", CLIENT),
    ("Region", CLIENT),
    ("KinesisEndpoint", CLIENT),
    ("KinesisPort", CLIENT),
    ("CloudwatchEndpoint", UPLOAD),
    ("CloudwatchPort", UPLOAD),
    ("StsEndpoint", CLIENT),
    ("StsPort", CLIENT),
    ("ProxyHost", CLIENT),
    ("ProxyPort", CLIENT),
    ("ProxyUserName", CLIENT),
    ("ProxyPassword", CLIENT),
    ("VerifyCertificate", CLIENT),
    ("CaCertPath", CLIENT),
    ("CaCertFile", CLIENT),
    ("MetricsLevel", UPLOAD),
    ("MetricsGranularity", UPLOAD),
    ("MetricsNamespace", UPLOAD),
    ("MetricsUploadDelay", UPLOAD),
    ("AdditionalMetricsDimension", UPLOAD),
    ("AdditionalMetricDims", UPLOAD),
    ("LogLevel", "set the level of your tracing subscriber"),
    ("GlueSchemaRegistryConfiguration", GLUE),
    ("GlueSchemaRegistryCredentialsProvider", GLUE),
    ("GlueSchemaRegistryPropertiesFilePath", GLUE),
    ("SchemaRegistryConfiguration", GLUE),
    ("SchemaRegistryPropertiesFilePath", GLUE),
    ("AutoRestart", NO_DAEMON),
];

/// A knob of the Java KPL that was given and has no meaning here.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct IgnoredKnob {
    /// As it was given.
    pub name: Arc<str>,
    /// Why it has no meaning, and what to do instead.
    pub reason: &'static str,
}

impl ProducerConfig {
    /// Sets one knob by its name, from text. Times are in milliseconds, as in the Java KPL's properties; switches are `true` or `false`.
    ///
    /// Names are those of the `with_` methods or of the Java KPL, in any spelling: `record_ttl`, `RecordTtl`, `record-ttl`.
    /// A knob that only the Java KPL has is noted in [`ignored`](Self::ignored) and otherwise without effect.
    ///
    /// # Errors
    /// A name that neither has, with the nearest one; a value that is no number, or out of range.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), ConfigError> {
        if let Some(knob) = KNOBS.iter().find(|knob| same(knob.name, name)) {
            return self.set_knob(knob, value.trim());
        }
        if let Some((_, reason)) = OF_JAVA_ONLY.iter().find(|(of_java, _)| same(of_java, name)) {
            tracing::warn!(name, reason, "this knob of the Java KPL has no effect");
            self.ignored.push(IgnoredKnob { name: name.into(), reason });
            return Ok(());
        }
        Err(ConfigError::UnknownKnob { name: name.into(), nearest: nearest(name) })
    }

    /// The defaults for this stream, changed by the text of a Java properties file as the Java KPL loads it.
    ///
    /// # Errors
    /// As [`set`](Self::set) and [`validate`](Self::validate) say it. (The Java KPL only warns of a name that it does not know.)
    pub fn from_properties(stream: impl Into<Arc<str>>, text: &str) -> Result<Self, ConfigError> {
        let mut config = Self::new(stream);
        for (name, value) in properties(text) {
            config.set(&name, &value)?;
        }
        config.validate()?;
        Ok(config)
    }

    /// Knobs of the Java KPL that were set by name and have no effect here.
    pub fn ignored(&self) -> &[IgnoredKnob] {
        &self.ignored
    }

    fn set_knob(&mut self, knob: &Knob, value: &str) -> Result<(), ConfigError> {
        let unreadable =
            |expected| ConfigError::Unreadable { name: knob.name, value: value.into(), expected };
        match &knob.value {
            Value::Switch(set) => match value {
                "true" => set(self, true),
                "false" => set(self, false),
                _ => return Err(unreadable("true or false".into())),
            },
            Value::Number { with_unit, minimum, maximum, set, .. } => {
                let number = value.parse().map_err(|_| unreadable("a whole number".into()))?;
                knobs::in_range(with_unit, number, *minimum, *maximum)?;
                set(self, number);
            }
            Value::Choice { choices, set } => {
                let choice = choices.iter().position(|choice| same(choice, value));
                set(self, choice.ok_or_else(|| unreadable(choices.join(" or ")))?);
            }
        }
        Ok(())
    }
}

/// Letters and digits alone, without case.
fn plain(name: &str) -> impl Iterator<Item = char> {
    name.chars()
        .filter(|character| character.is_alphanumeric())
        .map(|character| character.to_ascii_lowercase())
}

fn same(known: &str, given: &str) -> bool {
    plain(known).eq(plain(given))
}

/// The known name that is spelled most like this one, if any is close.
fn nearest(given: &str) -> Option<&'static str> {
    let given: String = plain(given).collect();
    let known = KNOBS.iter().map(|knob| knob.name).chain(OF_JAVA_ONLY.iter().map(|(name, _)| *name));
    let likeness = |name: &str| strsim::jaro_winkler(&plain(name).collect::<String>(), &given);
    known
        .map(|name| (likeness(name), name))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| name)
}

/// Names and values of a Java properties file: `#` and `!` begin comments, `=`, `:` or a space divides, a backslash at the end of a
/// line continues it, and elsewhere it quotes the next character.
fn properties(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut lines = text.lines().map(str::trim_start);
    while let Some(line) = lines.next() {
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let mut line = line.to_owned();
        while continues(&line) {
            line.pop();
            line.push_str(lines.next().unwrap_or_default());
        }
        let end = line.find(|character: char| "=:".contains(character) || character.is_whitespace());
        let (name, rest) = line.split_at(end.unwrap_or(line.len()));
        let rest = rest.trim_start();
        let value = rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start();
        found.push((name.to_owned(), unquoted(value)));
    }
    found
}

fn continues(line: &str) -> bool {
    line.chars().rev().take_while(|character| *character == '\\').count() % 2 == 1
}

fn unquoted(value: &str) -> String {
    let mut characters = value.chars();
    let mut text = String::with_capacity(value.len());
    while let Some(character) = characters.next() {
        text.extend(if character == '\\' { characters.next() } else { Some(character) });
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Ordering;

    #[test]
    fn a_properties_file_of_the_java_kpl_is_read_as_it_is() {
        let text = "# our producer\n\
            RecordMaxBufferedTime = 250\n\
            ! another comment\n\
            MaxConnections=8\n\
            AggregationMaxSize: 100000\n\
            RateLimit 100\n\
            FailIfThrottled = \\\n   true\n\
            Region = eu-west-1\n\
            \n\
            ThreadingModel = POOLED\n\
            MinConnections = 4\n";
        let config = ProducerConfig::from_properties("orders", text).unwrap();
        assert_eq!(config.record_max_buffered_time, Duration::from_millis(250));
        assert_eq!((config.max_connections, config.aggregation_max_size), (8, 100_000));
        assert_eq!((config.rate_limit, config.fail_if_throttled), (100, true));
        let ignored: Vec<_> = config.ignored().iter().map(|ignored| &*ignored.name).collect();
        assert_eq!(ignored, ["Region", "ThreadingModel", "MinConnections"]);
        assert_eq!(config.ignored()[0].reason, CLIENT);
        assert!(config.ignored().iter().all(|ignored| !ignored.reason.is_empty()));
    }

    #[test]
    fn every_knob_can_be_set_by_its_name_in_both_spellings() {
        for knob in &KNOBS {
            let value = match &knob.value {
                Value::Switch(_) => "true".to_owned(),
                Value::Number { minimum, .. } => minimum.to_string(),
                Value::Choice { choices, .. } => choices[1].to_owned(),
            };
            let pascal: String =
                knob.name.split('_').map(|word| word[..1].to_uppercase() + &word[1..]).collect();
            for name in [knob.name, &pascal] {
                let mut config = ProducerConfig::new("orders");
                assert_eq!(config.set(name, &value), Ok(()), "{name}");
                assert!(config.ignored().is_empty());
            }
        }
    }

    #[test]
    fn what_cannot_be_set_is_refused_with_what_to_do() {
        let say = |name, value| ProducerConfig::new("orders").set(name, value).unwrap_err().to_string();
        assert_eq!(
            say("RecordMaxBuferedTime", "100"),
            "there is no knob \"RecordMaxBuferedTime\": did you mean record_max_buffered_time?"
        );
        assert_eq!(say("Colour", "red"), "there is no knob \"Colour\": see the methods of ProducerConfig");
        assert_eq!(say("RecordTtl", "30s"), "record_ttl is \"30s\": give a whole number");
        assert_eq!(say("RecordTtl", "-1"), "record_ttl is \"-1\": give a whole number");
        assert_eq!(say("FailIfThrottled", "yes"), "fail_if_throttled is \"yes\": give true or false");
        assert_eq!(say("Ordering", "total"), "ordering is \"total\": give relaxed or per_shard");
        assert_eq!(say("MaxConnections", "500"), "max_connections is 500: set it between 1 and 256");
        let bad = ProducerConfig::from_properties("orders", "RecordTtl=1000\nRecordMaxBufferedTime=1000");
        assert!(matches!(bad, Err(ConfigError::Contradiction(_))));
    }

    #[test]
    fn switches_go_both_ways_and_limits_are_as_they_are_written_down() {
        let mut config = ProducerConfig::new("orders");
        for on in [false, true] {
            config.set("AggregationEnabled", if on { "true" } else { "false" }).unwrap();
            assert_eq!(config.aggregation_enabled, on);
        }
        config.set("record_ttl", "31536000000").expect("a year");
        assert!(config.set("record_ttl", "31536000001").is_err());
        config.set("max_outstanding_bytes", "65536").expect("64 KiB");
        assert!(config.set("max_outstanding_bytes", "65535").is_err());
    }

    #[test]
    fn choices_are_read_in_any_spelling() {
        let mut config = ProducerConfig::new("orders");
        config.set("ordering", "PerShard").unwrap();
        assert_eq!(config.ordering, Ordering::PerShard);
    }

    #[test]
    fn no_name_is_known_twice() {
        for (index, (name, _)) in OF_JAVA_ONLY.iter().enumerate() {
            assert!(!KNOBS.iter().any(|knob| same(knob.name, name)), "{name}");
            assert!(!OF_JAVA_ONLY[..index].iter().any(|(other, _)| same(other, name)), "{name}");
        }
    }
}
