//! One input of one block: what nearly every partition key is.

use std::hint::black_box;

use super::{BLOCK_BYTES, INITIAL, SINES};

/// The padding is one byte at least, and the length takes eight.
const LONGEST: usize = BLOCK_BYTES - 9;

/// MD5 of an input that fits one block with its padding; none for a longer one. A third cheaper than a hasher that takes any.
#[inline]
pub(crate) fn md5_short(input: &[u8]) -> Option<[u8; 16]> {
    if input.len() > LONGEST {
        return None;
    }
    let mut block = [0; BLOCK_BYTES];
    let (text, padding) = block.split_at_mut(input.len());
    text.copy_from_slice(input);
    if let Some(first) = padding.first_mut() {
        *first = 0x80;
    }
    if let Some(length) = block.last_chunk_mut() {
        *length = (input.len() as u64 * 8).to_le_bytes();
    }
    let mut words = [0; 16];
    for (word, bytes) in words.iter_mut().zip(block.as_chunks().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    let mut state = INITIAL;
    // Were they known to the compiler, it would add each sine last, which makes every step of the one chain there is longer by an addition.
    let sines = black_box(&SINES);
    rounds!(sines, add, splat, rotate, [words state]);
    let mut digest = [0; 16];
    for ((bytes, word), initial) in digest.as_chunks_mut().0.iter_mut().zip(state).zip(INITIAL) {
        *bytes = add(word, initial).to_le_bytes();
    }
    Some(digest)
}

fn add(left: u32, right: u32) -> u32 {
    left.wrapping_add(right)
}

fn splat(sine: i32) -> u32 {
    sine.cast_unsigned()
}

fn rotate<const LEFT: u32, const _RIGHT: u32>(word: u32) -> u32 {
    word.rotate_left(LEFT)
}

/// b ? c : d.
fn f(b: u32, c: u32, d: u32) -> u32 {
    d ^ (b & (c ^ d))
}

/// d ? b : c. The halves share no bit, so a sum does as well, and one of them does not wait for `b`.
fn g(b: u32, c: u32, d: u32) -> u32 {
    (c & !d).wrapping_add(b & d)
}

fn h(b: u32, c: u32, d: u32) -> u32 {
    b ^ (c ^ d)
}

fn i(b: u32, c: u32, d: u32) -> u32 {
    c ^ (b | !d)
}
