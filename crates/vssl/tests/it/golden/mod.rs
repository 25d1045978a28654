//! Every case of a folder of `tests/fixtures/` against the public functions.

mod backbone;
mod backbone_2;
mod clustering;
mod contrastive;
mod coverage;
mod dinov2;
mod distillation;
mod eval;
mod lejepa;
mod losses;
mod masked;
mod neighbours;
mod optim;
mod parameter_lists;
mod quality;
mod redundancy;
mod uncertainty;
mod vssl;
mod whitening;

pub use backbone::Cast;
