//! The binary `vssl`: parse, run, print.

fn main() {}
