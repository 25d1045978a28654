//! The encoder that a run starts from: `[init]` of its recipe.
//!
//! The encoder is read from a run folder, the folder of a fine-tuning, a file of this program or one of another
//! program, and only as a whole. The run folder keeps a copy: the end of the run measures by it how good the encoder
//! was before, and a run that was stopped before its first checkpoint begins again with it. A run that goes on from a
//! checkpoint needs neither. Called where a run is planned and where its networks are made. The frozen teacher of a
//! method is read in the same way: see `teacher`.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use burn::tensor::Device;
use vssl_data::counted;

use super::{
    TrainError,
    fit::{check_finite, check_one_encoder, check_whole},
    kept::{Role, copy},
    stem,
};
use crate::{
    backbone::{Backbone, BackboneConfig},
    encoder::{
        Encoder, EncoderError, Input,
        file::{self, ImportError, Imported},
        foreign::{self, ForeignError, Request},
    },
    layers::Init,
    method::learner::Network,
    recipe::{InitSection, Recipe},
    run::{checkpoint::Store, digest::sha256, folder},
    tensors::state::{self, Tensors},
};

/// An encoder to start from, or a frozen teacher.
pub struct Start {
    /// The architecture.
    pub config: BackboneConfig,
    /// The preparation of the images that the encoder was trained on.
    pub input: Input,
    /// All tensors of the encoder, by the backbone's paths.
    pub weights: Tensors,
    /// SHA-256 of the file that the weights come from.
    pub digest: String,
    /// A sentence on what the encoder is, and on what its file does not tell.
    pub notes: Vec<String>,
    network: Option<Network>,
    step: Option<u64>,
    /// The checkpoint of a run or of a fine-tuning that it is; `None` for a file and for a run's own copy.
    checkpoint: Option<String>,
    /// Where it was found, from the root; `None` for a run's own copy.
    place: Option<PathBuf>,
    /// Whether it was read from the copy in the run folder.
    is_copy: bool,
}

impl Start {
    fn of(config: BackboneConfig, input: Input, weights: Tensors, digest: String) -> Self {
        let (notes, network, step) = (Vec::new(), None, None);
        let (checkpoint, place, is_copy) = (None, None, false);
        Self { config, input, weights, digest, notes, network, step, checkpoint, place, is_copy }
    }

    /// Returns the encoder of this role in the run in the folder `run`: for a run that was begun before, its copy in the
    /// run folder, and otherwise the encoder that `init` names.
    ///
    /// # Errors
    /// The errors of [`Start::read`], where there is no copy or it is not the one that the run made.
    pub(super) fn of_run(
        role: Role,
        run: &Path,
        was_begun: bool,
        init: &InitSection,
        recipe_folder: Option<&Path>,
    ) -> Result<Self, TrainError> {
        let kept = run.join(role.file());
        let (true, Some(digest)) = (was_begun, &init.digest) else {
            return Self::read(role, init, recipe_folder);
        };
        let (Imported { config, input, network, step, .. }, weights) = match copy(&kept, digest) {
            Ok(whole) => whole,
            Err(problem) => {
                let read = Self::read(role, init, recipe_folder);
                let mut start = read.map_err(|source| TrainError::NoCopy {
                    file: kept.clone(),
                    problem,
                    source: Box::new(source),
                })?;
                start.notes.push(format!(
                    "{}: {problem}: the encoder is read again from {}",
                    kept.display(),
                    init.from.display()
                ));
                return Ok(start);
            }
        };
        let start = Self::of(config, input, weights, digest.clone());
        let mut start = Self { network, step, is_copy: true, ..start };
        let name = start.config.architecture().name();
        start.notes.push(format!(
            "{} {}, the copy of {} that the run was begun with: {name}, {} tensors",
            role.verb(),
            kept.display(),
            init.from.display(),
            start.weights.len()
        ));
        Ok(start)
    }

    /// Reads the encoder that `init` names. A relative path that is not in the working folder is looked for in
    /// `recipe_folder`.
    ///
    /// # Errors
    /// The encoder cannot be read, is not whole, or is not that of `init.digest`.
    pub fn read(
        role: Role,
        init: &InitSection,
        recipe_folder: Option<&Path>,
    ) -> Result<Self, TrainError> {
        let path = found(role, &init.from, recipe_folder)?;
        let mut start = match path.is_dir() {
            true => Self::of_folder(role, &path, init)?,
            false => Self::of_file(role, &path, init)?,
        };
        check_finite(&path, &start.weights)?;
        start.place = path.canonicalize().ok().filter(|place| place.to_str().is_some());
        match &init.digest {
            Some(digest) if *digest != start.digest => {
                return Err(TrainError::OtherStart {
                    table: role.table(),
                    path,
                    got: start.digest,
                    expected: digest.clone(),
                });
            }
            _ => start.notes.insert(0, start.introduction(role, &path)),
        }
        Ok(start)
    }

    fn introduction(&self, role: Role, path: &Path) -> String {
        let network = match self.network {
            Some(Network::Student) => ", the student",
            Some(Network::Teacher) => ", the teacher",
            None => "",
        };
        let step = self.step.map_or_else(String::new, |step| format!(" after step {step}"));
        let name = self.config.architecture().name();
        format!(
            "{} {}{network}{step}: {name}, {} tensors, SHA-256 {}",
            role.verb(),
            path.display(),
            self.weights.len(),
            self.digest
        )
    }

    /// Reads the encoder of a run or of a fine-tuning.
    fn of_folder(role: Role, path: &Path, init: &InitSection) -> Result<Self, TrainError> {
        if let Some(key) = init.foreign_keys().first() {
            return Err(TrainError::Setting(format!(
                "{}.{key} is given, and {} is a folder of this program, which tells all about its encoder; expected \
                 no such key, or a file of another program",
                role.table(),
                path.display()
            )));
        }
        let unreadable = |error| TrainError::StartingEncoder { table: role.table(), error };
        let checkpoint = init.checkpoint.as_deref().unwrap_or("latest");
        let encoder =
            Encoder::open(path, checkpoint, init.network, &Device::flex()).map_err(unreadable)?;
        let weights = state::collect(&*encoder.backbone);
        let kind = match (&encoder.recipe, init.network) {
            (None, _) => "network",
            (Some(_), Network::Student) => "student",
            (Some(_), Network::Teacher) => "memory",
        };
        let step = encoder.step.unwrap_or_default();
        let file = Store::of(path).folder_of(step).join(format!("{kind}.safetensors"));
        let digest = digest_of(role, &file)?;
        let checkpoint = Some(format!("step-{step}"));
        let Encoder { config, input, network, step, .. } = encoder;
        Ok(Self { network, step, checkpoint, ..Self::of(config, input, weights, digest) })
    }

    /// Reads the encoder of a file.
    fn of_file(role: Role, path: &Path, init: &InitSection) -> Result<Self, TrainError> {
        check_one_encoder(role, path, init)?;
        let digest = digest_of(role, path)?;
        let table = role.table();
        let unreadable = |error| TrainError::StartingEncoder { table, error };
        let own = match file::import(path, &Device::flex()) {
            Ok(own) if init.foreign_keys().is_empty() => Some(own),
            Err(error @ (ImportError::Tensors { .. } | ImportError::TooLarge { .. })) => {
                return Err(unreadable(error.into()));
            }
            _ => None,
        };
        if let Some(Imported { backbone, config, input, step, network, .. }) = own {
            if init.network == Network::Teacher && network != Some(Network::Teacher) {
                let path = path.to_owned();
                return Err(unreadable(EncoderError::OneNetwork { path }));
            }
            let weights = state::collect(&backbone);
            return Ok(Self { network, step, ..Self::of(config, input, weights, digest) });
        }
        let foreign = |source| TrainError::ForeignStart { table, path: path.to_owned(), source };
        let report = foreign::read(path, &request(init)).map_err(foreign)?;
        check_whole(path, &report)?;
        let assumptions = report.assumptions().join("; ");
        let note = format!(
            "taken for granted, for weights do not tell it (keys of [{table}] say it otherwise): {assumptions}"
        );
        let (config, input, network) = (report.config.clone(), report.input, report.network);
        let start = Self::of(config, input, report.into_tensors(), digest);
        Ok(Self { network, notes: vec![note], ..start })
    }

    /// Gives `recipe` what the encoder decides and the recipe does not say, and pins the encoder as [`Start::pin`] does.
    /// Returns notes on it.
    ///
    /// # Errors
    /// The recipe says otherwise in `[backbone]`.
    pub fn adapt(&self, recipe: &mut Recipe) -> Result<Vec<String>, TrainError> {
        let wanted = recipe.data.channels;
        let init = recipe.init.as_ref().expect("the recipe names the encoder");
        let channels = (self.input.channels(), wanted);
        let changed = stem::check(&self.config, channels, init, self.is_copy)?;
        let notes = recipe.start_from(&self.config, self.input.normalisation);
        let init = recipe.init.as_mut().expect("the recipe names the encoder");
        let from = init.from.clone();
        self.pin(init);
        let notes = notes.map_err(|differences| TrainError::OtherBackbone { from, differences })?;
        let data = &recipe.data;
        if data.normalisation.is_none() && data.usual_normalisation().is_none() {
            return Err(TrainError::Setting(format!(
                "data.normalisation is not set, and the encoder's is for images of {}; expected a mean and a deviation \
                 for each of {}: vssl data statistics measures them",
                counted(self.input.channels(), "channel"),
                counted(wanted, "channel")
            )));
        }
        Ok(changed.into_iter().chain(notes).collect())
    }

    /// Gives a table that names the encoder its digest, its place from the root, so that the recipe leads to it from any
    /// folder, and the step of its checkpoint, which may not be the latest one later.
    pub fn pin(&self, table: &mut InitSection) {
        table.digest = Some(self.digest.clone());
        if self.checkpoint.is_some() {
            table.checkpoint.clone_from(&self.checkpoint);
        }
        if let Some(place) = &self.place {
            table.from.clone_from(place);
        }
    }

    /// Returns whether it was read from the copy in the run folder.
    pub(super) fn is_copy(&self) -> bool {
        self.is_copy
    }

    /// Returns a note where the views of `recipe` have another size than the images of the encoder.
    pub fn remark(&self, recipe: &Recipe) -> Option<String> {
        let (own, known) = (Input::of(recipe).size, self.input.size);
        (own != known).then(|| {
            format!(
                "the views have {own} pixels, the encoder knows images of {known}: the nearer both are, the more of \
                 what it learnt holds"
            )
        })
    }
}

/// Gives `recipe` what the encoder decides that the run in the folder `run` starts from, if it starts from an encoder.
/// Returns notes on it, and its weights.
///
/// # Errors
/// The encoder cannot be read, or the recipe contradicts it.
pub(super) fn take_over(
    recipe: &mut Recipe,
    run: &Path,
    was_begun: bool,
    recipe_folder: Option<&Path>,
) -> Result<(Vec<String>, Option<Tensors>), TrainError> {
    let Some(init) = &recipe.init else { return Ok((Vec::new(), None)) };
    let start = Start::of_run(Role::Start, run, was_begun, init, recipe_folder)?;
    let taken = start.adapt(recipe)?;
    let remark = start.remark(recipe);
    let notes = start.notes.into_iter().chain(taken).chain(remark).collect();
    Ok((notes, Some(start.weights)))
}

/// Returns the encoder, on `device`, that the run in the folder `run` started from: its copy in the run folder, or the
/// encoder that `init` names where the copy is gone or damaged. `None` where neither can be read: a training is not lost for
/// the want of what was before it.
pub(super) fn before(
    run: &Path,
    (init, channels): (&InitSection, usize),
    device: &Device,
) -> Option<Backbone> {
    let digest = init.digest.as_deref().unwrap_or_default();
    let (config, weights) = match copy(&run.join(folder::START), digest) {
        Ok((kept, weights)) => (kept.config, weights),
        Err(_) => {
            Start::read(Role::Start, init, None).map(|start| (start.config, start.weights)).ok()?
        }
    };
    let mut weights = weights;
    stem::fit(&mut weights, &config, channels, init.stem_channels);
    let blank = Backbone::new(&config, &Init::blank(device).with_channels(channels));
    // Another encoder may lie there by now.
    state::restore(blank, weights).ok()
}

/// Returns what `init` says of a file of another program.
fn request(init: &InitSection) -> Request {
    Request {
        architecture: init.architecture,
        stem: init.stem,
        stem_padding: init.stem_padding,
        heads: init.heads,
        pooling: init.pooling,
        size: init.size,
        resize: init.resize,
        normalisation: init.normalisation,
        network: init.network,
        prefix: init.prefix.clone(),
    }
}

/// Returns the path of the encoder, which exists.
///
/// # Errors
/// There is nothing at the path, or a recipe cannot hold it.
pub(super) fn found(
    role: Role,
    from: &Path,
    recipe_folder: Option<&Path>,
) -> Result<PathBuf, TrainError> {
    if from.to_str().is_none() {
        return Err(TrainError::Setting(format!(
            "{}.from leads to {from:?}, a name that is not UTF-8, which no recipe can hold: rename it",
            role.table()
        )));
    }
    let beside = recipe_folder.filter(|_| from.is_relative()).map(|folder| folder.join(from));
    let places: Vec<PathBuf> = [Some(from.to_owned()), beside].into_iter().flatten().collect();
    match places.iter().find(|place| place.exists()) {
        Some(place) => Ok(place.clone()),
        None => {
            let (table, path) = (role.table(), from.to_owned());
            Err(TrainError::NoStart { table, path, looked: places })
        }
    }
}

/// Returns the SHA-256 of a file.
///
/// # Errors
/// It is no file, such as a pipe or a device, or it cannot be read.
fn digest_of(role: Role, file: &Path) -> Result<String, TrainError> {
    if file.metadata().is_ok_and(|found| !found.is_file()) {
        return Err(TrainError::Setting(format!(
            "{}.from leads to {}, which is no file but a pipe or a device; save its bytes in a file first",
            role.table(),
            file.display()
        )));
    }
    let read = fs::read(file).map(|bytes| sha256([bytes]));
    read.map_err(|source: io::Error| TrainError::ForeignStart {
        table: role.table(),
        path: file.to_owned(),
        source: ForeignError::Io { path: file.to_owned(), source },
    })
}
