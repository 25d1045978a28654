//! The methods, one file each, and the one list of them.

mod barlow;
mod byol;
mod deepclusterv2;
mod dino;
mod embedding;
mod mocov2plus;
mod mocov3;
mod nnclr;
mod predicting;
mod ressl;
mod simclr;
mod simsiam;
mod swav;
mod teacher;
mod vicreg;
mod vssl;

use crate::{
    method::learner::{self, AnyMethod},
    recipe::{MethodSchema, Recipe, RecipeError},
};

pub use barlow::Barlow;
pub use byol::Byol;
pub use deepclusterv2::DeepClusterV2;
pub use dino::Dino;
pub use mocov2plus::MocoV2Plus;
pub use mocov3::MocoV3;
pub use nnclr::Nnclr;
pub use ressl::Ressl;
pub use simclr::SimClr;
pub use simsiam::SimSiam;
pub use swav::Swav;
pub use vicreg::Vicreg;
pub use vssl::Vssl;

/// A line of the list.
pub struct Entry {
    /// Its name in a recipe, and how its table of settings is read.
    pub schema: MethodSchema,
    /// One line for people.
    pub summary: &'static str,
    /// Where it is from.
    pub paper: &'static str,
    /// Makes the method of a table that the schema has read.
    pub configure: fn(&toml::Table) -> Result<Box<dyn AnyMethod>, toml::de::Error>,
}

/// All methods. A new one is one file, one line here and a recipe.
pub const METHODS: &[Entry] = &[
    Entry {
        schema: MethodSchema::of::<Barlow>("barlow"),
        summary: "Cross-correlation of two views' embeddings towards the identity, no teacher",
        paper: "Zbontar et al. 2021, arXiv:2103.03230",
        configure: learner::configure::<Barlow>,
    },
    Entry {
        schema: MethodSchema::of::<Byol>("byol"),
        summary: "Student predicts the projection of a momentum teacher, no negatives",
        paper: "Grill et al. 2020, arXiv:2006.07733",
        configure: learner::configure::<Byol>,
    },
    Entry {
        schema: MethodSchema::of::<DeepClusterV2>("deepclusterv2"),
        summary: "Views predict the clusters that k-means made of the epoch before, no teacher",
        paper: "Caron et al. 2020, arXiv:2006.09882",
        configure: learner::configure::<DeepClusterV2>,
    },
    Entry {
        schema: MethodSchema::of::<Dino>("dino"),
        summary: "Student predicts a momentum teacher's centred and sharpened distribution",
        paper: "Caron et al. 2021, arXiv:2104.14294",
        configure: learner::configure::<Dino>,
    },
    Entry {
        schema: MethodSchema::of::<MocoV2Plus>("mocov2plus"),
        summary: "A momentum teacher's keys against queues of earlier ones, in both directions",
        paper: "Chen et al. 2020, arXiv:2003.04297",
        configure: learner::configure::<MocoV2Plus>,
    },
    Entry {
        schema: MethodSchema::of::<MocoV3>("mocov3"),
        summary: "Predictions against a momentum teacher's keys of the same batch",
        paper: "Chen, Xie and He 2021, arXiv:2104.02057",
        configure: learner::configure::<MocoV3>,
    },
    Entry {
        schema: MethodSchema::of::<Nnclr>("nnclr"),
        summary: "The positive is a view's nearest neighbour in a queue, no teacher",
        paper: "Dwibedi et al. 2021, arXiv:2104.14548",
        configure: learner::configure::<Nnclr>,
    },
    Entry {
        schema: MethodSchema::of::<Ressl>("ressl"),
        summary: "A strong view relates to a queue as the teacher's weak view does",
        paper: "Zheng et al. 2021, arXiv:2107.09282",
        configure: learner::configure::<Ressl>,
    },
    Entry {
        schema: MethodSchema::of::<SimClr>("simclr"),
        summary: "Each view finds its image's other views among the whole batch, no teacher",
        paper: "Chen et al. 2020, arXiv:2002.05709",
        configure: learner::configure::<SimClr>,
    },
    Entry {
        schema: MethodSchema::of::<SimSiam>("simsiam"),
        summary: "Each view predicts the other's projection behind a stop-gradient, no teacher",
        paper: "Chen and He 2021, arXiv:2011.10566",
        configure: learner::configure::<SimSiam>,
    },
    Entry {
        schema: MethodSchema::of::<Swav>("swav"),
        summary: "Each view predicts the balanced prototype assignment of the others, no teacher",
        paper: "Caron et al. 2020, arXiv:2006.09882",
        configure: learner::configure::<Swav>,
    },
    Entry {
        schema: MethodSchema::of::<Vicreg>("vicreg"),
        summary: "Views alike, every dimension spread and decorrelated, no teacher",
        paper: "Bardes et al. 2022, arXiv:2105.04906",
        configure: learner::configure::<Vicreg>,
    },
    Entry {
        schema: MethodSchema::of::<Vssl>("vssl"),
        summary: "Gaussian student and momentum teacher, KL to a data-dependent prior, denoisers",
        paper: "Yavuz and Yanıkoğlu 2025, arXiv:2504.04318",
        configure: learner::configure::<Vssl>,
    },
];

/// The entry called `name`.
pub fn find(name: &str) -> Option<&'static Entry> {
    METHODS.iter().find(|entry| entry.schema.name == name)
}

/// What a recipe must know of all methods.
pub fn schemas() -> Vec<MethodSchema> {
    METHODS.iter().map(|entry| entry.schema).collect()
}

/// Reads a resolved recipe, as a run folder or a checkpoint holds it.
///
/// # Errors
/// When it was written by another version and no longer fits.
pub fn recipe_from(text: &str) -> Result<Recipe, RecipeError> {
    Ok(Recipe::parse(text, "recipe.toml", &[], &schemas())?.0)
}
