//! Comparisons with stored outputs of the reference. The folder is `tests/fixtures/` of the
//! repository, or the one that `VSSL_FIXTURES` names.

mod augment;
mod case;
mod sampling;
