//! Whole requests to an engine with one stream: answered.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    kinesis_sim::fuzzing::router(bytes);
});
