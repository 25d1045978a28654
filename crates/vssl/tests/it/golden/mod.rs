//! Every case of a folder of `tests/fixtures/` against the public functions.

mod backbone;
mod backbone_2;
mod clustering;
mod contrastive;
mod coverage;
mod eval;
mod losses;
mod optim;
mod parameter_lists;
mod redundancy;
mod vssl;
