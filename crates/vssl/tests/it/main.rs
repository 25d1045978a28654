//! Integration tests of `vssl`: modules mirror `src/`, golden numbers are under `golden`.

mod fixtures;
mod golden;
mod optim;
mod recipe;
