//! MD5 of many inputs at once, in the lanes of vector registers.
//!
//! MD5 is a chain of 64 dependent steps a block, so one input leaves most of a core idle: 16 inputs side by side take
//! hardly longer than one. Lanes are refilled as their inputs end, so inputs may differ in length.

use crate::md5;

const BLOCK_BYTES: usize = 64;
const INITIAL: [u32; 4] = [0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476];

/// The sines of the format.
#[rustfmt::skip]
const SINES: [u32; 64] = [
    0xD76A_A478, 0xE8C7_B756, 0x2420_70DB, 0xC1BD_CEEE, 0xF57C_0FAF, 0x4787_C62A, 0xA830_4613, 0xFD46_9501,
    0x6980_98D8, 0x8B44_F7AF, 0xFFFF_5BB1, 0x895C_D7BE, 0x6B90_1122, 0xFD98_7193, 0xA679_438E, 0x49B4_0821,
    0xF61E_2562, 0xC040_B340, 0x265E_5A51, 0xE9B6_C7AA, 0xD62F_105D, 0x0244_1453, 0xD8A1_E681, 0xE7D3_FBC8,
    0x21E1_CDE6, 0xC337_07D6, 0xF4D5_0D87, 0x455A_14ED, 0xA9E3_E905, 0xFCEF_A3F8, 0x676F_02D9, 0x8D2A_4C8A,
    0xFFFA_3942, 0x8771_F681, 0x6D9D_6122, 0xFDE5_380C, 0xA4BE_EA44, 0x4BDE_CFA9, 0xF6BB_4B60, 0xBEBF_BC70,
    0x289B_7EC6, 0xEAA1_27FA, 0xD4EF_3085, 0x0488_1D05, 0xD9D4_D039, 0xE6DB_99E5, 0x1FA2_7CF8, 0xC4AC_5665,
    0xF429_2244, 0x432A_FF97, 0xAB94_23A7, 0xFC93_A039, 0x655B_59C3, 0x8F0C_CC92, 0xFFEF_F47D, 0x8584_5DD1,
    0x6FA8_7E4F, 0xFE2C_E6E0, 0xA301_4314, 0x4E08_11A1, 0xF753_7E82, 0xBD3A_F235, 0x2AD7_D2BB, 0xEB86_D391,
];

/// One step for each group of lanes: `a = b + rotate(f(b, c, d) + (a + word + sine))`. Groups do not depend on each other, so the
/// steps of one fill the waits of the other.
macro_rules! step {
    ($sines:ident, $add:ident, $splat:ident, $rotate:ident, $f:ident, [$($words:ident $state:ident),+],
     [$a:literal $b:literal $c:literal $d:literal], $left:literal $right:literal, $word:expr, $sine:expr) => {
        $(
            let [b, c, d] = [$state[$b], $state[$c], $state[$d]];
            let early = $add($state[$a], $add($words[$word % 16], $splat($sines[$sine].cast_signed())));
            $state[$a] = $add(b, $rotate::<$left, $right>($add($f(b, c, d), early)));
        )+
    };
}

/// Four steps, after which each word of the state has its old role again.
macro_rules! four_steps {
    ($sines:ident, $add:ident, $splat:ident, $rotate:ident, $f:ident, $groups:tt,
     $base:literal, $factor:literal, $offset:literal, $first:literal,
     [$l0:literal $r0:literal, $l1:literal $r1:literal, $l2:literal $r2:literal, $l3:literal $r3:literal]) => {
        step!($sines, $add, $splat, $rotate, $f, $groups, [0 1 2 3], $l0 $r0, $first * $factor + $offset, $base + $first);
        step!($sines, $add, $splat, $rotate, $f, $groups, [3 0 1 2], $l1 $r1, ($first + 1) * $factor + $offset, $base + $first + 1);
        step!($sines, $add, $splat, $rotate, $f, $groups, [2 3 0 1], $l2 $r2, ($first + 2) * $factor + $offset, $base + $first + 2);
        step!($sines, $add, $splat, $rotate, $f, $groups, [1 2 3 0], $l3 $r3, ($first + 3) * $factor + $offset, $base + $first + 3);
    };
}

/// One of the four rounds, unrolled. The n-th step takes word `n * factor + offset`.
macro_rules! round {
    ($sines:ident, $add:ident, $splat:ident, $rotate:ident, $f:ident, $groups:tt,
     $base:literal, $factor:literal, $offset:literal, $shifts:tt) => {
        four_steps!($sines, $add, $splat, $rotate, $f, $groups, $base, $factor, $offset, 0, $shifts);
        four_steps!($sines, $add, $splat, $rotate, $f, $groups, $base, $factor, $offset, 4, $shifts);
        four_steps!($sines, $add, $splat, $rotate, $f, $groups, $base, $factor, $offset, 8, $shifts);
        four_steps!($sines, $add, $splat, $rotate, $f, $groups, $base, $factor, $offset, 12, $shifts);
    };
}

/// All four rounds over the words of one block of every lane. What was before is still to be added.
macro_rules! rounds {
    ($sines:ident, $add:ident, $splat:ident, $rotate:ident, $groups:tt) => {
        round!($sines, $add, $splat, $rotate, f, $groups, 0, 1, 0, [7 25, 12 20, 17 15, 22 10]);
        round!($sines, $add, $splat, $rotate, g, $groups, 16, 5, 1, [5 27, 9 23, 14 18, 20 12]);
        round!($sines, $add, $splat, $rotate, h, $groups, 32, 3, 5, [4 28, 11 21, 16 16, 23 9]);
        round!($sines, $add, $splat, $rotate, i, $groups, 48, 7, 0, [6 26, 10 22, 15 17, 21 11]);
    };
}

/// One short input.
mod short;

pub(crate) use short::md5_short;

/// MD5 of each input: `digests[i]` becomes that of `inputs[i]`.
///
/// The same as [`md5()`] of each, but 5 to 14 times cheaper a byte where the processor has AVX2 or AVX-512 and there are
/// inputs enough of about the same length; elsewhere exactly that.
///
/// # Panics
///
/// If there are not as many digests as inputs.
pub fn md5_many(inputs: &[&[u8]], digests: &mut [[u8; 16]]) {
    assert_eq!(inputs.len(), digests.len(), "each input needs a place for its digest");
    #[cfg(target_arch = "x86_64")]
    if inputs.len() > 1 && x86_64::md5_many(inputs, digests) {
        return;
    }
    one_by_one(inputs, digests);
}

fn one_by_one(inputs: &[&[u8]], digests: &mut [[u8; 16]]) {
    for (input, digest) in inputs.iter().zip(digests) {
        *digest = md5(input);
    }
}

/// The vector registers of x86-64.
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(test)]
mod tests;
