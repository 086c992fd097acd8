//! 16 inputs at once.

use std::arch::x86_64::{
    __m512i, _mm512_add_epi32 as add, _mm512_loadu_si512, _mm512_rol_epi32, _mm512_set1_epi32 as splat,
    _mm512_shuffle_i32x4, _mm512_storeu_si512, _mm512_ternarylogic_epi32, _mm512_unpackhi_epi32,
    _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
};

use super::{BLOCK_BYTES, SINES, States};

const LANES: usize = 16;

/// Hashes that many blocks of each segment into the state of its lane.
#[target_feature(enable = "avx512f")]
pub(super) fn compress(states: &mut States<LANES>, segments: &[&[u8]; LANES], blocks: usize) {
    // SAFETY: each row of the state is 64 bytes long.
    let mut state = states.0.each_ref().map(|words| unsafe { _mm512_loadu_si512(words.as_ptr().cast()) });
    for block in 0..blocks {
        let rows = segments.map(|segment| {
            let block = segment.get(block * BLOCK_BYTES..).and_then(<[u8]>::first_chunk::<BLOCK_BYTES>);
            let block = block.expect("every segment holds the blocks that are to be hashed");
            // SAFETY: the chunk is 64 bytes long.
            unsafe { _mm512_loadu_si512(block.as_ptr().cast()) }
        });
        let words = transposed(&rows);
        rounds!(add, splat, rotate, words, state);
    }
    for (words, row) in states.0.iter_mut().zip(state) {
        // SAFETY: each row of the state is 64 bytes long.
        unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), row) };
    }
}

/// Blocks by lane to words by place in the block.
#[target_feature(enable = "avx512f")]
#[inline]
fn transposed(rows: &[__m512i; LANES]) -> [__m512i; 16] {
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
fn rotate<const LEFT: i32, const _RIGHT: i32>(a: __m512i) -> __m512i {
    _mm512_rol_epi32::<LEFT>(a)
}

/// b ? c : d, as a truth table.
#[target_feature(enable = "avx512f")]
#[inline]
fn f(b: __m512i, c: __m512i, d: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<0xCA>(b, c, d)
}

/// d ? b : c.
#[target_feature(enable = "avx512f")]
#[inline]
fn g(b: __m512i, c: __m512i, d: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<0xCA>(d, b, c)
}

/// b ^ c ^ d.
#[target_feature(enable = "avx512f")]
#[inline]
fn h(b: __m512i, c: __m512i, d: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<0x96>(b, c, d)
}

/// c ^ (b | !d).
#[target_feature(enable = "avx512f")]
#[inline]
fn i(b: __m512i, c: __m512i, d: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<0x39>(b, c, d)
}
