//! Integration tests of `vssl-data`; the modules mirror `src/`.

mod augment;
mod golden;
mod loader;
