//! The names of encoders, and the settings of the published network of each name.

use serde::{Deserialize, Serialize};

use super::{
    BackboneConfig, ConvNextConfig, ConvNextSize, ConvNextVersion, Dinov2Size, Dinov3Size,
    ResnetConfig, ResnetDepth, ResnetVariant, VitConfig, VitSize, WideResnetConfig,
};

/// The names of encoders in a recipe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names are those of the literature")]
pub enum Architecture {
    #[default]
    #[serde(rename = "resnet18")]
    Resnet18,
    #[serde(rename = "resnet34")]
    Resnet34,
    #[serde(rename = "resnet50")]
    Resnet50,
    #[serde(rename = "resnet101")]
    Resnet101,
    #[serde(rename = "resnet152")]
    Resnet152,
    #[serde(rename = "resnet18d")]
    Resnet18d,
    #[serde(rename = "resnet34d")]
    Resnet34d,
    #[serde(rename = "resnet50d")]
    Resnet50d,
    #[serde(rename = "resnet101d")]
    Resnet101d,
    #[serde(rename = "resnet152d")]
    Resnet152d,
    #[serde(rename = "wide_resnet50_2")]
    WideResnet50x2,
    #[serde(rename = "wide_resnet101_2")]
    WideResnet101x2,
    #[serde(rename = "wide-resnet28")]
    WideResnet28,
    #[serde(rename = "vit-tiny")]
    VitTiny,
    #[serde(rename = "vit-small")]
    VitSmall,
    #[serde(rename = "vit-base")]
    VitBase,
    #[serde(rename = "vit-large")]
    VitLarge,
    #[serde(rename = "vit_small_patch14_dinov2")]
    VitSmallDinov2,
    #[serde(rename = "vit_base_patch14_dinov2")]
    VitBaseDinov2,
    #[serde(rename = "vit_large_patch14_dinov2")]
    VitLargeDinov2,
    #[serde(rename = "vit_giant_patch14_dinov2")]
    VitGiantDinov2,
    #[serde(rename = "vit_small_patch14_reg4_dinov2")]
    VitSmallReg4Dinov2,
    #[serde(rename = "vit_base_patch14_reg4_dinov2")]
    VitBaseReg4Dinov2,
    #[serde(rename = "vit_large_patch14_reg4_dinov2")]
    VitLargeReg4Dinov2,
    #[serde(rename = "vit_giant_patch14_reg4_dinov2")]
    VitGiantReg4Dinov2,
    #[serde(rename = "vit_small_patch16_dinov3")]
    VitSmallDinov3,
    #[serde(rename = "vit_small_plus_patch16_dinov3")]
    VitSmallPlusDinov3,
    #[serde(rename = "vit_base_patch16_dinov3")]
    VitBaseDinov3,
    #[serde(rename = "vit_large_patch16_dinov3")]
    VitLargeDinov3,
    #[serde(rename = "vit_huge_plus_patch16_dinov3")]
    VitHugePlusDinov3,
    #[serde(rename = "convnext_atto")]
    ConvNextAtto,
    #[serde(rename = "convnext_femto")]
    ConvNextFemto,
    #[serde(rename = "convnext_pico")]
    ConvNextPico,
    #[serde(rename = "convnext_nano")]
    ConvNextNano,
    #[serde(rename = "convnext_tiny")]
    ConvNextTiny,
    #[serde(rename = "convnext_small")]
    ConvNextSmall,
    #[serde(rename = "convnext_base")]
    ConvNextBase,
    #[serde(rename = "convnextv2_atto")]
    ConvNextV2Atto,
    #[serde(rename = "convnextv2_femto")]
    ConvNextV2Femto,
    #[serde(rename = "convnextv2_pico")]
    ConvNextV2Pico,
    #[serde(rename = "convnextv2_nano")]
    ConvNextV2Nano,
    #[serde(rename = "convnextv2_tiny")]
    ConvNextV2Tiny,
    #[serde(rename = "convnextv2_small")]
    ConvNextV2Small,
    #[serde(rename = "convnextv2_base")]
    ConvNextV2Base,
    /// A backbone of a program's own, which has a name of its own as well.
    #[serde(rename = "own")]
    Own,
}

impl Architecture {
    /// All names of networks of this crate, in the order of the variants.
    pub const ALL: [Self; 44] = [
        Self::Resnet18,
        Self::Resnet34,
        Self::Resnet50,
        Self::Resnet101,
        Self::Resnet152,
        Self::Resnet18d,
        Self::Resnet34d,
        Self::Resnet50d,
        Self::Resnet101d,
        Self::Resnet152d,
        Self::WideResnet50x2,
        Self::WideResnet101x2,
        Self::WideResnet28,
        Self::VitTiny,
        Self::VitSmall,
        Self::VitBase,
        Self::VitLarge,
        Self::VitSmallDinov2,
        Self::VitBaseDinov2,
        Self::VitLargeDinov2,
        Self::VitGiantDinov2,
        Self::VitSmallReg4Dinov2,
        Self::VitBaseReg4Dinov2,
        Self::VitLargeReg4Dinov2,
        Self::VitGiantReg4Dinov2,
        Self::VitSmallDinov3,
        Self::VitSmallPlusDinov3,
        Self::VitBaseDinov3,
        Self::VitLargeDinov3,
        Self::VitHugePlusDinov3,
        Self::ConvNextAtto,
        Self::ConvNextFemto,
        Self::ConvNextPico,
        Self::ConvNextNano,
        Self::ConvNextTiny,
        Self::ConvNextSmall,
        Self::ConvNextBase,
        Self::ConvNextV2Atto,
        Self::ConvNextV2Femto,
        Self::ConvNextV2Pico,
        Self::ConvNextV2Nano,
        Self::ConvNextV2Tiny,
        Self::ConvNextV2Small,
        Self::ConvNextV2Base,
    ];
}

impl BackboneConfig {
    /// Returns an architecture with its default settings.
    ///
    /// # Panics
    /// For [`Architecture::Own`], which is many networks.
    pub fn of(architecture: Architecture) -> Self {
        let resnet =
            |depth, variant| ResnetConfig { depth, variant, ..ResnetConfig::default() }.into();
        let vit = |size| VitConfig::of(size).into();
        let convnext =
            |size, version| ConvNextConfig { size, version, ..ConvNextConfig::default() }.into();
        match architecture {
            Architecture::Own => panic!("a backbone of a program's own has no default settings"),
            Architecture::Resnet18 => resnet(ResnetDepth::Resnet18, ResnetVariant::Plain),
            Architecture::Resnet34 => resnet(ResnetDepth::Resnet34, ResnetVariant::Plain),
            Architecture::Resnet50 => resnet(ResnetDepth::Resnet50, ResnetVariant::Plain),
            Architecture::Resnet101 => resnet(ResnetDepth::Resnet101, ResnetVariant::Plain),
            Architecture::Resnet152 => resnet(ResnetDepth::Resnet152, ResnetVariant::Plain),
            Architecture::Resnet18d => resnet(ResnetDepth::Resnet18, ResnetVariant::Deep),
            Architecture::Resnet34d => resnet(ResnetDepth::Resnet34, ResnetVariant::Deep),
            Architecture::Resnet50d => resnet(ResnetDepth::Resnet50, ResnetVariant::Deep),
            Architecture::Resnet101d => resnet(ResnetDepth::Resnet101, ResnetVariant::Deep),
            Architecture::Resnet152d => resnet(ResnetDepth::Resnet152, ResnetVariant::Deep),
            Architecture::WideResnet50x2 => resnet(ResnetDepth::Resnet50, ResnetVariant::Wide),
            Architecture::WideResnet101x2 => resnet(ResnetDepth::Resnet101, ResnetVariant::Wide),
            Architecture::WideResnet28 => WideResnetConfig::default().into(),
            Architecture::VitTiny => vit(VitSize::Tiny),
            Architecture::VitSmall => vit(VitSize::Small),
            Architecture::VitBase => vit(VitSize::Base),
            Architecture::VitLarge => vit(VitSize::Large),
            Architecture::VitSmallDinov2 => vit(VitSize::Dinov2(Dinov2Size::Small)),
            Architecture::VitBaseDinov2 => vit(VitSize::Dinov2(Dinov2Size::Base)),
            Architecture::VitLargeDinov2 => vit(VitSize::Dinov2(Dinov2Size::Large)),
            Architecture::VitGiantDinov2 => vit(VitSize::Dinov2(Dinov2Size::Giant)),
            Architecture::VitSmallReg4Dinov2 => vit(VitSize::Dinov2Registers(Dinov2Size::Small)),
            Architecture::VitBaseReg4Dinov2 => vit(VitSize::Dinov2Registers(Dinov2Size::Base)),
            Architecture::VitLargeReg4Dinov2 => vit(VitSize::Dinov2Registers(Dinov2Size::Large)),
            Architecture::VitGiantReg4Dinov2 => vit(VitSize::Dinov2Registers(Dinov2Size::Giant)),
            Architecture::VitSmallDinov3 => vit(VitSize::Dinov3(Dinov3Size::Small)),
            Architecture::VitSmallPlusDinov3 => vit(VitSize::Dinov3(Dinov3Size::SmallPlus)),
            Architecture::VitBaseDinov3 => vit(VitSize::Dinov3(Dinov3Size::Base)),
            Architecture::VitLargeDinov3 => vit(VitSize::Dinov3(Dinov3Size::Large)),
            Architecture::VitHugePlusDinov3 => vit(VitSize::Dinov3(Dinov3Size::HugePlus)),
            Architecture::ConvNextAtto => convnext(ConvNextSize::Atto, ConvNextVersion::V1),
            Architecture::ConvNextFemto => convnext(ConvNextSize::Femto, ConvNextVersion::V1),
            Architecture::ConvNextPico => convnext(ConvNextSize::Pico, ConvNextVersion::V1),
            Architecture::ConvNextNano => convnext(ConvNextSize::Nano, ConvNextVersion::V1),
            Architecture::ConvNextTiny => convnext(ConvNextSize::Tiny, ConvNextVersion::V1),
            Architecture::ConvNextSmall => convnext(ConvNextSize::Small, ConvNextVersion::V1),
            Architecture::ConvNextBase => convnext(ConvNextSize::Base, ConvNextVersion::V1),
            Architecture::ConvNextV2Atto => convnext(ConvNextSize::Atto, ConvNextVersion::V2),
            Architecture::ConvNextV2Femto => convnext(ConvNextSize::Femto, ConvNextVersion::V2),
            Architecture::ConvNextV2Pico => convnext(ConvNextSize::Pico, ConvNextVersion::V2),
            Architecture::ConvNextV2Nano => convnext(ConvNextSize::Nano, ConvNextVersion::V2),
            Architecture::ConvNextV2Tiny => convnext(ConvNextSize::Tiny, ConvNextVersion::V2),
            Architecture::ConvNextV2Small => convnext(ConvNextSize::Small, ConvNextVersion::V2),
            Architecture::ConvNextV2Base => convnext(ConvNextSize::Base, ConvNextVersion::V2),
        }
    }

    /// Returns the name of this encoder in a recipe.
    ///
    /// # Panics
    /// If a recipe cannot name it: a wide ResNet of another depth than 50 and 101.
    pub fn architecture(&self) -> Architecture {
        if let Self::Own(_) = self {
            return Architecture::Own;
        }
        let is_named = |architecture: &&Architecture| match (self, Self::of(**architecture)) {
            (Self::Resnet(own), Self::Resnet(of)) => {
                (own.depth, own.variant) == (of.depth, of.variant)
            }
            (Self::WideResnet(_), Self::WideResnet(_)) => true,
            (Self::Vit(own), Self::Vit(of)) => own.size == of.size,
            (Self::ConvNext(own), Self::ConvNext(of)) => {
                (own.size, own.version) == (of.size, of.version)
            }
            _ => false,
        };
        let named = Architecture::ALL.iter().find(is_named);
        *named.expect("every network that a recipe can name has a name")
    }
}
