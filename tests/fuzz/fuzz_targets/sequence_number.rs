//! A sequence number, a checkpoint, a hash key.
#![no_main]

#[path = "../properties.rs"]
mod properties;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    properties::sequence_number(bytes);
});
