//! What fuzzing drives: any bytes as an item of the lease table. Not part of the API.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;

use super::item::{Item, created, read};
use crate::lease::NewLease;

/// Takes the bytes as an item, and says whether it is a lease. What a lease is created with is read back from what is
/// written for it.
///
/// One attribute a line: its name, its type (`S`, `N`, `B`, `SS`, `BOOL`, `NULL` or `L`), its value; members of a set are
/// separated by commas.
///
/// # Panics
/// If it is not.
pub fn lease_item(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let item: Item = text.lines().filter_map(attribute).collect();
    let Ok(Some(lease)) = read(&item) else { return false };
    // A range of one hash key is left out: Java refuses to read one.
    let range = lease.hash_key_range.filter(|range| range.start() < range.end());
    let new = NewLease {
        key: lease.key.clone(),
        checkpoint: lease.checkpoint,
        parents: lease.parents.clone(),
        hash_key_range: range,
        stream: lease.stream.clone(),
        pinned_at: lease.latest_pinned_at,
    };
    let again = read(&created(&new)).expect("what was read can be written").expect("and is a lease");
    assert_eq!(
        (
            &again.key,
            again.checkpoint,
            &again.parents,
            again.hash_key_range,
            &again.stream,
            again.latest_pinned_at
        ),
        (&lease.key, lease.checkpoint, &lease.parents, range, &lease.stream, lease.latest_pinned_at)
    );
    true
}

fn attribute(line: &str) -> Option<(String, AttributeValue)> {
    let mut words = line.splitn(3, ' ');
    let (name, kind, value) = (words.next()?, words.next()?, words.next().unwrap_or_default());
    let value = match kind {
        "S" => AttributeValue::S(value.to_owned()),
        "N" => AttributeValue::N(value.to_owned()),
        "B" => AttributeValue::B(Blob::new(value)),
        "SS" => {
            let members: BTreeSet<_> = value.split(',').map(str::to_owned).collect();
            AttributeValue::Ss(members.into_iter().collect())
        }
        "BOOL" => AttributeValue::Bool(value == "true"),
        "NULL" => AttributeValue::Null(true),
        "L" => AttributeValue::L(Vec::new()),
        _ => return None,
    };
    Some((name.to_owned(), value))
}
