//! Integration tests of `vssl`: modules mirror `src/`, golden numbers are under `golden`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod backbones;
mod checkpoint;
mod comparison;
mod comparison_offline;
mod contract;
mod corpora;
mod device_reads;
mod dinov3;
mod earlier_version;
mod embed;
mod embedded;
mod embedded_early;
mod eval;
mod export;
mod fixtures;
mod golden;
mod import;
mod import_torch;
mod inference;
mod longer;
mod optim;
mod own_backbone;
mod own_dataset;
mod own_evaluator;
mod own_method;
mod page;
mod page_classes;
mod plan;
mod posterior;
mod precision;
mod ranks;
mod ranks_fail;
mod ranks_in_double;
mod ranks_wait;
mod recipe;
mod recipes;
mod resume;
mod start;
mod stopped_evaluation;
mod supervised;
mod supervised_images;
mod tensorboard;
mod training;
