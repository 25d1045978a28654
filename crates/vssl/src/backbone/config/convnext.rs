//! The settings of a ConvNeXt.

/// The settings of a ConvNeXt.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvNextConfig {
    /// The size of the published network.
    pub size: ConvNextSize,
    /// The first or the second version.
    pub version: ConvNextVersion,
    /// The number of channels of the first stage; each of the others has twice as many as the one before it. `None`
    /// is that of the size.
    pub width: Option<usize>,
    /// The side of the stem's patches in pixels; 4 is the published network, 2 is for images of 16 pixels and
    /// more.
    pub patch: usize,
}

/// The sizes of a ConvNeXt, as timm names them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the literature")]
pub enum ConvNextSize {
    Atto,
    Femto,
    Pico,
    Nano,
    #[default]
    Tiny,
    Small,
    Base,
}

/// The versions of ConvNeXt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConvNextVersion {
    /// ConvNeXt (Liu et al. 2022, arXiv:2201.03545), with layer scale.
    #[default]
    V1,
    /// ConvNeXt V2 (Woo et al. 2023, arXiv:2301.00808), with global response normalisation and without layer
    /// scale.
    V2,
}

/// The sizes of any ConvNeXt, for networks that have no name.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvNextShape {
    /// The side of the stem's patches in pixels.
    pub patch: usize,
    /// The number of blocks of each stage.
    pub depths: Vec<usize>,
    /// The number of channels of each stage.
    pub widths: Vec<usize>,
    /// The initial value of the layer scale; `None` for none.
    pub layer_scale: Option<f32>,
    /// Whether the blocks have global response normalisation.
    pub response_norm: bool,
}

impl Default for ConvNextConfig {
    fn default() -> Self {
        Self {
            size: ConvNextSize::default(),
            version: ConvNextVersion::default(),
            width: None,
            patch: 4,
        }
    }
}

impl ConvNextConfig {
    /// Returns the number of channels of the first stage.
    pub fn width(&self) -> usize {
        self.width.unwrap_or(self.size.shape().0)
    }

    /// Returns the sizes of the network.
    pub fn shape(&self) -> ConvNextShape {
        let (width, depths) = (self.width(), self.size.shape().1);
        ConvNextShape {
            patch: self.patch,
            depths: depths.into(),
            widths: (0..4).map(|stage| width << stage).collect(),
            layer_scale: (self.version == ConvNextVersion::V1).then_some(1e-6),
            response_norm: self.version == ConvNextVersion::V2,
        }
    }

    /// Returns whether timm's network of this size has 1×1 convolutions where this one has linear layers, which
    /// compute the same: their weights have two more axes in its files.
    pub(crate) fn has_pointwise_convolutions(&self) -> bool {
        use ConvNextSize::{Atto, Femto, Nano, Pico};
        matches!(self.size, Atto | Femto | Pico | Nano)
    }

    /// Returns the smallest side of the images in pixels: that which leaves one pixel in the last stage.
    pub(crate) fn smallest(&self) -> usize {
        8 * self.patch
    }
}

impl ConvNextSize {
    /// Returns the channels of the first stage, and the number of blocks of each stage.
    pub(crate) fn shape(self) -> (usize, [usize; 4]) {
        match self {
            Self::Atto => (40, [2, 2, 6, 2]),
            Self::Femto => (48, [2, 2, 6, 2]),
            Self::Pico => (64, [2, 2, 6, 2]),
            Self::Nano => (80, [2, 2, 8, 2]),
            Self::Tiny => (96, [3, 3, 9, 3]),
            Self::Small => (96, [3, 3, 27, 3]),
            Self::Base => (128, [3, 3, 27, 3]),
        }
    }
}
