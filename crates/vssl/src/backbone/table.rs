//! The table `[backbone]` of a recipe. Its key `architecture` decides which other keys the table has.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{
    Architecture, BackboneConfig, ConvNextConfig, Interpolation, Mlp, Placed, Pooling, Positions,
    ResnetConfig, Stem, VitConfig, VitSize, own,
};
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
        ("resnet101", RESNET),
        ("resnet152", RESNET),
        ("resnet18d", "width"),
        ("resnet34d", "width"),
        ("resnet50d", "width"),
        ("resnet101d", "width"),
        ("resnet152d", "width"),
        ("wide_resnet50_2", RESNET),
        ("wide_resnet101_2", RESNET),
        ("wide-resnet28", "widen"),
        ("vit-tiny", "vit"),
        ("vit-small", "vit"),
        ("vit-base", "vit"),
        ("vit-large", "vit"),
        ("vit_small_patch14_dinov2", "vit"),
        ("vit_base_patch14_dinov2", "vit"),
        ("vit_large_patch14_dinov2", "vit"),
        ("vit_giant_patch14_dinov2", "vit"),
        ("vit_small_patch14_reg4_dinov2", "vit"),
        ("vit_base_patch14_reg4_dinov2", "vit"),
        ("vit_large_patch14_reg4_dinov2", "vit"),
        ("vit_giant_patch14_reg4_dinov2", "vit"),
        ("vit_small_patch16_dinov3", "vit"),
        ("vit_small_plus_patch16_dinov3", "vit"),
        ("vit_base_patch16_dinov3", "vit"),
        ("vit_large_patch16_dinov3", "vit"),
        ("vit_huge_plus_patch16_dinov3", "vit"),
        ("convnext_atto", "width patch"),
        ("convnext_femto", "width patch"),
        ("convnext_pico", "width patch"),
        ("convnext_nano", "width patch"),
        ("convnext_tiny", "width patch"),
        ("convnext_small", "width patch"),
        ("convnext_base", "width patch"),
        ("convnextv2_atto", "width patch"),
        ("convnextv2_femto", "width patch"),
        ("convnextv2_pico", "width patch"),
        ("convnextv2_nano", "width patch"),
        ("convnextv2_tiny", "width patch"),
        ("convnextv2_small", "width patch"),
        ("convnextv2_base", "width patch"),
        ("own", "name"),
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
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
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
    patch: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vit: Option<WrittenVit>,
}

/// Makes the table `[backbone.vit]` as it is written: each key is optional, and a key that is not written has the
/// value of the published network of the architecture's name. The keys after `;` are written only where they have
/// another value.
macro_rules! written_vit {
    ($($always:ident: $of:ty),*; $($other:ident: $type:ty),*; $($option:ident),*) => {
        #[derive(Default, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct WrittenVit {
            $(#[serde(default, skip_serializing_if = "Option::is_none")] $always: Option<$of>,)*
            $(#[serde(default, skip_serializing_if = "Option::is_none")] $option: Option<usize>,)*
            $(#[serde(default, skip_serializing_if = "Option::is_none")] $other: Option<$type>,)*
        }

        impl WrittenVit {
            fn of(config: &VitConfig) -> Self {
                let named = VitConfig::of(config.size);
                Self {
                    $($always: Some(config.$always),)*
                    $($option: config.$option,)*
                    $($other: (config.$other != named.$other).then_some(config.$other),)*
                }
            }

            fn read(self, size: VitSize) -> VitConfig {
                let named = VitConfig::of(size);
                let written = VitConfig {
                    size,
                    $($always: self.$always.unwrap_or(named.$always),)*
                    $($option: self.$option.or(named.$option),)*
                    $($other: self.$other.unwrap_or(named.$other),)*
                };
                written.shortest()
            }
        }
    };
}

written_vit! {
    patch: usize, image_size: usize, positions: Positions, frozen_patch_projection: bool;
    placed: Placed, interpolation: Interpolation, class_token: bool, registers: usize,
    layer_scale: f64, mlp: Mlp, qkv_bias: bool, pooling: Pooling;
    width, depth, heads, hidden
}

impl Serialize for BackboneConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bare = Written { architecture: self.architecture(), ..Written::default() };
        let written = match self {
            Self::Resnet(ResnetConfig { width, stem, stem_padding, .. }) => {
                let has_stem =
                    TABLE.keys(bare.architecture.name()).is_some_and(|k| k.contains(&"stem"));
                let width = Some(*width);
                let (stem, stem_padding) = (Some(*stem), Some(*stem_padding));
                match has_stem {
                    true => Written { width, stem, stem_padding, ..bare },
                    false => Written { width, ..bare },
                }
            }
            Self::WideResnet(config) => Written { widen: Some(config.widen), ..bare },
            Self::Vit(config) => Written { vit: Some(WrittenVit::of(config)), ..bare },
            Self::ConvNext(config) => {
                Written { width: Some(config.width()), patch: Some(config.patch), ..bare }
            }
            Self::Own(config) => Written { name: Some(config.0.name().to_owned()), ..bare },
        };
        written.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for BackboneConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Written { architecture, width, stem, stem_padding, widen, patch, name, vit } =
            Written::deserialize(deserializer)?;
        let written = [
            ("width", width.is_some()),
            ("stem", stem.is_some()),
            ("stem_padding", stem_padding.is_some()),
            ("widen", widen.is_some()),
            ("patch", patch.is_some()),
            ("name", name.is_some()),
            ("vit", vit.is_some()),
        ];
        TABLE.refuse_foreign(architecture.name(), &written)?;
        if architecture == Architecture::Own {
            let name = name.unwrap_or_default();
            let known = own::find(&name).ok_or_else(|| {
                D::Error::custom(format_args!(
                    "name = {name:?}: no backbone of this name is registered in this program; the program that trained \
                     it has it, by vssl::backbone::register"
                ))
            });
            return known.map(Self::Own);
        }
        let mut config = Self::of(architecture);
        match &mut config {
            Self::Resnet(resnet) => {
                resnet.width = width.unwrap_or(resnet.width);
                resnet.stem = stem.unwrap_or(resnet.stem);
                resnet.stem_padding = stem_padding.unwrap_or(resnet.stem_padding);
            }
            Self::WideResnet(wide) => wide.widen = widen.unwrap_or(wide.widen),
            Self::Vit(config) => {
                *config = vit.unwrap_or_default().read(config.size);
                if let Some((key, got, expected)) = config.problem() {
                    return Err(D::Error::custom(format_args!(
                        "vit.{key} = {got}: expected {expected}"
                    )));
                }
            }
            Self::ConvNext(ConvNextConfig { width: own, patch: stem, size, .. }) => {
                // The width of the name is that of the size: one network has one description.
                *own = width.filter(|&width| width != size.shape().0);
                *stem = patch.unwrap_or(*stem);
            }
            Self::Own(_) => {}
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_architecture_writes_exactly_the_keys_of_its_list_and_is_read_back() {
        for (name, _) in TABLE.choices.iter().filter(|(name, _)| *name != "own") {
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
        // One network has one description, also where it is written out.
        let text =
            "architecture = \"vit-tiny\"\n[vit]\nwidth = 192\ndepth = 12\nheads = 3\nhidden = 768";
        let whole: BackboneConfig = text.parse::<toml::Table>().unwrap().try_into().unwrap();
        assert_eq!(whole, BackboneConfig::of(Architecture::VitTiny));
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
