//! `vssl bench`: speed, in the units and under the names of the PyTorch programs in `bench/`.

mod agreement;
mod allreduce;
mod backbone;
mod data;
mod embed;
mod kernels;
mod knn;
mod logistic;
mod step;

use crate::{
    arguments::{BenchAction, Common},
    failure::Failure,
};

pub(super) fn run(action: &BenchAction, common: &Common) -> Result<(), Failure> {
    match action {
        BenchAction::Step(arguments) => step::run(arguments, common),
        BenchAction::Agreement(arguments) => agreement::run(arguments, common),
        BenchAction::Kernels(arguments) => kernels::run(arguments, common),
        BenchAction::Data(arguments) => data::run(arguments, common),
        BenchAction::Embed(arguments) => embed::run(arguments, common),
        BenchAction::Knn(arguments) => knn::run(arguments, common),
        BenchAction::Logistic(arguments) => logistic::run(arguments, common),
        BenchAction::Allreduce(arguments) => allreduce::run(arguments, common),
    }
}
