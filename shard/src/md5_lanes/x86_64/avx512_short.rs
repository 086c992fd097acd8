//! 32 inputs at once that fit one block each, padding included.

use std::arch::x86_64::{
    __m512i, _mm512_add_epi32 as add, _mm512_loadu_si512, _mm512_mask_mov_epi8, _mm512_maskz_loadu_epi8,
    _mm512_set1_epi8, _mm512_set1_epi32 as splat, _mm512_setzero_si512, _mm512_storeu_si512,
};

use super::avx512::{f, g, h, i, rotate, transposed};
use crate::md5_lanes::{BLOCK_BYTES, INITIAL, SINES};

const LANES: usize = 16;

/// The padding is one byte at least, and the length takes eight.
pub(super) const LONGEST: usize = BLOCK_BYTES - 9;

/// Hashes at most 32 inputs of at most [`LONGEST`] bytes.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn hash(inputs: &[&[u8]], digests: &mut [[u8; 16]]) {
    let (low, high) = inputs.split_at(inputs.len().min(LANES));
    let (low_words, high_words) = (words_of(low), words_of(high));
    let initial = INITIAL.map(|word| splat(word.cast_signed()));
    let (mut low_state, mut high_state) = (initial, initial);
    rounds!(SINES, add, splat, rotate, [low_words low_state, high_words high_state]);
    let (low_digests, high_digests) = digests.split_at_mut(inputs.len().min(LANES));
    write(low_state, initial, low_digests);
    write(high_state, initial, high_digests);
}

/// The words of each input's one block, by place in the block.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn words_of(inputs: &[&[u8]]) -> [__m512i; 16] {
    let mut rows = [_mm512_setzero_si512(); LANES];
    let mut bits = [0_i32; LANES];
    for ((row, bits), input) in rows.iter_mut().zip(&mut bits).zip(inputs) {
        let end = 1_u64 << input.len();
        // SAFETY: only as many bytes are read as the input has.
        let text = unsafe { _mm512_maskz_loadu_epi8(end - 1, input.as_ptr().cast()) };
        *row = _mm512_mask_mov_epi8(text, end, _mm512_set1_epi8(0x80_u8.cast_signed()));
        *bits = i32::try_from(input.len() * 8).unwrap_or_default();
    }
    let mut words = transposed(&rows);
    if let Some(length) = words.get_mut(14) {
        // SAFETY: there are 16 lengths of four bytes.
        *length = unsafe { _mm512_loadu_si512(bits.as_ptr().cast()) };
    }
    words
}

#[target_feature(enable = "avx512f")]
#[inline]
fn write(state: [__m512i; 4], initial: [__m512i; 4], digests: &mut [[u8; 16]]) {
    let mut words = [[0_u32; LANES]; 4];
    for ((words, lanes), initial) in words.iter_mut().zip(state).zip(initial) {
        // SAFETY: the row is 64 bytes long.
        unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), add(lanes, initial)) };
    }
    let [a, b, c, d] = words;
    for ((((digest, a), b), c), d) in digests.iter_mut().zip(a).zip(b).zip(c).zip(d) {
        let digest_of = u128::from(a) | u128::from(b) << 32 | u128::from(c) << 64 | u128::from(d) << 96;
        *digest = digest_of.to_le_bytes();
    }
}
