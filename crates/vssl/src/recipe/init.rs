//! `[init]`: the encoder that a run starts from, and what the recipe takes over from it.
//!
//! The keys beside `from` are the options of `vssl import`: what a file of another program does not tell. What the
//! encoder itself decides, its architecture and the normalisation of its images, need not be in the recipe.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use toml::Table;
use vssl_data::Normalisation;

use super::{Checker, Difference, Recipe, explain, normalisation, sections::short};
use crate::{
    backbone::{Architecture, BackboneConfig, Pooling, Stem},
    method::learner::Network,
};

/// The keys of `[backbone]` that say how the encoder is trained, not what it is: a recipe may have other values than
/// the encoder had.
const OF_TRAINING: [&str; 1] = ["vit.frozen_patch_projection"];

/// `[init]`: the encoder whose weights a run starts with; and `[teacher]`, where `freeze_epochs` has no meaning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InitSection {
    /// A run folder, the folder of a fine-tuning, or a file: one that `vssl export` or `vssl import` wrote, or another
    /// program's weights. A relative path is looked for in the working folder, then beside the recipe.
    pub from: PathBuf,
    /// SHA-256 of the file that the weights are read from: in a run folder, the file of the network in the checkpoint.
    /// Always there in the recipe of a run. Another file is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Which network of a run it is, or of a file that has a moving average as well; `student`.
    pub network: Network,
    /// Checkpoint of a run or of a fine-tuning: `latest`, `best` or `step-N`; `latest`. In the recipe of a run that has
    /// begun it is the step that this was; a file has no checkpoints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
    /// Of a teacher: the features that `vssl embed` wrote of the training images. A path as `from` is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub features: Option<PathBuf>,
    /// SHA-256 of that file. Always there in the recipe of a run with such features. Another file is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub features_digest: Option<String>,
    /// Epochs in which the heads train alone, before the backbone trains with them; 0.
    pub freeze_epochs: u64,
    /// Architecture that another program's file must have; the tensors decide.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub architecture: Option<Architecture>,
    /// Stem that a ResNet of another program must have; the tensors decide.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stem: Option<Stem>,
    /// Padding of a 3×3 stem, which no file of another program states; 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stem_padding: Option<usize>,
    /// Attention heads of a transformer, which few files state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heads: Option<usize>,
    /// Pooling of a transformer, which few files state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pooling: Option<Pooling>,
    /// Side of the images that another program's encoder was trained on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<usize>,
    /// Length of these images' shorter side before the centre was cut out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resize: Option<usize>,
    /// Normalisation of these images: `imagenet`, `cifar10`, `cifar100`, numbers as `vssl import` takes them, or a table
    /// of `mean` and `std`.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "short::serialize",
        deserialize_with = "normalisation::deserialize"
    )]
    pub normalisation: Option<Normalisation>,
    /// What becomes of the weights of a stem that takes another number of channels than the images have; without it
    /// such an encoder is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stem_channels: Option<StemChannels>,
    /// Prefix of the encoder's tensor names, where the file has several encoders.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The table `[backbone]` as the recipe has it, without defaults; `None` for a recipe of a program's making.
    #[serde(skip)]
    pub(super) backbone: Option<Table>,
}

/// How the stem of an encoder is made to take another number of channels. Both ways multiply by the number of channels
/// that it had over the number that it gets, so that what comes out stays as large as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StemChannels {
    /// Every channel gets the mean of the weights of all channels.
    Mean,
    /// The channels get the weights of those that were there, in their order, and again from the first on.
    Repeat,
}

impl Default for InitSection {
    fn default() -> Self {
        Self {
            from: PathBuf::new(),
            digest: None,
            network: Network::Student,
            checkpoint: None,
            features: None,
            features_digest: None,
            freeze_epochs: 0,
            architecture: None,
            stem: None,
            stem_padding: None,
            heads: None,
            pooling: None,
            size: None,
            resize: None,
            normalisation: None,
            stem_channels: None,
            prefix: None,
            backbone: None,
        }
    }
}

impl InitSection {
    /// Starts from the encoder at `from`, with defaults for everything else.
    pub fn of(from: impl Into<PathBuf>) -> Self {
        Self { from: from.into(), ..Self::default() }
    }

    /// Returns the keys that are given and are for files of other programs only.
    pub fn foreign_keys(&self) -> Vec<&'static str> {
        let keys = [
            ("architecture", self.architecture.is_some()),
            ("stem", self.stem.is_some()),
            ("stem_padding", self.stem_padding.is_some()),
            ("heads", self.heads.is_some()),
            ("pooling", self.pooling.is_some()),
            ("size", self.size.is_some()),
            ("resize", self.resize.is_some()),
            ("normalisation", self.normalisation.is_some()),
            ("prefix", self.prefix.is_some()),
        ];
        keys.into_iter().filter(|(_, given)| *given).map(|(key, _)| key).collect()
    }

    /// Complains about values out of bounds.
    pub(super) fn check(&self, epochs: u64, checker: &mut Checker) {
        self.check_source("init", checker);
        let given = self.features.is_some() || self.features_digest.is_some();
        checker.require("init.features", !given, "given", "no such key: it is of [teacher]");
        let (freeze, most) = (self.freeze_epochs, epochs.saturating_sub(1));
        let expected = format_args!(
            "at most {most}, below train.epochs: with more the encoder would never train"
        );
        checker.require("init.freeze_epochs", freeze <= most, freeze, expected);
    }

    /// Complains about values out of bounds that say which encoder it is, in a table of this name.
    pub(super) fn check_source(&self, table: &str, checker: &mut Checker) {
        let named = !self.from.as_os_str().is_empty();
        let expected = "a run folder, an exported file, or a file of another program's weights";
        checker.require(&format!("{table}.from"), named, "not set", expected);
        for (key, number) in [("heads", self.heads), ("size", self.size), ("resize", self.resize)] {
            checker.at_least(&format!("{table}.{key}"), number.unwrap_or(1) as u64, 1);
        }
        let of_network = self.pooling != Some(Pooling::TokenMean);
        let expected = "token, mean or fc_norm: no network is trained with both";
        checker.require(&format!("{table}.pooling"), of_network, "token_mean", expected);
        if let Some(name) = &self.checkpoint {
            let is_number =
                |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            let is_step = name.strip_prefix("step-").is_some_and(is_number);
            let is_known = is_step || ["latest", "best"].contains(&name.as_str());
            checker.require(
                &format!("{table}.checkpoint"),
                is_known,
                name,
                "latest, best or step-N",
            );
        }
    }
}

impl Recipe {
    /// Takes over what the encoder of `[init]` decides and the recipe does not say: its architecture, and the
    /// normalisation of its images. Returns notes on what was taken over, and on a normalisation that differs.
    ///
    /// # Errors
    /// The keys of `[backbone]` that the recipe says otherwise; `was` is the encoder's value.
    pub fn start_from(
        &mut self,
        encoder: &BackboneConfig,
        normalisation: Normalisation,
    ) -> Result<Vec<String>, Vec<Difference>> {
        let mut notes = Vec::new();
        let shown = |n: Normalisation| format!("mean {:?}, std {:?}", n.mean, n.std);
        match self.data.normalisation {
            // The stem is made for another number of channels: what the encoder knows is of no use.
            _ if normalisation.channels() != self.data.channels => {}
            None => {
                notes.push(format!(
                    "data.normalisation is not given: images are normalised as the encoder knows them, {}",
                    shown(normalisation)
                ));
                self.data.normalisation = Some(normalisation);
            }
            Some(given) if given != normalisation => notes.push(format!(
                "the recipe normalises images otherwise than the encoder knows them: data.normalisation, {}, holds, \
                 the encoder's is {}; leave the key out to take the encoder's",
                shown(given),
                shown(normalisation)
            )),
            Some(_) => {}
        }
        let stated = self.stated_backbone();
        self.backbone = with(encoder, &stated)?;
        if stated.is_empty() {
            let table = Table::try_from(&self.backbone).expect("settings are plain values");
            let keys = explain::leaves(&table).into_iter();
            let keys = keys.map(|(path, value)| format!("{} = {value}", path.join(".")));
            let keys: Vec<String> = keys.collect();
            notes.push(format!("[backbone] is that of the encoder: {}", keys.join(", ")));
        }
        Ok(notes)
    }

    /// The keys of `[backbone]` that somebody has given a value.
    fn stated_backbone(&self) -> Table {
        if let Some(stated) = self.init.as_ref().and_then(|init| init.backbone.clone()) {
            return stated;
        }
        // A program has made the recipe: a backbone that is not the default was chosen.
        match self.backbone == BackboneConfig::default() {
            true => Table::new(),
            false => Table::try_from(&self.backbone).expect("settings are plain values"),
        }
    }
}

/// Returns the backbone of `encoder` with the settings of its training that `stated` has.
///
/// # Errors
/// Keys of `stated` that the encoder has otherwise.
fn with(encoder: &BackboneConfig, stated: &Table) -> Result<BackboneConfig, Vec<Difference>> {
    let own = Table::try_from(encoder).expect("settings are plain values");
    let architecture = "architecture";
    let tag = |table: &Table| table.get(architecture).map(ToString::to_string);
    if tag(stated).is_some_and(|stated| Some(stated) != tag(&own)) {
        let key = format!("backbone.{architecture}");
        return Err(vec![Difference { key, was: tag(&own), now: tag(stated) }]);
    }
    let mut merged = own.clone();
    for (path, value) in explain::leaves(stated) {
        put(&mut merged, &path, value.clone());
    }
    let given: Vec<String> =
        explain::leaves(stated).into_iter().map(|(path, _)| path.join(".")).collect();
    let written = |config: &BackboneConfig| Table::try_from(config).expect("plain values");
    let differences = match merged.clone().try_into::<BackboneConfig>() {
        Ok(config) => explain::of_tables(&own, &written(&config)),
        // The encoder does not have these keys at all.
        Err(_) => explain::of_tables(&own, &merged),
    };
    let differences: Vec<Difference> = differences
        .into_iter()
        .filter(|found| given.contains(&found.key) && !OF_TRAINING.contains(&found.key.as_str()))
        .map(|found| Difference { key: format!("backbone.{}", found.key), ..found })
        .collect();
    match differences.is_empty() {
        true => merged.try_into().map_err(|error: toml::de::Error| {
            let (key, now) = ("backbone".to_owned(), Some(error.message().to_owned()));
            vec![Difference { key, was: Some(own.to_string()), now }]
        }),
        false => Err(differences),
    }
}

/// Sets the value at `path`, making the tables on the way.
fn put(table: &mut Table, path: &[String], value: toml::Value) {
    match path {
        [] => {}
        [key] => drop(table.insert(key.clone(), value)),
        [key, rest @ ..] => {
            let inner = table.entry(key.clone()).or_insert_with(|| Table::new().into());
            if let Some(inner) = inner.as_table_mut() {
                put(inner, rest, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use vssl_data::{
        PerChannel,
        dataset::{CIFAR10, IMAGENET},
    };

    use super::*;
    use crate::methods::METHODS;

    const ENCODER: &str =
        "architecture = \"resnet18\"\nwidth = 16\nstem = \"cifar\"\nstem_padding = 1";

    fn recipe(rest: &str) -> Recipe {
        let text = format!("method = \"simclr\"\ndata.path = \"x\"\ninit.from = \"e\"\n{rest}");
        Recipe::parse(&text, "test.toml", &[], METHODS).unwrap().0
    }

    fn encoder() -> BackboneConfig {
        toml::from_str(ENCODER).unwrap()
    }

    fn refused(rest: &str) -> Vec<String> {
        let differences = recipe(rest).start_from(&encoder(), IMAGENET).unwrap_err();
        differences.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_recipe_without_a_backbone_takes_that_of_the_encoder_and_says_so() {
        let mut recipe = recipe("");
        let notes = recipe.start_from(&encoder(), IMAGENET).unwrap();
        assert_eq!(recipe.backbone, encoder());
        assert!(
            notes[1].contains("width = 16") && notes[1].contains("stem = \"cifar\""),
            "{notes:?}"
        );
        assert_eq!(recipe.data.normalisation, Some(IMAGENET));
        assert!(notes[0].contains("data.normalisation is not given"), "{notes:?}");
        // The resolved recipe says all of it, and agrees with the encoder.
        let text = recipe.to_toml();
        let mut again = Recipe::parse(&text, "recipe.toml", &[], METHODS).unwrap().0;
        assert!(again.start_from(&encoder(), IMAGENET).unwrap().is_empty());
        assert_eq!(again, recipe);
    }

    #[test]
    fn keys_that_are_given_must_agree_and_the_others_are_taken() {
        let mut agreeing = recipe("backbone = { width = 16 }");
        agreeing.start_from(&encoder(), IMAGENET).unwrap();
        assert_eq!(agreeing.backbone, encoder());
        assert_eq!(refused("backbone = { width = 32 }"), ["backbone.width: 16 -> 32"]);
        assert_eq!(
            refused("backbone = { architecture = \"vit-tiny\" }"),
            ["backbone.architecture: \"resnet18\" -> \"vit-tiny\""]
        );
    }

    #[test]
    fn a_setting_of_the_training_may_differ_from_that_of_the_encoder() {
        let vit: BackboneConfig = toml::from_str("architecture = \"vit-tiny\"").unwrap();
        let stated =
            "backbone = { architecture = \"vit-tiny\", vit = { frozen_patch_projection = true } }";
        let mut recipe = recipe(stated);
        recipe.start_from(&vit, IMAGENET).unwrap();
        assert!(recipe.backbone.vit().unwrap().frozen_patch_projection);
        let mut other = self::recipe("backbone = { architecture = \"vit-tiny\", vit.patch = 8 }");
        let differences = other.start_from(&vit, IMAGENET).unwrap_err();
        assert_eq!(differences[0].to_string(), "backbone.vit.patch: 16 -> 8");
    }

    #[test]
    fn keys_of_a_transformer_need_no_architecture_where_the_encoder_says_it() {
        let vit: BackboneConfig = toml::from_str("architecture = \"vit-tiny\"").unwrap();
        let mut frozen = recipe("backbone.vit.frozen_patch_projection = true");
        frozen.start_from(&vit, IMAGENET).unwrap();
        assert!(frozen.backbone.vit().unwrap().frozen_patch_projection);
        let unknown = recipe("backbone.vit.frozen = true").start_from(&vit, IMAGENET).unwrap_err();
        assert_eq!(unknown[0].key, "backbone.vit.frozen");
    }

    #[test]
    fn a_normalisation_of_the_recipe_holds_and_the_difference_is_told() {
        let mut given =
            recipe("data.normalisation = { mean = [0.5, 0.5, 0.5], std = [0.5, 0.5, 0.5] }");
        let notes = given.start_from(&encoder(), IMAGENET).unwrap();
        assert!(notes.iter().any(|note| note.contains("otherwise than the encoder")), "{notes:?}");
        assert_eq!(*given.data.normalisation().mean, [0.5; 3]);
    }

    #[test]
    fn a_normalisation_is_a_name_numbers_or_a_table() {
        let of = |text: &str| recipe(text).init.unwrap().normalisation.unwrap();
        assert_eq!(of("init.normalisation = \"cifar10\""), CIFAR10);
        assert_eq!(of("init.normalisation = \"0.5,0.25\"").std, PerChannel::new([0.25; 3]));
        let table = "init.normalisation = { mean = [0.1, 0.2, 0.3], std = [1, 1, 1] }";
        assert_eq!(*of(table).mean, [0.1, 0.2, 0.3]);
        let text = "method = \"simclr\"\ndata.path = \"x\"\ninit = { from = \"e\", normalisation = \"flat\" }";
        let error = Recipe::parse(text, "t", &[], METHODS).unwrap_err().to_string();
        assert!(error.contains("imagenet, cifar10"), "{error}");
    }

    #[test]
    fn heads_that_would_train_alone_to_the_end_are_refused() {
        let text = "method = \"simclr\"\ndata.path = \"x\"\ninit = { from = \"e\", freeze_epochs = 3 }\n\
                    train.epochs = 3\nschedule.warmup_epochs = 0";
        let error = Recipe::parse(text, "t", &[], METHODS).unwrap_err().to_string();
        assert!(error.contains("is 3; expected at most 2"), "{error}");
    }
}
