//! Whole requests to an engine with one stream: answered.
#![no_main]

#[path = "../properties.rs"]
mod properties;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    properties::router(bytes);
});
