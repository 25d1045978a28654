#![no_main]
libfuzzer_sys::fuzz_target!(init: vssl_fuzz::prepare(), |bytes: &[u8]| vssl_fuzz::targets::checkpoint(bytes));
