//! The methods, one file each, and the one list of them.

mod all4one;
mod barlow;
mod byol;
mod deepclusterv2;
mod dino;
mod dinov2;
mod distill;
mod embedding;
mod ibot;
mod ijepa;
mod lejepa;
mod mae;
mod masked_distillation;
mod mocov2plus;
mod mocov3;
mod nnbyol;
mod nnclr;
mod nnsiam;
mod predicting;
mod ressl;
mod self_distillation;
mod simclr;
mod simsiam;
mod supcon;
mod swav;
mod teacher;
mod vibcreg;
mod vicreg;
mod vssl;
mod wmse;

use crate::recipe::{Entry, Recipe, RecipeError};

pub use all4one::{All4One, positions as all4one_positions, summarised};
pub use barlow::Barlow;
pub use byol::Byol;
pub use deepclusterv2::DeepClusterV2;
pub use dino::Dino;
pub use dinov2::DinoV2;
pub use distill::{Distill, Objective as DistillObjective};
pub use ibot::Ibot;
pub use ijepa::{IJepa, IJepaPredictor};
pub use lejepa::LeJepa;
pub use mae::{Mae, MaeDecoder};
pub use masked_distillation::Centering;
pub use mocov2plus::MocoV2Plus;
pub use mocov3::MocoV3;
pub use nnbyol::NnByol;
pub use nnclr::Nnclr;
pub use nnsiam::NnSiam;
pub use ressl::Ressl;
pub use simclr::SimClr;
pub use simsiam::SimSiam;
pub use supcon::SupCon;
pub use swav::Swav;
pub use vibcreg::Vibcreg;
pub use vicreg::Vicreg;
pub use vssl::Vssl;
pub use wmse::Wmse;

/// All methods. A new one is one file, one line here and a recipe.
pub const METHODS: &[Entry] = &[
    Entry::of::<All4One>(
        "all4one",
        "Neighbours, a transformer over five of them and features against a momentum teacher",
        "Estepa et al. 2023, arXiv:2303.09417",
    ),
    Entry::of::<Barlow>(
        "barlow",
        "Cross-correlation of two views' embeddings towards the identity, no teacher",
        "Zbontar et al. 2021, arXiv:2103.03230",
    ),
    Entry::of::<Byol>(
        "byol",
        "Student predicts the projection of a momentum teacher, no negatives",
        "Grill et al. 2020, arXiv:2006.07733",
    ),
    Entry::of::<DeepClusterV2>(
        "deepclusterv2",
        "Views predict the clusters that k-means made of the epoch before, no teacher",
        "Caron et al. 2020, arXiv:2006.09882",
    ),
    Entry::of::<Dino>(
        "dino",
        "Student predicts a momentum teacher's centred and sharpened distribution",
        "Caron et al. 2021, arXiv:2104.14294",
    ),
    Entry::of::<DinoV2>(
        "dinov2",
        "As iBOT, with class tokens that KoLeo spreads; needs a vision transformer",
        "Oquab et al. 2024, arXiv:2304.07193",
    ),
    Entry::of::<Ibot>(
        "ibot",
        "As DINO, and a teacher's distributions of masked patches; needs a vision transformer",
        "Zhou et al. 2022, arXiv:2111.07832",
    ),
    Entry::of::<IJepa>(
        "ijepa",
        "Predicts a momentum teacher's patches of hidden blocks; needs a vision transformer",
        "Assran et al. 2023, arXiv:2301.08243",
    ),
    Entry::of::<Distill>(
        "distill",
        "A small student learns what a frozen, trained teacher tells of the images",
        "Fang et al. 2021, arXiv:2101.04731; lightly-train's behaviour",
    ),
    Entry::of::<LeJepa>(
        "lejepa",
        "Views close together, each view's embeddings an isotropic Gaussian, no teacher",
        "Balestriero and LeCun 2025, arXiv:2511.08544",
    ),
    Entry::of::<Mae>(
        "mae",
        "A decoder predicts the pixels of hidden patches; needs a vision transformer",
        "He et al. 2022, arXiv:2111.06377",
    ),
    Entry::of::<MocoV2Plus>(
        "mocov2plus",
        "A momentum teacher's keys against queues of earlier ones, in both directions",
        "Chen et al. 2020, arXiv:2003.04297",
    ),
    Entry::of::<MocoV3>(
        "mocov3",
        "Predictions against a momentum teacher's keys of the same batch",
        "Chen, Xie and He 2021, arXiv:2104.02057",
    ),
    Entry::of::<NnByol>(
        "nnbyol",
        "Student predicts the nearest neighbour of a momentum teacher's projection",
        "Dwibedi et al. 2021, arXiv:2104.14548",
    ),
    Entry::of::<Nnclr>(
        "nnclr",
        "The positive is a view's nearest neighbour in a queue, no teacher",
        "Dwibedi et al. 2021, arXiv:2104.14548",
    ),
    Entry::of::<NnSiam>(
        "nnsiam",
        "Each view predicts the nearest neighbour of the other's projection, no teacher",
        "Dwibedi et al. 2021, arXiv:2104.14548",
    ),
    Entry::of::<Ressl>(
        "ressl",
        "A strong view relates to a queue as the teacher's weak view does",
        "Zheng et al. 2021, arXiv:2107.09282",
    ),
    Entry::of::<SimClr>(
        "simclr",
        "Each view finds its image's other views among the whole batch, no teacher",
        "Chen et al. 2020, arXiv:2002.05709",
    ),
    Entry::of::<SimSiam>(
        "simsiam",
        "Each view predicts the other's projection behind a stop-gradient, no teacher",
        "Chen and He 2021, arXiv:2011.10566",
    ),
    Entry::of::<SupCon>(
        "supcon",
        "As SimCLR, with the images of the same class as positives: it sees the labels",
        "Khosla et al. 2020, arXiv:2004.11362",
    ),
    Entry::of::<Swav>(
        "swav",
        "Each view predicts the balanced prototype assignment of the others, no teacher",
        "Caron et al. 2020, arXiv:2006.09882",
    ),
    Entry::of::<Vibcreg>(
        "vibcreg",
        "As VICReg, with correlations and an iterative normalisation, no teacher",
        "Lee and Aune 2021, arXiv:2109.00783",
    ),
    Entry::of::<Vicreg>(
        "vicreg",
        "Views alike, every dimension spread and decorrelated, no teacher",
        "Bardes et al. 2022, arXiv:2105.04906",
    ),
    Entry::of::<Vssl>(
        "vssl",
        "Gaussian student and momentum teacher, KL to a data-dependent prior, denoisers",
        "Yavuz and Yanıkoğlu 2025, arXiv:2504.04318",
    ),
    Entry::of::<Wmse>(
        "wmse",
        "Views alike after whitening over sub-batches, no teacher",
        "Ermolov et al. 2021, arXiv:2007.06346",
    ),
];

/// The entry called `name`.
pub fn find(name: &str) -> Option<&'static Entry> {
    METHODS.iter().find(|entry| entry.name == name)
}

/// Whether the method called `name` is one that sees labels by its default settings; false for an unknown name.
pub fn sees_labels(name: &str) -> bool {
    find(name).is_some_and(|entry| entry.defaults().sees_labels())
}

/// Reads a resolved recipe, as a run folder or a checkpoint holds it.
///
/// # Errors
/// When it was written by another version and no longer fits.
pub fn recipe_from(text: &str) -> Result<Recipe, RecipeError> {
    Ok(Recipe::parse(text, "recipe.toml", &[], METHODS)?.0)
}
