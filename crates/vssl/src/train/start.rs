//! The encoder that a run starts from: `[init]` of its recipe.
//!
//! The encoder is read from a run folder, the folder of a fine-tuning, a file of this program or one of another
//! program, and only as a whole. The run folder keeps a copy: the end of the run measures by it how good the encoder
//! was before, and a run that was stopped before its first checkpoint begins again with it. A run that goes on from a
//! checkpoint needs neither. Called where a run is planned and where its networks are made.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use burn::tensor::Device;

use super::TrainError;
use crate::{
    backbone::{Backbone, BackboneConfig},
    encoder::{
        Encoder, EncoderError, Input, export,
        file::{self, ImportError, Imported},
        foreign::{self, ForeignError, ImportReport, MatchStatus, Request, Row},
    },
    formats::safetensors,
    layers::Init,
    method::learner::Network,
    recipe::{InitSection, Recipe},
    run::{checkpoint::Store, digest::sha256, folder},
    tensors::state::{self, Tensors},
};

/// The keys of the copy's metadata: the digest of the file that it is a copy of, and that of its own tensors.
const COPY_OF: &str = "copy_of";
const WEIGHTS: &str = "weights";

/// The largest number of tensors that an error names.
const NAMED: usize = 20;

/// An encoder to start from.
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
}

impl Start {
    /// Returns the encoder that the run in the folder `run` starts from: for a run that was begun before, its copy in
    /// the run folder, and otherwise the encoder that `init` names.
    ///
    /// # Errors
    /// The errors of [`Start::read`], where there is no copy or it is not the one that the run made.
    pub(super) fn of_run(
        run: &Path,
        was_begun: bool,
        init: &InitSection,
        recipe_folder: Option<&Path>,
    ) -> Result<Self, TrainError> {
        let kept = run.join(folder::START);
        let (true, true, Some(digest)) = (was_begun, kept.is_file(), &init.digest) else {
            return Self::read(init, recipe_folder);
        };
        let (Imported { config, input, network, step, .. }, weights) = match copy(&kept, digest) {
            Ok(whole) => whole,
            Err(problem) => {
                let read = Self::read(init, recipe_folder);
                let mut start = read.map_err(|error| {
                    TrainError::Setting(format!("{}: {problem}; and {error}", kept.display()))
                })?;
                start.notes.push(format!(
                    "{}: {problem}: the encoder is read again from {}",
                    kept.display(),
                    init.from.display()
                ));
                return Ok(start);
            }
        };
        let (digest, notes) = (digest.clone(), Vec::new());
        let (checkpoint, place) = (None, None);
        let mut start =
            Self { config, input, weights, digest, notes, network, step, checkpoint, place };
        let name = start.config.architecture().name();
        start.notes.push(format!(
            "starts from {}, the copy of {} that the run was begun with: {name}, {} tensors",
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
    pub fn read(init: &InitSection, recipe_folder: Option<&Path>) -> Result<Self, TrainError> {
        let path = found(&init.from, recipe_folder)?;
        let mut start = match path.is_dir() {
            true => Self::of_folder(&path, init)?,
            false => Self::of_file(&path, init)?,
        };
        check_finite(&path, &start.weights)?;
        start.place = path.canonicalize().ok().filter(|place| place.to_str().is_some());
        match &init.digest {
            Some(digest) if *digest != start.digest => {
                return Err(TrainError::OtherStart {
                    path,
                    got: start.digest,
                    expected: digest.clone(),
                });
            }
            _ => start.notes.insert(0, start.introduction(&path)),
        }
        Ok(start)
    }

    fn introduction(&self, path: &Path) -> String {
        let network = match self.network {
            Some(Network::Student) => ", the student",
            Some(Network::Teacher) => ", the teacher",
            None => "",
        };
        let step = self.step.map_or_else(String::new, |step| format!(" after step {step}"));
        let name = self.config.architecture().name();
        format!(
            "starts from {}{network}{step}: {name}, {} tensors, SHA-256 {}",
            path.display(),
            self.weights.len(),
            self.digest
        )
    }

    /// Reads the encoder of a run or of a fine-tuning.
    fn of_folder(path: &Path, init: &InitSection) -> Result<Self, TrainError> {
        if let Some(key) = init.foreign_keys().first() {
            return Err(TrainError::Setting(format!(
                "init.{key} is given, and {} is a folder of this program, which tells all about its encoder; expected \
                 no such key, or a file of another program",
                path.display()
            )));
        }
        let checkpoint = init.checkpoint.as_deref().unwrap_or("latest");
        let encoder = Encoder::open(path, checkpoint, init.network, &Device::flex())
            .map_err(TrainError::StartingEncoder)?;
        let weights = state::collect(&*encoder.backbone);
        let kind = match (&encoder.recipe, init.network) {
            (None, _) => "network",
            (Some(_), Network::Student) => "student",
            (Some(_), Network::Teacher) => "memory",
        };
        let step = encoder.step.unwrap_or_default();
        let file = Store::of(path).folder_of(step).join(format!("{kind}.safetensors"));
        let digest = digest_of(&file)?;
        let checkpoint = Some(format!("step-{step}"));
        let Encoder { config, input, network, step, .. } = encoder;
        let (notes, place) = (Vec::new(), None);
        Ok(Self { config, input, weights, digest, notes, network, step, checkpoint, place })
    }

    /// Reads the encoder of a file.
    fn of_file(path: &Path, init: &InitSection) -> Result<Self, TrainError> {
        // Where the digest is given, it tells another encoder from the one that is meant.
        if let (Some(checkpoint), None) = (&init.checkpoint, &init.digest) {
            return Err(TrainError::Setting(format!(
                "init.checkpoint = {checkpoint:?}, and {} is a file, which holds one encoder; expected no such key, or \
                 a run folder",
                path.display()
            )));
        }
        let digest = digest_of(path)?;
        let own = match file::import(path, &Device::flex()) {
            Ok(own) if init.foreign_keys().is_empty() => Some(own),
            Err(error @ (ImportError::Tensors { .. } | ImportError::TooLarge { .. })) => {
                return Err(TrainError::StartingEncoder(error.into()));
            }
            _ => None,
        };
        if let Some(Imported { backbone, config, input, step, network }) = own {
            if init.network == Network::Teacher && network != Some(Network::Teacher) {
                let path = path.to_owned();
                return Err(TrainError::StartingEncoder(EncoderError::OneNetwork { path }));
            }
            let weights = state::collect(&backbone);
            return Ok(Self {
                config,
                input,
                weights,
                digest,
                notes: Vec::new(),
                network,
                step,
                checkpoint: None,
                place: None,
            });
        }
        let foreign = |source| TrainError::ForeignStart { path: path.to_owned(), source };
        let report = foreign::read(path, &request(init)).map_err(foreign)?;
        check_whole(path, &report)?;
        let assumptions = report.assumptions().join("; ");
        let note = format!(
            "taken for granted, for weights do not tell it (keys of [init] say it otherwise): {assumptions}"
        );
        let (config, input, network) = (report.config.clone(), report.input, report.network);
        let (weights, notes) = (report.into_tensors(), vec![note]);
        let (step, checkpoint, place) = (None, None, None);
        Ok(Self { config, input, weights, digest, notes, network, step, checkpoint, place })
    }

    /// Gives `recipe` what the encoder decides and the recipe does not say, the encoder's place from the root, so that
    /// the recipe leads to it from any folder, and the step of its checkpoint, which may not be the latest one later. Returns notes on it.
    ///
    /// # Errors
    /// The recipe says otherwise in `[backbone]`.
    pub fn adapt(&self, recipe: &mut Recipe) -> Result<Vec<String>, TrainError> {
        let notes = recipe.start_from(&self.config, self.input.normalisation);
        let init = recipe.init.as_mut().expect("the recipe names the encoder");
        init.digest = Some(self.digest.clone());
        if self.checkpoint.is_some() {
            init.checkpoint.clone_from(&self.checkpoint);
        }
        let from = init.from.clone();
        if let Some(place) = &self.place {
            init.from.clone_from(place);
        }
        notes.map_err(|differences| TrainError::OtherBackbone { from, differences })
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
    let start = Start::of_run(run, was_begun, init, recipe_folder)?;
    let taken = start.adapt(recipe)?;
    let remark = start.remark(recipe);
    let notes = start.notes.into_iter().chain(taken).chain(remark).collect();
    Ok((notes, Some(start.weights)))
}

/// Writes the copy of the encoder that a run of `recipe` in the folder `run` starts from.
///
/// # Errors
/// The file cannot be written.
pub(super) fn keep(run: &Path, recipe: &Recipe, encoder: &Backbone) -> Result<(), TrainError> {
    let (weights, input) = (state::collect(encoder), Input::of(recipe));
    let to = run.join(folder::START);
    let digest = recipe.init.as_ref().and_then(|init| init.digest.clone()).unwrap_or_default();
    let origin = [(COPY_OF, digest), (WEIGHTS, digest_of_weights(&weights))];
    export::write_tensors(&to, &weights, &recipe.backbone, &input, &origin)
        .map_err(|error| TrainError::Encoder(error.into()))
}

/// Returns the encoder, on `device`, that the run in the folder `run` started from: its copy in the run folder, or the
/// encoder that `init` names where the copy is gone or damaged. `None` where neither can be read: a training is not lost for
/// the want of what was before it.
pub(super) fn before(run: &Path, init: &InitSection, device: &Device) -> Option<Backbone> {
    let digest = init.digest.as_deref().unwrap_or_default();
    let (config, weights) = match copy(&run.join(folder::START), digest) {
        Ok((kept, weights)) => (kept.config, weights),
        Err(_) => Start::read(init, None).map(|start| (start.config, start.weights)).ok()?,
    };
    let blank = Backbone::new(&config, &Init::blank(device));
    let backbone = state::restore(blank, weights);
    Some(backbone.expect("they are the tensors of this network"))
}

/// Returns what the copy `file` of an encoder holds, and its weights, if it is the one that a run made of the file with
/// this `digest`.
///
/// # Errors
/// It is damaged or another file, in words.
fn copy(file: &Path, digest: &str) -> Result<(Imported, Tensors), &'static str> {
    let bytes = fs::read(file).map_err(|_| "this copy cannot be read")?;
    let metadata = safetensors::metadata(&bytes).unwrap_or_default();
    let imported = file::imported(file, bytes, &Device::flex());
    let imported = imported.map_err(|_| "this copy is damaged")?;
    let weights = state::collect(&imported.backbone);
    let says = |key: &str, value: &str| metadata.get(key).is_some_and(|found| found == value);
    match says(COPY_OF, digest) && says(WEIGHTS, &digest_of_weights(&weights)) {
        true => Ok((imported, weights)),
        false => Err("this is not the copy that the run made when it was begun"),
    }
}

/// Returns the SHA-256 of all tensors and their names.
fn digest_of_weights(weights: &Tensors) -> String {
    sha256(weights.iter().flat_map(|(name, data)| [name.as_bytes(), data.as_bytes()]))
}

/// Checks that all weights are numbers.
///
/// # Errors
/// A tensor has values that are infinite or not numbers; the error names the first such tensor.
fn check_finite(path: &Path, weights: &Tensors) -> Result<(), TrainError> {
    for (tensor, data) in weights {
        let values = data.as_slice::<f32>().unwrap_or_default();
        let count = values.iter().filter(|value| !value.is_finite()).count();
        if count > 0 {
            return Err(TrainError::Setting(format!(
                "{}: {count} of the {} values of {tensor} are infinite or not numbers; expected finite weights, for \
                 example those of an earlier checkpoint",
                path.display(),
                values.len()
            )));
        }
    }
    Ok(())
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
fn found(from: &Path, recipe_folder: Option<&Path>) -> Result<PathBuf, TrainError> {
    if from.to_str().is_none() {
        return Err(TrainError::Setting(format!(
            "init.from leads to {from:?}, a name that is not UTF-8, which no recipe can hold: rename it"
        )));
    }
    let beside = recipe_folder.filter(|_| from.is_relative()).map(|folder| folder.join(from));
    let places: Vec<PathBuf> = [Some(from.to_owned()), beside].into_iter().flatten().collect();
    match places.iter().find(|place| place.exists()) {
        Some(place) => Ok(place.clone()),
        None => Err(TrainError::NoStart { path: from.to_owned(), looked: places }),
    }
}

/// Returns the SHA-256 of a file.
///
/// # Errors
/// It is no file, such as a pipe or a device, or it cannot be read.
fn digest_of(file: &Path) -> Result<String, TrainError> {
    if file.metadata().is_ok_and(|found| !found.is_file()) {
        return Err(TrainError::Setting(format!(
            "init.from leads to {}, which is no file but a pipe or a device; save its bytes in a file first",
            file.display()
        )));
    }
    let read = fs::read(file).map(|bytes| sha256([bytes]));
    read.map_err(|source: io::Error| TrainError::ForeignStart {
        path: file.to_owned(),
        source: ForeignError::Io { path: file.to_owned(), source },
    })
}

/// Checks that the file has exactly the tensors of the network, apart from those that belong to no encoder.
///
/// # Errors
/// The tensors that do not fit, each with its shapes.
fn check_whole(path: &Path, report: &ImportReport) -> Result<(), TrainError> {
    let faults: Vec<&Row> = report.rows.iter().filter(|row| row.status.is_fault()).collect();
    if faults.is_empty() {
        return Ok(());
    }
    let (count, mut tensors) = (faults.len(), Vec::new());
    tensors.extend(faults.into_iter().take(NAMED).map(fault));
    if count > NAMED {
        tensors.push(format!("and {} more", count - NAMED));
    }
    let architecture = report.config.architecture().name();
    Err(TrainError::StartDoesNotFit { path: path.to_owned(), architecture, count, tensors })
}

/// Returns a sentence on a tensor that does not fit.
fn fault(row: &Row) -> String {
    let shape = |shape: &Option<Vec<usize>>| shape.clone().unwrap_or_default();
    let (got, wanted) = (shape(&row.shape), shape(&row.expected));
    match row.status {
        MatchStatus::Missing => {
            format!("{}: the file lacks it, the network has {wanted:?}", row.label())
        }
        MatchStatus::Mismatched => {
            format!("{}: {got:?} in the file, the network has {wanted:?}", row.label())
        }
        _ => format!("{}: {got:?} in the file, the network has no such tensor", row.label()),
    }
}
