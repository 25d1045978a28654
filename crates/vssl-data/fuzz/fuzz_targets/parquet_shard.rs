#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| vssl_data_fuzz::targets::parquet_shard(bytes));
