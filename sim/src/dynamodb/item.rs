//! An item, how large it is, and what it costs to read or write one.

use serde_json::{Map, Value};

/// An item in the form of the service's JSON.
pub(super) type Item = Map<String, Value>;

/// Bytes of names and values, as the service counts them, numbers about.
pub(super) fn size(item: &Item) -> usize {
    item.iter().map(|(name, value)| name.len() + value_size(value)).sum()
}

fn value_size(value: &Value) -> usize {
    let Some((kind, content)) = value.as_object().and_then(|value| value.iter().next()) else { return 0 };
    match (kind.as_str(), content) {
        ("N", Value::String(digits)) => digits.len().div_ceil(2) + 1,
        ("B", Value::String(base64)) => base64.len() / 4 * 3,
        (_, Value::String(text)) => text.len(),
        (_, Value::Array(members)) => members.iter().map(|one| one.as_str().map_or(1, str::len)).sum(),
        _ => 1,
    }
}

#[expect(clippy::cast_precision_loss, reason = "items are far smaller than 2^52 bytes")]
pub(super) fn read_units(bytes: usize, consistent: bool) -> f64 {
    let units = bytes.div_ceil(4_096).max(1) as f64;
    if consistent { units } else { units / 2.0 }
}

/// The larger of the images counts; a write that changes nothing costs one.
#[expect(clippy::cast_precision_loss, reason = "items are far smaller than 2^52 bytes")]
pub(super) fn write_units<'a>(images: impl IntoIterator<Item = Option<&'a Item>>) -> f64 {
    let largest = images.into_iter().flatten().map(size).max().unwrap_or(0);
    largest.div_ceil(1_024).max(1) as f64
}
