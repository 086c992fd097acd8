//! 16 inputs at once.

use std::arch::x86_64::{
    __m512i, _mm512_add_epi32 as add, _mm512_loadu_si512, _mm512_rol_epi32, _mm512_set1_epi32 as splat,
    _mm512_shuffle_i32x4, _mm512_storeu_si512, _mm512_ternarylogic_epi32, _mm512_unpackhi_epi32,
    _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
};

use super::States;
use crate::md5_lanes::{BLOCK_BYTES, SINES};
use crate::prefetch::line_soon;

const LANES: usize = 16;

/// Asked for so long before it is hashed.
const AHEAD_BYTES: usize = 8 * BLOCK_BYTES;

/// Hashes that many blocks of each segment into the state of its lane.
#[target_feature(enable = "avx512f")]
pub(super) fn compress(states: &mut States<LANES>, segments: &[&[u8]; LANES], blocks: usize) {
    let mut state = states.0.each_ref().map(|row| load(row));
    for block in 0..blocks {
        let (words, before) = (words_of(segments, block), state);
        rounds!(SINES, add, splat, rotate, [words state]);
        state = sum(state, before);
    }
    for (row, lanes) in states.0.iter_mut().zip(state) {
        store(row, lanes);
    }
}

/// The same for two groups of lanes.
#[target_feature(enable = "avx512f")]
pub(super) fn compress_two(states: &mut States<{ 2 * LANES }>, segments: &[&[u8]; 2 * LANES], blocks: usize) {
    let (left, right) = segments.split_at(LANES);
    let (Some(left), Some(right)) = (left.first_chunk(), right.first_chunk()) else { return };
    let mut low = [splat(0); 4];
    let mut high = low;
    for ((low, high), row) in low.iter_mut().zip(&mut high).zip(&states.0) {
        if let [first, second] = row.as_chunks().0 {
            (*low, *high) = (load(first), load(second));
        }
    }
    for block in 0..blocks {
        let (low_words, low_before) = (words_of(left, block), low);
        let (high_words, high_before) = (words_of(right, block), high);
        rounds!(SINES, add, splat, rotate, [low_words low, high_words high]);
        (low, high) = (sum(low, low_before), sum(high, high_before));
    }
    for (row, (low, high)) in states.0.iter_mut().zip(low.into_iter().zip(high)) {
        if let [first, second] = row.as_chunks_mut().0 {
            store(first, low);
            store(second, high);
        }
    }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn load(row: &[u32; LANES]) -> __m512i {
    // SAFETY: the row is 64 bytes long.
    unsafe { _mm512_loadu_si512(row.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn store(row: &mut [u32; LANES], lanes: __m512i) {
    // SAFETY: the row is 64 bytes long.
    unsafe { _mm512_storeu_si512(row.as_mut_ptr().cast(), lanes) };
}

#[target_feature(enable = "avx512f")]
#[inline]
fn sum(left: [__m512i; 4], right: [__m512i; 4]) -> [__m512i; 4] {
    let mut sum = left;
    for (word, other) in sum.iter_mut().zip(right) {
        *word = add(*word, other);
    }
    sum
}

/// That block of every segment, by place in the block.
#[target_feature(enable = "avx512f")]
#[inline]
fn words_of(segments: &[&[u8]; LANES], block: usize) -> [__m512i; 16] {
    let rows = segments.map(|segment| {
        let block = segment.get(block * BLOCK_BYTES..).and_then(<[u8]>::first_chunk::<BLOCK_BYTES>);
        let block = block.expect("every segment holds the blocks that are to be hashed");
        // So many streams at once are too many for the processor to see by itself.
        line_soon(block.as_ptr().wrapping_add(AHEAD_BYTES));
        // SAFETY: the chunk is 64 bytes long.
        unsafe { _mm512_loadu_si512(block.as_ptr().cast()) }
    });
    transposed(&rows)
}

/// Blocks by lane to words by place in the block.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn transposed(rows: &[__m512i; LANES]) -> [__m512i; 16] {
    let [r0, r1, r2, r3, r4, r5, r6, r7, r8, r9, r10, r11, r12, r13, r14, r15] = *rows;
    let quarters =
        [four(r0, r1, r2, r3), four(r4, r5, r6, r7), four(r8, r9, r10, r11), four(r12, r13, r14, r15)];
    let [[a0, a1, a2, a3], [b0, b1, b2, b3], [c0, c1, c2, c3], [d0, d1, d2, d3]] = quarters;
    let [w0, w4, w8, w12] = gathered(a0, b0, c0, d0);
    let [w1, w5, w9, w13] = gathered(a1, b1, c1, d1);
    let [w2, w6, w10, w14] = gathered(a2, b2, c2, d2);
    let [w3, w7, w11, w15] = gathered(a3, b3, c3, d3);
    [w0, w1, w2, w3, w4, w5, w6, w7, w8, w9, w10, w11, w12, w13, w14, w15]
}

/// Four rows transposed within each quarter of a register: the n-th result holds words n, n + 4, n + 8 and n + 12 of the four.
#[target_feature(enable = "avx512f")]
#[inline]
fn four(r0: __m512i, r1: __m512i, r2: __m512i, r3: __m512i) -> [__m512i; 4] {
    let (low01, high01) = (_mm512_unpacklo_epi32(r0, r1), _mm512_unpackhi_epi32(r0, r1));
    let (low23, high23) = (_mm512_unpacklo_epi32(r2, r3), _mm512_unpackhi_epi32(r2, r3));
    [
        _mm512_unpacklo_epi64(low01, low23),
        _mm512_unpackhi_epi64(low01, low23),
        _mm512_unpacklo_epi64(high01, high23),
        _mm512_unpackhi_epi64(high01, high23),
    ]
}

/// The n-th result holds the n-th quarters of the four.
#[target_feature(enable = "avx512f")]
#[inline]
fn gathered(a: __m512i, b: __m512i, c: __m512i, d: __m512i) -> [__m512i; 4] {
    let (even_ab, even_cd) = (_mm512_shuffle_i32x4::<0x88>(a, b), _mm512_shuffle_i32x4::<0x88>(c, d));
    let (odd_ab, odd_cd) = (_mm512_shuffle_i32x4::<0xDD>(a, b), _mm512_shuffle_i32x4::<0xDD>(c, d));
    [
        _mm512_shuffle_i32x4::<0x88>(even_ab, even_cd),
        _mm512_shuffle_i32x4::<0x88>(odd_ab, odd_cd),
        _mm512_shuffle_i32x4::<0xDD>(even_ab, even_cd),
        _mm512_shuffle_i32x4::<0xDD>(odd_ab, odd_cd),
    ]
}

#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn rotate<const LEFT: i32, const _RIGHT: i32>(a: __m512i) -> __m512i {
    _mm512_rol_epi32::<LEFT>(a)
}

/// b ? c : d, as a truth table.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn f(b: __m512i, c: __m512i, d: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<0xCA>(b, c, d)
}

/// d ? b : c.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn g(b: __m512i, c: __m512i, d: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<0xCA>(d, b, c)
}

/// b ^ c ^ d.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn h(b: __m512i, c: __m512i, d: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<0x96>(b, c, d)
}

/// c ^ (b | !d).
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn i(b: __m512i, c: __m512i, d: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<0x39>(b, c, d)
}
