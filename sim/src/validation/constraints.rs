//! What values must be, once their types are right: all failures in one message.

use std::fmt::{self, Write};

use super::{Constraint, Kind, Member};
use crate::error::{ErrorCode, ServiceError};
use crate::wire::Value;

/// The service lists no more failures than this.
const MOST_FAILURES: usize = 10;

/// Checks presence and constraints of all members, nested ones too.
pub(crate) fn check_constraints(value: &Value<'_>, members: &[Member]) -> Result<(), ServiceError> {
    let mut failures = Failures::default();
    check_members(value, members, None, &mut failures);
    failures.into_result()
}

/// The message for failures that only the operation can know (a stream's own record limit).
pub(crate) fn longer_than(path: &str, most: usize) -> ServiceError {
    let mut failures = Failures::default();
    failures.add(format!(
        "Value at '{path}' failed to satisfy constraint: Member must have length less than or equal to {most}."
    ));
    failures.error()
}

#[derive(Debug, Default)]
struct Failures {
    items: Vec<String>,
}

impl Failures {
    fn add(&mut self, item: String) {
        if self.items.len() < MOST_FAILURES {
            self.items.push(item);
        }
    }

    fn into_result(self) -> Result<(), ServiceError> {
        if self.items.is_empty() { Ok(()) } else { Err(self.error()) }
    }

    fn error(self) -> ServiceError {
        let count = self.items.len();
        let plural = if count == 1 { "" } else { "s" };
        ServiceError::new(
            ErrorCode::Validation,
            format!("{count} validation error{plural} detected: {}", self.items.join("; ")),
        )
    }
}

/// Where a value stands; printed only when it fails.
#[derive(Clone, Copy)]
struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    segment: Segment,
}

#[derive(Clone, Copy)]
enum Segment {
    Name(&'static str),
    Item(usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            write!(f, "{parent}.")?;
        }
        match self.segment {
            Segment::Item(index) => write!(f, "{}.member", index + 1),
            Segment::Name(name) => {
                let mut letters = name.chars();
                if let Some(first) = letters.next() {
                    f.write_char(first.to_ascii_lowercase())?;
                }
                f.write_str(letters.as_str())
            }
        }
    }
}

fn check_members(value: &Value<'_>, members: &[Member], parent: Option<&Path<'_>>, failures: &mut Failures) {
    for member in members {
        let path = Path { parent, segment: Segment::Name(member.name) };
        check_member(value.get(member.name), member, &path, failures);
    }
}

fn check_member(value: Option<&Value<'_>>, member: &Member, path: &Path<'_>, failures: &mut Failures) {
    let Some(value) = value else {
        if member.required {
            failures
                .add(format!("Value null at '{path}' failed to satisfy constraint: Member must not be null"));
        }
        return;
    };
    for constraint in member.constraints {
        if let Some(rule) = violated(*constraint, value) {
            let shown = Shown(value);
            failures.add(format!("Value {shown}at '{path}' failed to satisfy constraint: {rule}"));
        }
    }
    match (member.kind, value) {
        (Kind::Structure(members), value) => check_members(value, members, Some(path), failures),
        (Kind::List(item), Value::List(items)) => {
            for (index, value) in items.iter().enumerate() {
                let path = Path { parent: Some(path), segment: Segment::Item(index) };
                let value = (!matches!(value, Value::Null)).then_some(value);
                check_member(value, item, &path, failures);
            }
        }
        _ => {}
    }
}

fn violated(constraint: Constraint, value: &Value<'_>) -> Option<String> {
    let number = |value: &Value<'_>| match value {
        // The service clamps before it checks.
        Value::Integer(number) => Some((*number).clamp(i64::from(i32::MIN), i64::from(i32::MAX))),
        #[expect(
            clippy::cast_possible_truncation,
            reason = "out of range saturates, which is what is wanted"
        )]
        Value::Decimal(number) => Some((*number as i64).clamp(i64::from(i32::MIN), i64::from(i32::MAX))),
        _ => None,
    };
    match constraint {
        Constraint::Least(least) => (number(value)? < least)
            .then(|| format!("Member must have value greater than or equal to {least}")),
        Constraint::Most(most) => {
            (number(value)? > most).then(|| format!("Member must have value less than or equal to {most}"))
        }
        Constraint::Shortest(least) => (length(value)? < least)
            .then(|| format!("Member must have length greater than or equal to {least}")),
        Constraint::Longest(most) => {
            (length(value)? > most).then(|| format!("Member must have length less than or equal to {most}"))
        }
        Constraint::Pattern(pattern, matches) => match value {
            Value::Text(text) if !matches(text) => {
                Some(format!("Member must satisfy regular expression pattern: {pattern}"))
            }
            _ => None,
        },
        Constraint::OneOf(names) => match value {
            Value::Text(text) if !names.contains(&&**text) => {
                Some(format!("Member must satisfy enum value set: [{}]", names.join(", ")))
            }
            _ => None,
        },
        Constraint::ItemLength(most, least) => {
            let fits = |item: &Value<'_>| length(item).is_none_or(|length| (least..=most).contains(&length));
            let Value::List(items) = value else { return None };
            (!items.iter().all(fits)).then(|| lengths("Member", most, least))
        }
        Constraint::ItemOneOf(names) => {
            let fits =
                |item: &Value<'_>| if let Value::Text(text) = item { names.contains(&&**text) } else { true };
            let Value::List(items) = value else { return None };
            let rule = "Member must satisfy constraint: [Member must satisfy enum value set:";
            (!items.iter().all(fits)).then(|| format!("{rule} [{}]]", names.join(", ")))
        }
        Constraint::KeyLength(most, least) => {
            let Value::Map(entries) = value else { return None };
            let fits = |text: &str| (least..=most).contains(&text.chars().count());
            (!entries.iter().all(|(key, _)| fits(key))).then(|| lengths("Map keys", most, least))
        }
        Constraint::ValueLength(most, least) => {
            let Value::Map(entries) = value else { return None };
            let fits =
                |value: &Value<'_>| length(value).is_none_or(|length| (least..=most).contains(&length));
            (!entries.iter().all(|(_, value)| fits(value))).then(|| lengths("Map value", most, least))
        }
    }
}

fn lengths(what: &str, most: usize, least: usize) -> String {
    format!(
        "{what} must satisfy constraint: [Member must have length less than or equal to {most}, \
         Member must have length greater than or equal to {least}]"
    )
}

fn length(value: &Value<'_>) -> Option<usize> {
    match value {
        Value::Text(text) if text.is_ascii() => Some(text.len()),
        Value::Text(text) => Some(text.chars().count()),
        Value::Blob(bytes) => Some(bytes.len()),
        Value::List(items) => Some(items.len()),
        Value::Map(entries) => Some(entries.len()),
        _ => None,
    }
}

/// A value as messages show it, with a space after; blobs and lists of structures are left out, as the service does
/// today.
struct Shown<'a, 'v>(&'a Value<'v>);

impl fmt::Display for Shown<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Text(text) => write!(f, "'{text}' "),
            Value::Integer(number) | Value::Millis(number) => write!(f, "'{number}' "),
            Value::Decimal(number) => write!(f, "'{number}' "),
            Value::Boolean(boolean) => write!(f, "'{boolean}' "),
            Value::Map(entries) => {
                f.write_str("'{")?;
                for (index, (key, value)) in entries.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    match value {
                        Value::Text(text) => write!(f, "{comma}{key}={text}")?,
                        _ => write!(f, "{comma}{key}=null")?,
                    }
                }
                f.write_str("}' ")
            }
            Value::List(items) if items.iter().all(|item| matches!(item, Value::Text(_) | Value::Null)) => {
                f.write_str("'[")?;
                for (index, item) in items.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    match item {
                        Value::Text(text) => write!(f, "{comma}{text}")?,
                        _ => write!(f, "{comma}null")?,
                    }
                }
                f.write_str("]' ")
            }
            Value::Null | Value::Blob(_) | Value::List(_) => Ok(()),
        }
    }
}
