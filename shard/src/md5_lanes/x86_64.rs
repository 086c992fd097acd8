//! Which input is in which lane, and the rounds that both widths of registers share.
#![expect(
    unsafe_code,
    reason = "vector loads, and calls of functions compiled for what was detected at run time"
)]

/// One step for each group of lanes: `a = b + rotate(f(b, c, d) + (a + word + sine))`. Groups do not depend on each other, so the
/// steps of one fill the waits of the other.
macro_rules! step {
    ($add:ident, $splat:ident, $rotate:ident, $f:ident, [$($words:ident $state:ident),+],
     [$a:literal $b:literal $c:literal $d:literal], $left:literal $right:literal, $word:expr, $sine:expr) => {
        $(
            let [b, c, d] = [$state[$b], $state[$c], $state[$d]];
            let early = $add($state[$a], $add($words[$word % 16], $splat(SINES[$sine].cast_signed())));
            $state[$a] = $add(b, $rotate::<$left, $right>($add($f(b, c, d), early)));
        )+
    };
}

/// Four steps, after which each word of the state has its old role again.
macro_rules! four_steps {
    ($add:ident, $splat:ident, $rotate:ident, $f:ident, $groups:tt,
     $base:literal, $factor:literal, $offset:literal, $first:literal,
     [$l0:literal $r0:literal, $l1:literal $r1:literal, $l2:literal $r2:literal, $l3:literal $r3:literal]) => {
        step!($add, $splat, $rotate, $f, $groups, [0 1 2 3], $l0 $r0, $first * $factor + $offset, $base + $first);
        step!($add, $splat, $rotate, $f, $groups, [3 0 1 2], $l1 $r1, ($first + 1) * $factor + $offset, $base + $first + 1);
        step!($add, $splat, $rotate, $f, $groups, [2 3 0 1], $l2 $r2, ($first + 2) * $factor + $offset, $base + $first + 2);
        step!($add, $splat, $rotate, $f, $groups, [1 2 3 0], $l3 $r3, ($first + 3) * $factor + $offset, $base + $first + 3);
    };
}

/// One of the four rounds, unrolled. The n-th step takes word `n * factor + offset`.
macro_rules! round {
    ($add:ident, $splat:ident, $rotate:ident, $f:ident, $groups:tt,
     $base:literal, $factor:literal, $offset:literal, $shifts:tt) => {
        four_steps!($add, $splat, $rotate, $f, $groups, $base, $factor, $offset, 0, $shifts);
        four_steps!($add, $splat, $rotate, $f, $groups, $base, $factor, $offset, 4, $shifts);
        four_steps!($add, $splat, $rotate, $f, $groups, $base, $factor, $offset, 8, $shifts);
        four_steps!($add, $splat, $rotate, $f, $groups, $base, $factor, $offset, 12, $shifts);
    };
}

/// All four rounds over the words of one block of every lane. What was before is still to be added.
macro_rules! rounds {
    ($add:ident, $splat:ident, $rotate:ident, $groups:tt) => {
        round!($add, $splat, $rotate, f, $groups, 0, 1, 0, [7 25, 12 20, 17 15, 22 10]);
        round!($add, $splat, $rotate, g, $groups, 16, 5, 1, [5 27, 9 23, 14 18, 20 12]);
        round!($add, $splat, $rotate, h, $groups, 32, 3, 5, [4 28, 11 21, 16 16, 23 9]);
        round!($add, $splat, $rotate, i, $groups, 48, 7, 0, [6 26, 10 22, 15 17, 21 11]);
    };
}

/// 16 and 32 lanes.
mod avx512;

/// 8 lanes.
mod avx2;

/// The most lanes there are.
const MOST_LANES: usize = 32;
const BLOCK_BYTES: usize = 64;
const INITIAL: [u32; 4] = [0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476];

/// Hashes in the widest lanes of this processor; false if it has none.
pub(super) fn md5_many(inputs: &[&[u8]], digests: &mut [[u8; 16]]) -> bool {
    (inputs.len() > 16 && in_32(inputs, digests)) || in_16(inputs, digests) || in_8(inputs, digests)
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
