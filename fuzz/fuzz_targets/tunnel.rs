#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| oncemq_fuzz::run("tunnel", input));
