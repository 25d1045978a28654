//! MAE: masked autoencoders (He et al. 2022, arXiv:2111.06377).
//!
//! Most patches of an image are hidden. The encoder sees the others only; a small decoder, which is not kept, predicts
//! the pixels of the hidden ones from them:
//!
//! `L = mean over hidden patches of mean (decoder(f(visible)) − pixels)²`
//!
//! with pixels that are normalised for each patch by its own mean and variance. The formula is in
//! [`crate::objective::reconstruction`], the masks are those of [`crate::method::mask`]. There is neither a teacher nor
//! a memory, and one view of an image is enough.

use burn::{
    module::{Module, Param},
    tensor::{DType, Tensor, TensorData},
};
use serde::{Deserialize, Serialize};
use vssl_kernels::breakdown::{self, Part};

use crate::{
    backbone::{Backbone, Patches, Seen, sincos},
    layers::{BlockShape, BlockWeights, Chosen, Init, LayerNorm, Linear, PreNormBlock},
    method::{
        Loss, Method, Nothing, Sizes, Views,
        mask::{self, Masks, own_rows},
        require_patches,
    },
    objective::{
        loss_prediction::over_views,
        reconstruction::{errors, image_errors, mean_error, normalised, patchify},
    },
    recipe::{Checker, Settings},
    schedule::Step,
};

/// Settings, the table `[mae]` of a recipe. Defaults are the paper's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mae {
    /// Share of the patches that are hidden.
    pub mask_ratio: f64,
    /// Length of the decoder's tokens.
    pub decoder_width: usize,
    /// Number of the decoder's blocks.
    pub decoder_depth: usize,
    /// Number of the decoder's attention heads.
    pub decoder_heads: usize,
    /// ε of the decoder's normalisations; solo-learn has 1e-5.
    pub decoder_norm_eps: f64,
    /// Whether the pixels of each patch are normalised by its own mean and variance.
    pub norm_pix_loss: bool,
}

impl Settings for Mae {
    fn check(&self, checker: &mut Checker) {
        let hides = self.mask_ratio > 0.0 && self.mask_ratio < 1.0;
        checker.require("mask_ratio", hides, self.mask_ratio, "a number above 0 and below 1");
        checker.head("decoder", self.decoder_width, self.decoder_heads);
        checker.at_least("decoder_depth", self.decoder_depth as u64, 1);
        checker.positive("decoder_norm_eps", self.decoder_norm_eps);
    }
}

impl Default for Mae {
    fn default() -> Self {
        Self {
            mask_ratio: 0.75,
            decoder_width: 512,
            decoder_depth: 8,
            decoder_heads: 16,
            decoder_norm_eps: 1e-6,
            norm_pix_loss: true,
        }
    }
}

/// Backbone and decoder.
#[derive(Module, Debug)]
pub struct Student {
    backbone: Backbone,
    decoder: MaeDecoder,
}

/// A transformer that predicts the pixels of all patches from the tokens of those that were seen.
#[derive(Module, Debug)]
pub struct MaeDecoder {
    embed: Linear,
    mask_token: Param<Tensor<3>>,
    blocks: Vec<PreNormBlock>,
    norm: LayerNorm,
    pred: Linear,
}

impl MaeDecoder {
    /// Makes a decoder of `settings` for tokens of length `dim` that predicts `numbers` for each patch. The initial
    /// values are those of the authors' program.
    pub fn new(settings: &Mae, dim: usize, numbers: usize, init: &Init) -> Self {
        let (width, eps) = (settings.decoder_width, settings.decoder_norm_eps);
        let linear = |input: usize, output: usize| Linear {
            weight: init.uniform([output, input], (6.0 / (input + output) as f64).sqrt()),
            bias: Some(init.constant([output], 0.0)),
        };
        let plain = BlockShape::plain(width, settings.decoder_heads, BlockWeights::Xavier);
        let shape = BlockShape { norm_eps: eps, ..plain };
        Self {
            embed: linear(dim, width),
            mask_token: init.normal([1, 1, width], 0.02),
            blocks: (0..settings.decoder_depth).map(|_| PreNormBlock::new(&shape, init)).collect(),
            norm: LayerNorm::new(width, init).with_eps(eps),
            pred: linear(width, numbers),
        }
    }

    /// Predicts the pixels of all patches of a grid. `places` says for each patch where it stands among the tokens that
    /// were seen and the mask tokens behind them; matrix products are in `precision`.
    ///
    /// # Shapes — `class`: `[n, 1, dim]`, if there is a class token; `patches`: `[n, seen, dim]`; returns
    /// `[n, rows · columns, numbers]`.
    pub fn forward(
        &self,
        class: Option<Tensor<3>>,
        patches: Tensor<3>,
        places: &Chosen,
        grid: [usize; 2],
        precision: DType,
    ) -> Tensor<3> {
        breakdown::network(Part::Heads, || {
            let [n, seen, _] = patches.dims();
            let (count, patches) = (places.count(), each_token(&self.embed, patches));
            let width = patches.dims()[2];
            let hidden = self.mask_token.val().expand([n, count - seen, width]);
            let positions = positions(grid, &patches);
            let patches = places.of(Tensor::cat(vec![patches, hidden], 1)) + positions;
            let class = class.map(|class| each_token(&self.embed, class));
            // The class token's position is zero.
            let x = match class {
                Some(class) => Tensor::cat(vec![class, patches], 1),
                None => patches,
            };
            let x = self.blocks.iter().fold(x, |x, block| block.forward(x, None, precision));
            let first = x.dims()[1] - count;
            let rows = x.narrow(1, first, count).reshape([n * count, width]);
            let pixels = self.pred.forward(self.norm.forward(rows));
            let numbers = pixels.dims()[1];
            pixels.reshape([n, count, numbers])
        })
    }
}

/// # Shapes — `[n, tokens, in]` to `[n, tokens, out]`.
pub(super) fn each_token(linear: &Linear, x: Tensor<3>) -> Tensor<3> {
    let [n, tokens, width] = x.dims();
    let y = linear.forward(x.reshape([n * tokens, width]));
    let width = y.dims()[1];
    y.reshape([n, tokens, width])
}

/// Returns the sine-cosine positions of a grid, in the width and on the device of `like`.
///
/// # Shapes — `[1, rows · columns, width]`.
pub(super) fn positions(grid: [usize; 2], like: &Tensor<3>) -> Tensor<3> {
    let (width, [rows, columns]) = (like.dims()[2], grid);
    let values = TensorData::new(sincos(0, grid, width), [1, rows * columns, width]);
    Tensor::<3>::from_data(values, &like.device()).cast(like.dtype())
}

impl Method for Mae {
    type Student = Student;
    type Memory = Nothing;
    type Carry = ();

    fn check(&self, sizes: &Sizes) -> Result<(), String> {
        sizes.require_global_only("mae")
    }

    fn visible_share(&self) -> f64 {
        1.0 - self.mask_ratio
    }

    fn check_patches(&self, patches: Option<Patches>) -> Result<(), String> {
        let [rows, columns] = require_patches("mae", patches)?;
        let (patches, ratio) = (rows * columns, self.mask_ratio);
        let seen = mask::seen(patches, ratio);
        if (1..patches).contains(&seen) {
            return Ok(());
        }
        Err(format!(
            "mae.mask_ratio = {ratio} of {patches} patches ({rows} by {columns} in a view) leaves {seen} to see: \
             expected at least 1 that is seen and 1 that is hidden; change the ratio, or take more patches by a smaller \
             backbone.vit.patch or larger views"
        ))
    }

    fn has_image_losses(&self) -> bool {
        true
    }

    fn student(&self, backbone: Backbone, dim: usize, init: &Init) -> Student {
        let patch = backbone.patch().expect(PATCHES);
        let decoder = MaeDecoder::new(self, dim, init.channels() * patch * patch, init);
        Student { backbone, decoder }
    }

    fn memory(&self, _: &Student, _: &Sizes, _: &Init) -> Nothing {
        Nothing
    }

    fn loss(&self, student: &Student, _: &Nothing, views: &Views, at: &Step) -> Loss<()> {
        let count = views.global.len();
        let (features, errors): (Vec<_>, Vec<_>) = (0..count)
            .map(|view| {
                let (seen, errors) = self.reconstruct(student, views, view, at);
                (seen.features, views.gather(errors))
            })
            .unzip();
        let image_losses = at.image_losses.then(|| {
            let of_images =
                |errors: &[Tensor<2>; 2]| image_errors(errors.clone().map(Tensor::detach));
            over_views(Tensor::cat(errors.iter().map(of_images).collect(), 0), count)
        });
        let losses = errors.into_iter().map(mean_error).collect();
        let total = Tensor::stack::<2>(losses, 0).mean();
        let hidden = total.clone().detach().zeros_like() + self.hidden_share(student, views);
        let parts = vec![("reconstruction", total.clone()), ("hidden", hidden)];
        Loss { total, parts, features, image_losses, carry: () }
    }

    fn backbone<'a>(&self, student: &'a Student) -> &'a Backbone {
        &student.backbone
    }
}

/// Why a backbone has patches.
pub(super) const PATCHES: &str = "check_patches refuses a backbone without patches";

impl Mae {
    /// What the encoder sees of a view, and the errors of each image's hidden patches.
    fn reconstruct(
        &self,
        student: &Student,
        views: &Views,
        view: usize,
        at: &Step,
    ) -> (Seen, [Tensor<2>; 2]) {
        let x = &views.global[view];
        let (n, device) = (x.dims()[0], x.device());
        let grid = student.backbone.grid(x).expect(PATCHES);
        let patches = grid[0] * grid[1];
        let masks = Masks { view, at }.random(own_rows(views, n), patches, self.mask_ratio);
        let visible = Chosen::new(&masks.iter().map(|mask| mask.visible()).collect::<Vec<_>>());
        let places = Chosen::new(&masks.iter().map(|mask| mask.places.clone()).collect::<Vec<_>>());
        let hidden: Vec<f32> = masks.iter().flat_map(|mask| mask.hidden()).collect();
        let hidden = Tensor::from_data(TensorData::new(hidden, [n, patches]), &device);
        let seen = student.backbone.forward_visible(x.clone(), &visible, views.mode());
        let seen = seen.expect(PATCHES);
        let (class, of_patches) = (seen.class.clone(), seen.patches.clone());
        let predicted = student.decoder.forward(class, of_patches, &places, grid, x.dtype());
        let pixels = x.clone().cast(predicted.dtype());
        let target = patchify(pixels, student.backbone.patch().expect(PATCHES));
        let target = if self.norm_pix_loss { normalised(target) } else { target };
        (seen, errors(predicted, target, hidden))
    }

    /// The share of all patches that is hidden, which is not quite the ratio.
    fn hidden_share(&self, student: &Student, views: &Views) -> f64 {
        let grids = views.global.iter().map(|x| student.backbone.grid(x).expect(PATCHES));
        let counts = grids.map(|[rows, columns]| {
            let patches = rows * columns;
            (patches - mask::seen(patches, self.mask_ratio), patches)
        });
        let (hidden, all) = counts.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        hidden as f64 / all as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_masked_is_refused_with_what_was_expected() {
        let mae = Mae::default();
        let message = mae.check_patches(None).unwrap_err();
        assert!(message.contains("vit-tiny") && message.contains("backbone.vit"), "{message}");
        assert_eq!(mae.check_patches(Some([2, 2].into())), Ok(()));
        let message = mae.check_patches(Some([1, 1].into())).unwrap_err();
        assert!(message.contains("mask_ratio = 0.75") && message.contains("leaves 0"), "{message}");
        let little = Mae { mask_ratio: 1e-17, ..mae };
        let message = little.check_patches(Some([2, 2].into())).unwrap_err();
        assert!(message.contains("leaves 4"), "{message}");
        let sizes = Sizes { images: 10, batch: 2, global_views: 1, local_views: 0 };
        assert_eq!(Method::check(&mae, &sizes), Ok(()));
        let message = Method::check(&mae, &Sizes { local_views: 2, ..sizes }).unwrap_err();
        assert!(message.contains("views.local"), "{message}");
    }
}
