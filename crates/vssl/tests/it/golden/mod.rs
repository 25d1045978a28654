//! Every case of a folder of `tests/fixtures/` against the public functions.

mod backbone;
mod clustering;
mod contrastive;
mod coverage;
mod eval;
mod lejepa;
mod losses;
mod neighbours;
mod optim;
mod quality;
mod redundancy;
mod vssl;
mod whitening;
