#![no_main]
//! Thin: the body is in testkit, where the ordinary tests run it too.

libfuzzer_sys::fuzz_target!(|data: &[u8]| sceau_testkit::fuzz::headers(data));
