//! 8 inputs at once.

use std::arch::x86_64::{
    __m256i, _mm256_add_epi32 as add, _mm256_and_si256 as and, _mm256_loadu_si256, _mm256_or_si256 as or,
    _mm256_permute2x128_si256, _mm256_set1_epi32 as splat, _mm256_slli_epi32, _mm256_srli_epi32,
    _mm256_storeu_si256, _mm256_unpackhi_epi32, _mm256_unpackhi_epi64, _mm256_unpacklo_epi32,
    _mm256_unpacklo_epi64, _mm256_xor_si256 as xor,
};

use super::States;
use crate::md5_lanes::{BLOCK_BYTES, SINES};

const LANES: usize = 8;

/// Hashes that many blocks of each segment into the state of its lane.
#[target_feature(enable = "avx2")]
pub(super) fn compress(states: &mut States<LANES>, segments: &[&[u8]; LANES], blocks: usize) {
    // SAFETY: each row of the state is 32 bytes long.
    let mut state = states.0.each_ref().map(|words| unsafe { _mm256_loadu_si256(words.as_ptr().cast()) });
    for block in 0..blocks {
        let halves = segments.map(|segment| {
            let block = segment.get(block * BLOCK_BYTES..).and_then(<[u8]>::first_chunk::<BLOCK_BYTES>);
            let (low, high) = block
                .expect("every segment holds the blocks that are to be hashed")
                .split_at(BLOCK_BYTES / 2);
            // SAFETY: each half is 32 bytes long.
            unsafe { (_mm256_loadu_si256(low.as_ptr().cast()), _mm256_loadu_si256(high.as_ptr().cast())) }
        });
        let [w0, w1, w2, w3, w4, w5, w6, w7] = transposed(&halves.map(|(low, _)| low));
        let [w8, w9, w10, w11, w12, w13, w14, w15] = transposed(&halves.map(|(_, high)| high));
        let words = [w0, w1, w2, w3, w4, w5, w6, w7, w8, w9, w10, w11, w12, w13, w14, w15];
        let before = state;
        rounds!(SINES, add, splat, rotate, [words state]);
        for (word, before) in state.iter_mut().zip(before) {
            *word = add(*word, before);
        }
    }
    for (words, row) in states.0.iter_mut().zip(state) {
        // SAFETY: each row of the state is 32 bytes long.
        unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), row) };
    }
}

/// Half blocks by lane to words by place.
#[target_feature(enable = "avx2")]
#[inline]
fn transposed(rows: &[__m256i; LANES]) -> [__m256i; 8] {
    let [r0, r1, r2, r3, r4, r5, r6, r7] = *rows;
    let ([a0, a1, a2, a3], [b0, b1, b2, b3]) = (four(r0, r1, r2, r3), four(r4, r5, r6, r7));
    [
        _mm256_permute2x128_si256::<0x20>(a0, b0),
        _mm256_permute2x128_si256::<0x20>(a1, b1),
        _mm256_permute2x128_si256::<0x20>(a2, b2),
        _mm256_permute2x128_si256::<0x20>(a3, b3),
        _mm256_permute2x128_si256::<0x31>(a0, b0),
        _mm256_permute2x128_si256::<0x31>(a1, b1),
        _mm256_permute2x128_si256::<0x31>(a2, b2),
        _mm256_permute2x128_si256::<0x31>(a3, b3),
    ]
}

/// Four rows transposed within each half of a register: the n-th result holds words n and n + 4 of the four.
#[target_feature(enable = "avx2")]
#[inline]
fn four(r0: __m256i, r1: __m256i, r2: __m256i, r3: __m256i) -> [__m256i; 4] {
    let (low01, high01) = (_mm256_unpacklo_epi32(r0, r1), _mm256_unpackhi_epi32(r0, r1));
    let (low23, high23) = (_mm256_unpacklo_epi32(r2, r3), _mm256_unpackhi_epi32(r2, r3));
    [
        _mm256_unpacklo_epi64(low01, low23),
        _mm256_unpackhi_epi64(low01, low23),
        _mm256_unpacklo_epi64(high01, high23),
        _mm256_unpackhi_epi64(high01, high23),
    ]
}

#[target_feature(enable = "avx2")]
#[inline]
fn rotate<const LEFT: i32, const RIGHT: i32>(a: __m256i) -> __m256i {
    or(_mm256_slli_epi32::<LEFT>(a), _mm256_srli_epi32::<RIGHT>(a))
}

/// b ? c : d.
#[target_feature(enable = "avx2")]
#[inline]
fn f(b: __m256i, c: __m256i, d: __m256i) -> __m256i {
    xor(d, and(b, xor(c, d)))
}

/// d ? b : c.
#[target_feature(enable = "avx2")]
#[inline]
fn g(b: __m256i, c: __m256i, d: __m256i) -> __m256i {
    xor(c, and(d, xor(b, c)))
}

/// b ^ c ^ d.
#[target_feature(enable = "avx2")]
#[inline]
fn h(b: __m256i, c: __m256i, d: __m256i) -> __m256i {
    xor(xor(b, c), d)
}

/// c ^ (b | !d).
#[target_feature(enable = "avx2")]
#[inline]
fn i(b: __m256i, c: __m256i, d: __m256i) -> __m256i {
    xor(c, or(b, xor(d, splat(-1))))
}
