//! MD5 of many inputs at once, in the lanes of vector registers.
//!
//! MD5 is a chain of 64 dependent steps a block, so one input leaves most of a core idle: 16 inputs side by side take
//! hardly longer than one. Lanes are refilled as their inputs end, so inputs may differ in length.

use crate::md5;

/// MD5 of each input: `digests[i]` becomes that of `inputs[i]`.
///
/// The same as [`md5`] of each, but 5 to 14 times cheaper a byte where the processor has AVX2 or AVX-512 and there are
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
