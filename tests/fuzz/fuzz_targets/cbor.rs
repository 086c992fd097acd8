//! A request body as CBOR: read or refused.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    kinesis_sim::fuzzing::cbor(bytes);
});
