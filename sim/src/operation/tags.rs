//! Labels on streams and consumers: what they may look like, how many there may be, how they are listed.

use std::collections::BTreeMap;

use super::request;
use crate::error::{Named, ServiceError};
use crate::validation::Constraint::{ItemLength, KeyLength, Longest, Shortest, ValueLength};
use crate::validation::{Kind, Member};
use crate::wire::Value;
use crate::wire::writer::Writer;

/// By key.
pub(crate) type Tags = BTreeMap<String, String>;

/// On one resource. The service's text names an older limit.
const MOST_TAGS: usize = 50;

pub(crate) const TAGS: Member =
    Member::new("Tags", Kind::Map).with(&[Longest(200), Shortest(1), KeyLength(128, 1), ValueLength(256, 0)]);

pub(crate) const TAG_KEYS: Member = Member::new("TagKeys", Kind::List(&Member::new("TagKeys", Kind::Text)))
    .required()
    .with(&[Shortest(1), Longest(50), ItemLength(128, 1)]);

/// Adds the tags of a request to those of a resource; later values replace earlier ones.
pub(crate) fn add(tags: &mut Tags, input: &Value<'_>, named: Named<'_>) -> Result<(), ServiceError> {
    let Some(Value::Map(entries)) = input.get("Tags") else { return Ok(()) };
    let entries: Vec<_> = entries
        .iter()
        .map(|(key, value)| (&**key, if let Value::Text(text) = value { &**text } else { "" }))
        .collect();
    let what = format!("add tags to stream {} under account {}", named.stream, named.account);
    check_characters(entries.iter().flat_map(|(key, value)| [*key, *value]), &what)?;
    let added = entries.iter().filter(|(key, _)| !tags.contains_key(*key)).count();
    if tags.len() + added > MOST_TAGS {
        return Err(ServiceError::invalid_argument(format!(
            "Failed to {what} because a given stream cannot have more than 10 tags associated with it."
        )));
    }
    tags.extend(entries.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())));
    Ok(())
}

/// The tags that a new resource is given.
pub(crate) fn of_new(input: &Value<'_>, named: Named<'_>) -> Result<Tags, ServiceError> {
    let mut tags = Tags::new();
    add(&mut tags, input, named)?;
    Ok(tags)
}

/// Removes the keys of a request; unknown ones are ignored.
pub(crate) fn remove(tags: &mut Tags, input: &Value<'_>, named: Named<'_>) -> Result<(), ServiceError> {
    let keys: Vec<_> = request::texts(input, "TagKeys").collect();
    let what = format!("remove tags from stream {} under account {}", named.stream, named.account);
    check_characters(keys.iter().copied(), &what)?;
    for key in keys {
        tags.remove(key);
    }
    Ok(())
}

pub(crate) fn write<'a>(tags: impl Iterator<Item = (&'a String, &'a String)>, out: &mut Writer) {
    out.key("Tags");
    out.begin_list();
    for (key, value) in tags {
        out.begin_map();
        out.text_member("Key", key);
        out.text_member("Value", value);
        out.end_map();
    }
    out.end_list();
}

/// The service refuses in two steps, each with its own words; a percent sign passes the first only.
fn check_characters<'a>(
    mut texts: impl Iterator<Item = &'a str> + Clone,
    what: &str,
) -> Result<(), ServiceError> {
    // The colon is in today's documentation of tags.
    let is_known = |letter: char| {
        letter.is_alphanumeric()
            || matches!(letter, '_' | '.' | '/' | '=' | '+' | '-' | '%' | '@' | ' ' | ':')
    };
    if !texts.clone().all(|text| text.chars().all(is_known)) {
        return Err(ServiceError::invalid_argument(
            "Some tags contain invalid characters. Valid characters: Unicode letters, digits, white space, _ . / = + \
             - % @.",
        ));
    }
    if texts.any(|text| text.contains('%')) {
        return Err(ServiceError::invalid_argument(format!(
            "Failed to {what} because some tags contained illegal characters. The allowed characters are Unicode \
             letters, white-spaces, '_',',','/','=','+','-','@'."
        )));
    }
    Ok(())
}
