use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

type Way = fn(&[&[u8]], &mut [[u8; 16]]);

/// Every way that this processor has.
fn ways() -> Vec<(&'static str, Way)> {
    let mut ways: Vec<(&'static str, Way)> = vec![("chosen", md5_many), ("one by one", one_by_one)];
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            ways.push(("32 lanes", |inputs, digests| assert!(x86_64::in_32(inputs, digests))));
            ways.push(("16 lanes", |inputs, digests| assert!(x86_64::in_16(inputs, digests))));
        }
        if is_x86_feature_detected!("avx2") {
            ways.push(("8 lanes", |inputs, digests| assert!(x86_64::in_8(inputs, digests))));
        }
    }
    ways
}

fn check(inputs: &[Vec<u8>]) {
    let slices: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
    let expected: Vec<[u8; 16]> = slices.iter().map(|input| md5(input)).collect();
    for (name, way) in ways() {
        let mut digests = vec![[0; 16]; inputs.len()];
        way(&slices, &mut digests);
        assert_eq!(
            digests,
            expected,
            "{name}, lengths {:?}",
            inputs.iter().map(Vec::len).collect::<Vec<_>>()
        );
    }
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|index| u8::try_from((index * 31 + len) % 251).unwrap()).collect()
}

#[test]
fn every_length_around_the_padding_and_block_borders() {
    check(&(0..=260).map(bytes).collect::<Vec<_>>());
}

#[test]
fn short_inputs_are_those_that_fit_one_block() {
    for len in 0..=200 {
        let input = bytes(len);
        assert_eq!(md5_short(&input), (len <= 55).then(|| md5(&input)), "{len} bytes");
    }
}

/// Among them those that have ways of their own.
#[test]
fn short_inputs_of_every_length_side_by_side() {
    check(&(0..=55).map(bytes).collect::<Vec<_>>());
    check(&(0..=56).map(bytes).collect::<Vec<_>>());
}

#[test]
fn any_number_of_inputs_of_one_length() {
    for count in 0..=70 {
        check(&vec![bytes(20); count]);
    }
}

#[test]
fn long_inputs_beside_short_ones() {
    let lengths =
        [51_200, 3, 51_199, 0, 100_000, 64, 51_200, 55, 56, 63, 20, 1, 12_345, 51_200, 51_200, 7, 8, 51_184];
    check(&lengths.map(bytes));
}

#[test]
#[should_panic(expected = "each input needs a place")]
fn every_digest_needs_a_place() {
    md5_many(&[b"a"], &mut []);
}

proptest! {
    #[test]
    fn a_short_input_the_same_as_any(input in vec(any::<u8>(), 0..=55)) {
        prop_assert_eq!(md5_short(&input), Some(md5(&input)));
    }

    #[test]
    fn short_ones_the_same_as_one_by_one(inputs in vec(vec(any::<u8>(), 0..=55), 0..70)) {
        check(&inputs);
    }

    #[test]
    fn the_same_as_one_by_one(inputs in vec(vec(any::<u8>(), 0..300), 0..50)) {
        check(&inputs);
    }
}
