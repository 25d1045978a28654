//! A grid: every recipe of a list with every seed of a list, a run each.
//!
//! ```toml
//! recipes = ["recipes/cifar10/byol.toml", "recipes/cifar10/vssl.toml"]
//! seeds = [0, 1]
//! out = "runs/study"
//! set = ["train.epochs=100"]
//! ```
//!
//! The run folders alone say what is done already, so that a grid that was stopped in whatever way goes on. Called by `vssl table --grid`, which does the runs.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::{
    comparison::{self, ComparisonError},
    methods,
    recipe::{Recipe, RecipeError},
    run::{
        checkpoint::{CheckpointError, LATEST, Store},
        folder::{self, RunFolderError},
        resume::binding_differences,
    },
    train::TrainError,
};

/// The file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grid {
    /// Recipes; relative paths are taken from the working folder, or else from that of the grid.
    pub recipes: Vec<PathBuf>,
    /// Seeds, in place of those of the recipes; 0 alone.
    #[serde(default = "first_seed")]
    pub seeds: Vec<u64>,
    /// The folder of all run folders.
    pub out: PathBuf,
    /// Changes to all recipes, as `vssl pretrain --set` takes them.
    #[serde(default)]
    pub set: Vec<String>,
}

fn first_seed() -> Vec<u64> {
    vec![0]
}

/// Why there is nothing to run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GridError {
    /// The operating system refused.
    #[error("grid {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file does not describe a grid.
    #[error("grid {}: {source}expected recipes = […], out = \"…\" and perhaps seeds = […] and set = […]", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What the parser said, with the line.
        source: Box<toml::de::Error>,
    },
    /// A setting makes no sense.
    #[error("grid {}: {problem}", path.display())]
    Setting {
        /// The file.
        path: PathBuf,
        /// Key, value and what was expected.
        problem: String,
    },
}

/// Why a cell cannot be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CellError {
    /// The recipe, or a change of the grid to it.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The run folder.
    #[error(transparent)]
    Folder(#[from] RunFolderError),
    /// Files of the run.
    #[error(transparent)]
    Files(#[from] ComparisonError),
    /// Its checkpoints.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The run that is there is of something else.
    #[error("{0}\n  choose another out, or remove that run")]
    Other(TrainError),
}

/// One run of a grid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// `<recipe>-<seed>`.
    pub name: String,
    /// The recipe.
    pub recipe: PathBuf,
    /// In place of that of the recipe.
    pub seed: u64,
    /// All changes to the recipe, the seed among them.
    pub overrides: Vec<String>,
    /// The run folder.
    pub run: PathBuf,
}

/// How far the run of a cell is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CellState {
    /// Nothing is there.
    New,
    /// It was killed before its first checkpoint: it starts again, over what is there.
    Again,
    /// It goes on from its last checkpoint.
    Halfway,
    /// There is nothing to do.
    Finished,
}

impl Grid {
    /// Reads and checks the file at `path`. The recipes are not looked at: a bad one fails its own
    /// cells.
    ///
    /// # Errors
    /// A file that cannot be read, is no grid, or has no cells or two of one name.
    pub fn load(path: &Path) -> Result<Self, GridError> {
        let io = |source| GridError::Io { path: path.to_owned(), source };
        let text = fs::read_to_string(path).map_err(io)?;
        let syntax = |source| GridError::Syntax { path: path.to_owned(), source: Box::new(source) };
        let mut grid: Self = toml::from_str(&text).map_err(syntax)?;
        grid.check().map_err(|problem| GridError::Setting { path: path.to_owned(), problem })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        for recipe in &mut grid.recipes {
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

    /// All runs: the recipes in their order, each with all seeds.
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
    /// How far it is, and whether it can be run at all.
    ///
    /// # Errors
    /// A recipe that makes no sense, or a run in its folder that was made with another recipe: its
    /// figures would be passed off as those of this one.
    pub fn state(&self) -> Result<CellState, CellError> {
        let (recipe, _) = Recipe::load(&self.recipe, &self.overrides, &methods::schemas())?;
        if !folder::is_run(&self.run) {
            return Ok(CellState::New);
        }
        let is_finished = comparison::is_finished(&self.run)?;
        if !is_finished && Store::of(&self.run).pointer(LATEST)?.is_none() {
            return Ok(CellState::Again);
        }
        let was = methods::recipe_from(&folder::recipe_of(&self.run)?)?;
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
