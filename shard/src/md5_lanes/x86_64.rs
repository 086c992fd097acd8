//! Which input is in which lane, and the rounds that both widths of registers share.
#![expect(
    unsafe_code,
    reason = "vector loads, and calls of functions compiled for what was detected at run time"
)]

use super::{BLOCK_BYTES, INITIAL};

/// 16 and 32 lanes.
mod avx512;

/// 32 inputs of one block each.
mod avx512_short;

/// 8 lanes.
mod avx2;

/// The most lanes there are.
const MOST_LANES: usize = 32;

/// Hashes in the widest lanes of this processor; false if it has none.
pub(super) fn md5_many(inputs: &[&[u8]], digests: &mut [[u8; 16]]) -> bool {
    (inputs.len() > 8 && short(inputs, digests))
        || (inputs.len() > 16 && in_32(inputs, digests))
        || in_16(inputs, digests)
        || in_8(inputs, digests)
}

/// Partition keys, mostly: each is one block with its padding, so no lane has to be looked after. False if there is a longer one.
pub(super) fn short(inputs: &[&[u8]], digests: &mut [[u8; 16]]) -> bool {
    let there = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && inputs.iter().all(|input| input.len() <= avx512_short::LONGEST);
    if there {
        for (inputs, digests) in inputs.chunks(32).zip(digests.chunks_mut(32)) {
            // SAFETY: the processor has AVX-512F and BW, and no input is longer.
            unsafe { avx512_short::hash(inputs, digests) };
        }
    }
    there
}

pub(super) fn in_32(inputs: &[&[u8]], digests: &mut [[u8; 16]]) -> bool {
    let there = is_x86_feature_detected!("avx512f");
    if there {
        // SAFETY: the processor has AVX-512F.
        in_lanes::<32>(inputs, digests, |states, segments, blocks| unsafe {
            avx512::compress_two(states, segments, blocks);
        });
    }
    there
}

pub(super) fn in_16(inputs: &[&[u8]], digests: &mut [[u8; 16]]) -> bool {
    let there = is_x86_feature_detected!("avx512f");
    if there {
        // SAFETY: the processor has AVX-512F.
        in_lanes::<16>(inputs, digests, |states, segments, blocks| unsafe {
            avx512::compress(states, segments, blocks);
        });
    }
    there
}

pub(super) fn in_8(inputs: &[&[u8]], digests: &mut [[u8; 16]]) -> bool {
    let there = is_x86_feature_detected!("avx2");
    if there {
        // SAFETY: the processor has AVX2.
        in_lanes::<8>(inputs, digests, |states, segments, blocks| unsafe {
            avx2::compress(states, segments, blocks);
        });
    }
    there
}

/// The state of each lane: word by word, as the registers hold it.
#[repr(align(64))]
struct States<const LANES: usize>([[u32; LANES]; 4]);

impl<const LANES: usize> States<LANES> {
    fn reset(&mut self, lane: usize) {
        for (words, initial) in self.0.iter_mut().zip(INITIAL) {
            if let Some(word) = words.get_mut(lane) {
                *word = initial;
            }
        }
    }

    fn digest(&self, lane: usize) -> [u8; 16] {
        let mut digest = [0; 16];
        for (bytes, words) in digest.chunks_exact_mut(4).zip(&self.0) {
            bytes.copy_from_slice(&words.get(lane).copied().unwrap_or_default().to_le_bytes());
        }
        digest
    }
}

/// What is left to hash of one input: whole blocks of it, then one or two that end with the padding.
#[derive(Clone, Copy)]
struct Lane<'a> {
    /// Which input; none when there were no more.
    input: Option<usize>,
    whole: &'a [u8],
    tail: [u8; 2 * BLOCK_BYTES],
    /// Where in `tail` the blocks begin that are not hashed yet.
    tail_start: usize,
}

impl<'a> Lane<'a> {
    const IDLE: Self =
        Self { input: None, whole: &[], tail: [0; 2 * BLOCK_BYTES], tail_start: 2 * BLOCK_BYTES };

    fn load(&mut self, number: usize, input: &'a [u8]) {
        let (whole, rest) = input.split_at(input.len() - input.len() % BLOCK_BYTES);
        // The padding is one byte at least, and the length takes eight.
        let start = if rest.len() < BLOCK_BYTES - 8 { BLOCK_BYTES } else { 0 };
        let padded = self.tail.split_at_mut(start).1;
        let (text, padding) = padded.split_at_mut(rest.len());
        text.copy_from_slice(rest);
        padding.fill(0);
        if let Some(first) = padding.first_mut() {
            *first = 0x80;
        }
        let bits = (input.len() as u64).wrapping_mul(8);
        if let Some(length) = self.tail.last_chunk_mut() {
            *length = bits.to_le_bytes();
        }
        (self.input, self.whole, self.tail_start) = (Some(number), whole, start);
    }

    /// The blocks that lie together and come next; empty when all are hashed.
    fn segment(&self) -> &[u8] {
        if self.whole.is_empty() { self.tail.split_at(self.tail_start).1 } else { self.whole }
    }

    fn advance(&mut self, bytes: usize) {
        if self.whole.is_empty() {
            self.tail_start += bytes;
        } else {
            self.whole = self.whole.split_at(bytes).1;
        }
    }
}

/// `compress` hashes that many blocks of each segment into its lane; every segment is at least so long.
fn in_lanes<const LANES: usize>(
    inputs: &[&[u8]],
    digests: &mut [[u8; 16]],
    compress: impl Fn(&mut States<LANES>, &[&[u8]; LANES], usize),
) {
    const { assert!(LANES <= MOST_LANES) };
    let mut states = States([[0; LANES]; 4]);
    let mut lanes = [Lane::IDLE; LANES];
    let mut waiting = inputs.iter().enumerate();
    loop {
        for (number, lane) in lanes.iter_mut().enumerate() {
            if !lane.segment().is_empty() {
                continue;
            }
            if let Some(digest) = lane.input.take().and_then(|input| digests.get_mut(input)) {
                *digest = states.digest(number);
            }
            if let Some((input, bytes)) = waiting.next() {
                lane.load(input, bytes);
                states.reset(number);
            }
        }
        let busy = || lanes.iter().map(Lane::segment).filter(|segment| !segment.is_empty());
        let Some(shortest) = busy().min_by_key(|segment| segment.len()) else { return };
        let bytes = shortest.len();
        // An idle lane repeats what another does; nobody looks at its state.
        let segments = std::array::from_fn(|number| {
            let segment = lanes.get(number).map_or(shortest, Lane::segment);
            if segment.is_empty() { shortest } else { segment }
        });
        compress(&mut states, &segments, bytes / BLOCK_BYTES);
        for lane in lanes.iter_mut().filter(|lane| lane.input.is_some()) {
            lane.advance(bytes);
        }
    }
}
