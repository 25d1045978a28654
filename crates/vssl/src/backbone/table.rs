//! The table `[backbone]` of a recipe. Its key `architecture` decides which other keys the table has.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{Architecture, BackboneConfig, ResnetConfig, Stem, VitConfig};
use crate::tagged::TaggedTable;

const RESNET: &str = "width stem stem_padding";

/// The keys of `[backbone]` by architecture.
pub(crate) const TABLE: TaggedTable = TaggedTable {
    tag: "architecture",
    default: "resnet18",
    choices: &[
        ("resnet18", RESNET),
        ("resnet34", RESNET),
        ("resnet50", RESNET),
        ("wide-resnet28", "widen"),
        ("vit-tiny", "vit"),
        ("vit-small", "vit"),
        ("vit-base", "vit"),
    ],
};

impl Architecture {
    /// Returns the name of the architecture in a recipe.
    pub fn name(self) -> &'static str {
        TABLE.choices[self as usize].0
    }
}

impl BackboneConfig {
    /// Reads the encoder that `stored` describes, the table of an encoder file. Files of earlier versions
    /// have the keys of ResNets for every architecture; these keys never had an effect on other architectures
    /// and are ignored.
    ///
    /// # Errors
    /// The architecture or a key is unknown, or a value has the wrong type.
    pub(crate) fn stored(mut stored: toml::Table) -> Result<Self, toml::de::Error> {
        for key in TABLE.foreign(&stored) {
            stored.remove(&key);
        }
        stored.try_into()
    }
}

/// The table as it is written. [`TABLE`] says which of its keys an architecture has.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default = "resnet18")]
    architecture: Architecture,
    #[serde(skip_serializing_if = "Option::is_none")]
    width: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stem: Option<Stem>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stem_padding: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    widen: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vit: Option<VitConfig>,
}

fn resnet18() -> Architecture {
    Architecture::Resnet18
}

impl Serialize for BackboneConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let architecture = self.architecture();
        let (width, stem, stem_padding, widen, vit) = (None, None, None, None, None);
        let bare = Written { architecture, width, stem, stem_padding, widen, vit };
        let written = match self {
            Self::Resnet(ResnetConfig { width, stem, stem_padding, .. }) => {
                let (width, stem) = (Some(*width), Some(*stem));
                Written { width, stem, stem_padding: Some(*stem_padding), ..bare }
            }
            Self::WideResnet(config) => Written { widen: Some(config.widen), ..bare },
            Self::Vit(config) => Written { vit: Some(*config), ..bare },
        };
        written.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for BackboneConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Written { architecture, width, stem, stem_padding, widen, vit } =
            Written::deserialize(deserializer)?;
        let written = [
            ("width", width.is_some()),
            ("stem", stem.is_some()),
            ("stem_padding", stem_padding.is_some()),
            ("widen", widen.is_some()),
            ("vit", vit.is_some()),
        ];
        TABLE.refuse_foreign(architecture.name(), &written)?;
        let mut config = Self::of(architecture);
        match &mut config {
            Self::Resnet(resnet) => {
                resnet.width = width.unwrap_or(resnet.width);
                resnet.stem = stem.unwrap_or(resnet.stem);
                resnet.stem_padding = stem_padding.unwrap_or(resnet.stem_padding);
            }
            Self::WideResnet(wide) => wide.widen = widen.unwrap_or(wide.widen),
            Self::Vit(config) => {
                *config = VitConfig { size: config.size, ..vit.unwrap_or(*config) };
                let (heads, (width, ..)) = (config.heads(), config.size.shape());
                if heads == 0 || !width.is_multiple_of(heads) {
                    return Err(D::Error::custom(format_args!(
                        "vit.heads = {heads}: expected a divisor of the width, {width}"
                    )));
                }
            }
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_architecture_writes_exactly_the_keys_of_its_list_and_is_read_back() {
        for (name, _) in TABLE.choices {
            let architecture: Architecture = serde_json::from_value((*name).into()).unwrap();
            assert_eq!(architecture.name(), *name);
            let config = BackboneConfig::of(architecture);
            let table = toml::Table::try_from(&config).unwrap();
            assert!(table.keys().eq(TABLE.keys(name).unwrap().iter()), "{table}");
            assert_eq!(table.try_into::<BackboneConfig>().unwrap(), config);
        }
    }

    #[test]
    fn heads_that_do_not_divide_the_width_are_refused_and_defaults_are_not_written() {
        let read = |heads: usize| {
            let text = format!("architecture = \"vit-small\"\n[vit]\nheads = {heads}");
            text.parse::<toml::Table>().unwrap().try_into::<BackboneConfig>()
        };
        assert_eq!(read(12).unwrap().vit().unwrap().heads(), 12);
        for heads in [0, 7] {
            let error = read(heads).unwrap_err().to_string();
            assert!(error.contains("a divisor of the width, 384"), "{error}");
        }
        let written = toml::to_string(&BackboneConfig::of(Architecture::VitSmall)).unwrap();
        assert!(!written.contains("heads") && !written.contains("pooling"), "{written}");
    }

    #[test]
    fn an_encoder_file_of_an_earlier_version_may_have_the_keys_of_resnets() {
        let text = "architecture = \"vit-tiny\"\nwidth = 64\nstem = \"imagenet\"\nstem_padding = 1\n\
                    [vit]\npatch = 8";
        let table: toml::Table = text.parse().unwrap();
        let vit = VitConfig { patch: 8, ..VitConfig::default() };
        assert_eq!(BackboneConfig::stored(table.clone()).unwrap(), vit.into());
        let error = table.try_into::<BackboneConfig>().unwrap_err().to_string();
        assert!(error.contains("width is a key of resnet18"), "{error}");
        let unknown: toml::Table = format!("widht = 3\n{text}").parse().unwrap();
        assert!(BackboneConfig::stored(unknown).is_err());
    }
}
