//! A request body as JSON: read or refused.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    kinesis_sim::fuzzing::json(bytes);
});
