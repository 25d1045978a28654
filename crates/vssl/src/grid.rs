//! A grid of runs: one run for every recipe of a list with every seed of a list.
//!
//! ```toml
//! recipes = ["recipes/cifar10/byol.toml", "recipes/cifar10/vssl.toml"]
//! seeds = [0, 1]
//! out = "runs/study"
//! set = ["train.epochs=100"]
//! ```
//!
//! The run folders alone decide what is done already, so that a grid can go on however it was
//! stopped. Called by `vssl table --grid`, which starts the runs.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use vssl_data::dataset::in_home;

use crate::{
    comparison::{self, ComparisonError},
    methods::{self, METHODS},
    recipe::{Recipe, RecipeError},
    run::{
        checkpoint::{CheckpointError, Store},
        folder::{self, RunFolderError},
        resume::{binding_differences, keep_adapted_defaults},
    },
    train::TrainError,
};

/// A grid, as its file describes it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grid {
    /// Paths of the recipes, in which `~` is the home folder; a relative path is looked for in the working folder, then in the folder of
    /// the grid's file.
    pub recipes: Vec<PathBuf>,
    /// Seeds, which replace those of the recipes; by default 0 alone.
    #[serde(default = "first_seed")]
    pub seeds: Vec<u64>,
    /// Folder of the run folders, in which `~` is the home folder.
    pub out: PathBuf,
    /// Changes to all recipes, as `vssl pretrain --set` takes them.
    #[serde(default)]
    pub set: Vec<String>,
}

fn first_seed() -> Vec<u64> {
    vec![0]
}

/// Why a grid cannot be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GridError {
    /// The operating system refused.
    #[error("grid {}: {}", path.display(), vssl_data::explained(path, source))]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not a grid.
    #[error("grid {}: {source}expected recipes = […], out = \"…\" and perhaps seeds = […] and set = […]", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What the parser said, with the line.
        source: Box<toml::de::Error>,
    },
    /// A setting of the grid is not valid.
    #[error("grid {}: {problem}", path.display())]
    Setting {
        /// The file.
        path: PathBuf,
        /// Key, value and what was expected.
        problem: String,
    },
}

/// Why a cell of a grid cannot be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CellError {
    /// The recipe, or a change that the grid makes to it, is not valid.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The run folder cannot be read.
    #[error(transparent)]
    Folder(#[from] RunFolderError),
    /// Files of the run cannot be read.
    #[error(transparent)]
    Files(#[from] ComparisonError),
    /// The checkpoints of the run cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The folder holds a run of another recipe.
    #[error("{0}\n  choose another out, or remove that run")]
    Other(TrainError),
}

/// One run of a grid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Name of the cell: `<recipe>-<seed>`.
    pub name: String,
    /// Path of the recipe.
    pub recipe: PathBuf,
    /// Seed, which replaces that of the recipe.
    pub seed: u64,
    /// All changes to the recipe, including the seed.
    pub overrides: Vec<String>,
    /// The run folder.
    pub run: PathBuf,
}

/// The progress of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CellState {
    /// There is no run yet.
    New,
    /// The run was killed before its first checkpoint: it starts again and replaces what is there.
    Again,
    /// The run was stopped and goes on from its last checkpoint.
    Halfway,
    /// The run is finished.
    Finished,
}

impl Grid {
    /// Reads and checks the grid in the file `path`. The recipes are not read: a bad recipe fails its
    /// own cells only.
    ///
    /// # Errors
    /// A file that cannot be read or is not a grid, and a grid without cells or with two cells of one
    /// name.
    pub fn load(path: &Path) -> Result<Self, GridError> {
        let io = |source| GridError::Io { path: path.to_owned(), source };
        let text = fs::read_to_string(path).map_err(io)?;
        let syntax = |source| GridError::Syntax { path: path.to_owned(), source: Box::new(source) };
        let mut grid: Self = toml::from_str(&text).map_err(syntax)?;
        grid.out = in_home(&grid.out);
        grid.check().map_err(|problem| GridError::Setting { path: path.to_owned(), problem })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        for recipe in &mut grid.recipes {
            *recipe = in_home(recipe);
            let beside = folder.join(&recipe);
            if !recipe.exists() && beside.exists() {
                *recipe = beside;
            }
        }
        Ok(grid)
    }

    fn check(&self) -> Result<(), String> {
        for (key, is_empty) in [
            ("recipes = []", self.recipes.is_empty()),
            ("seeds = []", self.seeds.is_empty()),
            ("out = \"\"", self.out.as_os_str().is_empty()),
        ] {
            if is_empty {
                return Err(format!("{key}: expected at least one"));
            }
        }
        if let Some(text) = self.set.iter().find(|text| key_of(text) == "seed") {
            return Err(format!("set has {text:?}: expected the seeds in seeds = […]"));
        }
        let mut names = BTreeSet::new();
        match self.cells().into_iter().find(|cell| !names.insert(cell.name.clone())) {
            Some(cell) => Err(format!(
                "two cells are called {}; expected recipes and seeds that are there once, and \
                 recipes with different names",
                cell.name
            )),
            None => Ok(()),
        }
    }

    /// All cells: the recipes in their order, each with all seeds.
    pub fn cells(&self) -> Vec<Cell> {
        let cell = |recipe: &PathBuf, seed: u64| {
            let name = folder::name(recipe, seed);
            let seed_override = format!("seed={seed}");
            Cell {
                run: self.out.join(&name),
                name,
                recipe: recipe.clone(),
                seed,
                overrides: self.set.iter().cloned().chain([seed_override]).collect(),
            }
        };
        let seeds = |recipe| self.seeds.iter().map(move |&seed| cell(recipe, seed));
        self.recipes.iter().flat_map(seeds).collect()
    }
}

fn key_of(text: &str) -> &str {
    text.split_once('=').map_or(text, |(key, _)| key).trim()
}

impl Cell {
    /// The progress of the cell.
    ///
    /// # Errors
    /// A recipe that is not valid, or a folder with a run of another recipe, whose figures would be taken
    /// for those of this cell.
    pub fn state(&self) -> Result<CellState, CellError> {
        let (mut recipe, origins) = Recipe::load(&self.recipe, &self.overrides, METHODS)?;
        if !folder::is_run(&self.run) {
            return Ok(CellState::New);
        }
        let is_finished = comparison::is_finished(&self.run)?;
        if !is_finished && !Store::of(&self.run).has_saved()? {
            return Ok(CellState::Again);
        }
        let was = methods::recipe_from(&folder::recipe_of(&self.run)?)?;
        keep_adapted_defaults(&was, &mut recipe, &origins);
        let differences = binding_differences(&was, &recipe);
        if !differences.is_empty() {
            let run = self.run.clone();
            return Err(CellError::Other(TrainError::OtherRecipe { run, differences }));
        }
        Ok(if is_finished { CellState::Finished } else { CellState::Halfway })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Grid, GridError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("grid.toml");
        fs::write(&path, text).unwrap();
        Grid::load(&path)
    }

    #[test]
    fn cells_are_all_recipes_with_all_seeds() {
        let text = "recipes = [\"x/a.toml\", \"recipes/b/c.toml\"]\nseeds = [3, 1]\nout = \"o\"\n\
                    set = [\"train.epochs=2\"]";
        let cells = load(text).unwrap().cells();
        let runs: Vec<_> = cells.iter().map(|cell| cell.run.to_str().unwrap()).collect();
        assert_eq!(runs, ["o/a-3", "o/a-1", "o/b-c-3", "o/b-c-1"]);
        assert_eq!(cells[1].overrides, ["train.epochs=2", "seed=1"]);
    }

    #[test]
    fn a_tilde_is_the_home_folder() {
        let home = std::env::home_dir().unwrap();
        let grid = load("recipes = [\"~/a.toml\"]\nout = \"~/runs/study\"").unwrap();
        assert_eq!((&grid.out, &grid.recipes[0]), (&home.join("runs/study"), &home.join("a.toml")));
    }

    #[test]
    fn what_makes_no_grid_is_named() {
        let cases = [
            ("recipes = []\nout = \"o\"", "recipes = []"),
            ("recipes = [\"a.toml\"]", "out"),
            ("recipes = [\"a.toml\"]\nout = \"o\"\nseeds = []", "seeds = []"),
            ("recipes = [\"a.toml\"]\nout = \"o\"\nseed = 1", "seed"),
            ("recipes = [\"a.toml\"]\nout = \"o\"\nset = [\"seed = 1\"]", "seeds = […]"),
            ("recipes = [\"x/a.toml\", \"y/a.toml\"]\nout = \"o\"", "two cells are called a-0"),
            ("recipes = 3", "line 1"),
        ];
        for (text, expected) in cases {
            let error = load(text).unwrap_err().to_string();
            assert!(error.contains("grid.toml") && error.contains(expected), "{error}");
        }
    }
}
