//! The digests at the end of aggregates, computed for many at once.

use bytes::{Bytes, BytesMut};

use super::{DIGEST_BYTES, MAGIC};
use crate::{md5, md5_many};

/// Writes the digests at the end of aggregates that were finished without.
///
/// # Panics
///
/// If one of them is too short to be an aggregate.
pub fn write_digests(blobs: &mut [&mut Bytes]) {
    let messages: Vec<&[u8]> = blobs.iter().map(|blob| message(blob)).collect();
    let mut digests = vec![[0; DIGEST_BYTES]; messages.len()];
    match (messages.as_slice(), digests.as_mut_slice()) {
        ([message], [digest]) => *digest = md5(message),
        (messages, digests) => md5_many(messages, digests),
    }
    for (blob, digest) in blobs.iter_mut().zip(digests) {
        // Nobody shares a blob that was just finished; one that is shared is copied.
        let mut unshared =
            std::mem::take(*blob).try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        let end = unshared.last_chunk_mut().expect("it was long enough a moment ago");
        *end = digest;
        **blob = unshared.freeze();
    }
}

/// What lies between magic and digest.
fn message(blob: &[u8]) -> &[u8] {
    let framed = blob.strip_prefix(&MAGIC).and_then(|framed| framed.split_last_chunk::<DIGEST_BYTES>());
    framed.expect("an aggregate begins with the magic and ends with a digest").0
}
