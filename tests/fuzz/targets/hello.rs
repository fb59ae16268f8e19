//! The first message of TLS, on bred bytes. The property itself is in `tests/properties`.

#![no_main]

#[path = "../../properties/mod.rs"]
#[allow(dead_code, reason = "each target holds one of the properties")]
mod properties;

libfuzzer_sys::fuzz_target!(|data: &[u8]| properties::hello::holds(data));
