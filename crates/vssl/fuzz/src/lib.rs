//! The targets of cargo-fuzz, as functions of bytes.

use std::{panic, process};

pub mod targets;

/// Lets panics pass that the program itself makes into errors; every other panic is a find.
pub fn prepare() {
    let show = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if !vssl_data::panics::is_caught() {
            show(info);
            process::abort();
        }
    }));
}
