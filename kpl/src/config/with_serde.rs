//! Loading through serde: any format with a table of names and scalars.

use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use crate::config::ProducerConfig;

/// A table with the stream under `stream` (or `StreamName`, `stream_arn`) and any knob that [`ProducerConfig::set`] knows. Numbers and
/// switches may be written as such or as text. The whole is validated.
impl<'de> Deserialize<'de> for ProducerConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Table)
    }
}

struct Table;

impl<'de> Visitor<'de> for Table {
    type Value = ProducerConfig;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a table of a stream and the producer's knobs")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ProducerConfig, A::Error> {
        let mut config = ProducerConfig::new("");
        let mut stream: Option<Arc<str>> = None;
        while let Some((name, Scalar(value))) = map.next_entry::<String, Scalar>()? {
            if matches!(
                &*name,
                "stream" | "stream_name" | "stream_arn" | "StreamName" | "StreamARN" | "StreamArn"
            ) {
                if stream.replace(value.into()).is_some() {
                    return Err(Error::duplicate_field("stream"));
                }
            } else {
                config.set(&name, &value).map_err(Error::custom)?;
            }
        }
        config.stream = stream.ok_or_else(|| Error::missing_field("stream"))?;
        config.validate().map_err(Error::custom)?;
        Ok(config)
    }
}

/// A value, as the text that it would be in a properties file.
struct Scalar(String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Text)
    }
}

struct Text;

impl Visitor<'_> for Text {
    type Value = Scalar;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a whole number, true, false or a text")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Scalar, E> {
        Ok(Scalar(value.to_string()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Scalar, E> {
        Ok(Scalar(value.to_string()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Scalar, E> {
        Ok(Scalar(value.to_string()))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Scalar, E> {
        Ok(Scalar(value.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn load(json: &str) -> Result<ProducerConfig, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn knobs_are_loaded_under_either_name_as_values_or_as_text() {
        let config = load(
            r#"{"stream": "orders", "RecordMaxBufferedTime": 250, "record_ttl": "60000",
                "AggregationEnabled": false, "ordering": "per_shard", "MetricsLevel": "none"}"#,
        )
        .unwrap();
        assert_eq!(config.stream(), "orders");
        assert_eq!(config.record_max_buffered_time, Duration::from_millis(250));
        assert_eq!(config.record_ttl, Duration::from_mins(1));
        assert!(!config.aggregation_enabled);
        assert_eq!(config.ignored().len(), 1);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let cases = [
            (r#"{"RecordTtl": 1000}"#, "missing field `stream`"),
            (r#"{"stream": "a", "StreamName": "b"}"#, "duplicate field `stream`"),
            (r#"{"stream": "a", "RecordTlt": 1000}"#, "did you mean record_ttl?"),
            (r#"{"stream": "a", "RecordTtl": 1.5}"#, "a whole number, true, false or a text"),
            (r#"{"stream": "a", "RecordTtl": 1}"#, "set it between 100 and"),
            (r#"{"stream": "a", "RecordTtl": 100}"#, "record_max_buffered_time is not below record_ttl"),
            (r#"{"stream": ""}"#, "stream length is 0"),
        ];
        for (json, expected) in cases {
            let message = load(json).unwrap_err();
            assert!(message.contains(expected), "{message:?} does not contain {expected:?}");
        }
    }
}
