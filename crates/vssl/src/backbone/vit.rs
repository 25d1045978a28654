//! Vision transformer (Dosovitskiy et al. 2021, arXiv:2010.11929) with timm's parameter names and without the
//! classifier. Called by [`super::Backbone`].
//!
//! The blocks are pre-norm and have no dropout. The tokens are the class token, the registers and the patches; the
//! feature is the class token after the last norm, the mean of the patches after it, or the norm of that mean.
//!
//! The type of the images decides the precision of the matrix products. The residual stream, its
//! normalisations, the softmax and the feature have the type of the parameters.
//!
//! With rotary positions the network is that of DINOv3 (Siméoni et al. 2025, arXiv:2508.10104), which timm builds with other
//! names: [`BlockShape::rotary`](crate::layers::BlockShape::rotary) tells them.

mod feature;

use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor, TensorData},
};

use super::{Grid, Interpolation, Pooling, Positions, VitConfig, positions};
use crate::layers::{Chosen, Init, LayerNorm, PreNormBlock, xavier};

/// A patch projection, a position embedding and blocks.
#[derive(Module, Debug)]
pub struct Vit {
    cls_token: Option<Param<Tensor<3>>>,
    reg_token: Option<Param<Tensor<3>>>,
    pos_embed: Option<Param<Tensor<3>>>,
    patch_embed: PatchEmbed,
    blocks: Vec<PreNormBlock>,
    norm: Option<LayerNorm>,
    fc_norm: Option<LayerNorm>,
    /// The number of positions in front of those of the patches.
    placed_prefix: usize,
    interpolates_with_offset: bool,
    pools_token: bool,
    pools_patches: bool,
}

#[derive(Module, Debug)]
struct PatchEmbed {
    proj: Projection,
}

/// A convolution whose stride is its kernel size.
#[derive(Module, Debug)]
struct Projection {
    weight: Param<Tensor<4>>,
    bias: Param<Tensor<1>>,
}

/// Patches that a network does not see, as in masked image modelling.
#[derive(Clone, Debug)]
pub struct Masked {
    /// 1 for each patch that is replaced, 0 for the others, `[n, patches]`.
    pub mask: Tensor<2>,
    /// What stands instead of a patch's projection, before the positions are added, `[width]`.
    pub token: Tensor<1>,
}

impl Vit {
    /// Makes a network with initial values. With learned positions they are timm's; with fixed positions they
    /// are those of MoCo V3 (Chen, Xie and He 2021, arXiv:2104.02057): Xavier-uniform, with query, key and
    /// value each on its own. With rotary positions they are timm's for DINOv3: the last layer of each branch is smaller
    /// the later the block.
    pub fn new(config: &VitConfig, init: &Init) -> Self {
        let VitConfig { patch, image_size, positions: kind, registers, pooling, .. } = *config;
        let (width, side, places) = (config.width(), image_size / patch, config.placed_prefix());
        let token = |count: usize| match kind {
            Positions::Rotary => init.truncated_normal([1, count, width], 0.02),
            _ => init.normal([1, count, width], 1e-6),
        };
        let cls_token = config.class_token.then(|| token(1));
        let reg_token = (registers > 0).then(|| token(registers));
        let shape = [1, places + side * side, width];
        let pos_embed = match kind {
            Positions::Rotary => None,
            Positions::Learned => Some(init.truncated_normal(shape, 0.02)),
            Positions::Sincos => {
                let values = TensorData::new(positions::sincos(places, [side, side], width), shape);
                Some(Param::from_tensor(Tensor::from_data(values, init.device())))
            }
        };
        let block = |index: usize| PreNormBlock::new(&config.block(index), init);
        let norm = || LayerNorm::new(width, init).with_eps(config.eps());
        Self {
            cls_token,
            reg_token,
            pos_embed,
            patch_embed: PatchEmbed { proj: Projection::new(patch, width, kind, init) },
            blocks: (0..config.depth()).map(block).collect(),
            norm: (pooling != Pooling::FcNorm).then(norm),
            fc_norm: (pooling == Pooling::FcNorm).then(norm),
            placed_prefix: places,
            interpolates_with_offset: config.interpolation == Interpolation::Offset,
            pools_token: pooling.has_token(),
            pools_patches: pooling.has_patches(),
        }
    }

    /// Returns the features. The positions are interpolated where the image has another size than the
    /// configured size; its sides have to be multiples of the patch.
    ///
    /// # Shapes — `[n, channels, h, w]` to `[n, dim]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = self.blocks_of(x, None);
        self.feature_of(x)
    }

    /// Returns the features as [`Vit::forward`] does and the patches as [`Vit::patch_tokens`] does, in one pass.
    ///
    /// # Shapes — `[n, channels, h, w]` to `[n, dim]` and `[n, patches, dim]`.
    pub fn forward_with_patches(&self, x: Tensor<4>) -> (Tensor<2>, Tensor<3>) {
        let x = self.blocks_of(x, None);
        (self.feature_of(x.clone()), self.patches_of(x))
    }

    /// Returns the tokens of images of which only some patches are seen: the class token, the registers, then the patches
    /// in the order of `visible`. The other patches cost nothing: they are neither projected nor seen by a block. The
    /// tokens are behind the last norm; a network with a norm of the mean applies that norm to each token instead.
    ///
    /// # Shapes — `[n, channels, h, w]` to `[n, tokens, dim]`.
    pub fn visible_tokens(&self, x: Tensor<4>, visible: &Chosen) -> Tensor<3> {
        let (precision, [rows, columns]) = (x.dtype(), self.grid(&x));
        let pixels = self.patch_embed.proj.pixels(x); // [n, rows · columns, 3 · patch²]
        let patches = self.patch_embed.proj.project(visible.of(pixels));
        let patches = patches.cast(self.patch_embed.proj.bias.dtype());
        let (x, angles) = match &self.pos_embed {
            Some(_) => (self.placed(patches, self.positions(rows, columns), Some(visible)), None),
            None => {
                let angles = self.angles(rows, columns, &patches.device());
                (self.in_front(patches, None), Some(self.angles_of(angles, visible)))
            }
        };
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x, angles.as_ref(), precision));
        match &self.fc_norm {
            Some(norm) => each_token(norm, x),
            None => self.normalised(x),
        }
    }

    /// Returns whether there is a class token.
    pub fn has_class_token(&self) -> bool {
        self.cls_token.is_some()
    }

    /// Returns the side of a patch in pixels.
    pub fn patch(&self) -> usize {
        self.patch_embed.proj.weight.dims()[3]
    }

    /// Returns the rows and columns of patches of an image.
    pub fn grid(&self, x: &Tensor<4>) -> [usize; 2] {
        let ([_, _, h, w], patch) = (x.dims(), self.patch());
        [h / patch, w / patch]
    }

    /// Returns the features and the patches as [`Vit::forward_with_patches`] does, the patches with their place.
    ///
    /// # Shapes — `[n, channels, h, w]` to `[n, dim]` and a grid of `[n, rows · columns, dim]`.
    pub fn forward_with_grid(&self, x: Tensor<4>) -> (Tensor<2>, Grid) {
        let [rows, columns] = self.grid(&x);
        let (features, cells) = self.forward_with_patches(x);
        (features, Grid { cells, rows, columns })
    }

    /// Returns all tokens after the last norm, which a network with a norm of the mean does not have: the class token,
    /// the registers, the patches row by row.
    ///
    /// # Shapes — `[n, channels, h, w]` to `[n, tokens, dim]`.
    pub fn tokens(&self, x: Tensor<4>) -> Tensor<3> {
        let x = self.blocks_of(x, None);
        self.normalised(x)
    }

    /// Returns all tokens as [`Vit::tokens`] does, of images some of whose patches are replaced.
    ///
    /// # Shapes — `[n, channels, h, w]` to `[n, tokens, dim]`.
    pub fn masked_tokens(&self, x: Tensor<4>, masked: Masked) -> Tensor<3> {
        let x = self.blocks_of(x, Some(masked));
        self.normalised(x)
    }

    /// Returns the patches after the last norm, row by row.
    ///
    /// # Shapes — `[n, channels, h, w]` to `[n, patches, dim]`.
    pub fn patch_tokens(&self, x: Tensor<4>) -> Tensor<3> {
        let x = self.blocks_of(x, None);
        self.patches_of(x)
    }

    /// # Shapes — the tokens before the last norm, `[n, tokens, dim]`, to `[n, patches, dim]`.
    fn patches_of(&self, x: Tensor<3>) -> Tensor<3> {
        let (prefix, count) = (self.prefix(), x.dims()[1]);
        self.normalised(x.narrow(1, prefix, count - prefix))
    }

    /// Returns the number of tokens in front of the patches: class token and registers.
    pub fn prefix(&self) -> usize {
        let registers = self.reg_token.as_ref().map_or(0, |token| token.dims()[1]);
        usize::from(self.cls_token.is_some()) + registers
    }

    /// Returns the positions for an image of `rows × columns` patches.
    ///
    /// # Shapes — `[1, prefix + rows · columns, dim]` with the tokens in front of the patches that have a position.
    ///
    /// # Panics
    /// If the positions are rotary, which are no numbers that are added.
    pub fn positions(&self, rows: usize, columns: usize) -> Tensor<3> {
        let kind = match self.interpolates_with_offset {
            true => Interpolation::Offset,
            false => Interpolation::Antialiased,
        };
        let own = self.pos_embed.as_ref().expect("positions that are added");
        positions::resized(own.val(), self.placed_prefix, [rows, columns], kind)
    }

    /// Returns the tokens before the last norm.
    ///
    /// # Shapes — `[n, channels, h, w]` to `[n, tokens, dim]`.
    fn blocks_of(&self, x: Tensor<4>, masked: Option<Masked>) -> Tensor<3> {
        let (precision, [rows, columns]) = (x.dtype(), self.grid(&x));
        let projection = &self.patch_embed.proj;
        let patches = projection.project(projection.pixels(x)); // [n, rows · columns, width]
        let mut patches = patches.cast(projection.bias.dtype());
        if let Some(Masked { mask, token }) = masked {
            let mask: Tensor<3> = mask.unsqueeze_dim(2); // [n, patches] -> [n, patches, 1]
            let width = token.dims()[0];
            patches = patches * (1.0 - mask.clone()) + token.reshape([1, 1, width]) * mask;
        }
        let (x, angles) = match &self.pos_embed {
            Some(_) => (self.placed(patches, self.positions(rows, columns), None), None),
            None => {
                let angles = self.angles(rows, columns, &patches.device());
                (self.in_front(patches, None), Some(angles))
            }
        };
        self.blocks.iter().fold(x, |x, block| block.forward(x, angles.as_ref(), precision))
    }

    /// Returns the rotary positions of an image of `rows × columns` patches.
    ///
    /// # Shapes — `[rows · columns, size]` with the length of a query.
    fn angles(&self, rows: usize, columns: usize, device: &Device) -> Tensor<2> {
        let width = self.patch_embed.proj.bias.dims()[0];
        let size = self.blocks.first().map_or(4, |block| width / block.heads());
        let values = positions::rotary(rows, columns, size);
        Tensor::from_data(TensorData::new(values, [rows * columns, size]), device)
    }

    /// Returns the rotary positions of all tokens of images of which only some patches are seen. Those of class token and
    /// registers turn by nothing: their cosines are 1 and their sines 0.
    ///
    /// # Shapes — `[rows · columns, size]` to `[n · tokens, size]`.
    fn angles_of(&self, angles: Tensor<2>, visible: &Chosen) -> Tensor<2> {
        let (n, prefix, size) = (visible.images(), self.prefix(), angles.dims()[1]);
        let (device, precision, shape) = (angles.device(), angles.dtype(), [n, prefix, size / 2]);
        let mut all = visible.of_table(angles); // [n, count, size]
        if prefix > 0 {
            let cosines = Tensor::<3>::ones(shape, (&device, precision));
            let sines = Tensor::<3>::zeros(shape, (&device, precision));
            all = Tensor::cat(vec![Tensor::cat(vec![cosines, sines], 2), all], 1);
        }
        all.reshape([n * (prefix + visible.count()), size]) // [n, tokens, size] -> [n · tokens, size]
    }

    /// Adds the positions, of the patches that are `visible` if these are not all, and puts class token and registers in
    /// front of the patches.
    ///
    /// # Shapes — `[n, patches, width]` to `[n, tokens, width]`.
    fn placed(
        &self,
        patches: Tensor<3>,
        positions: Tensor<3>,
        visible: Option<&Chosen>,
    ) -> Tensor<3> {
        let ([_, places, _], prefix) = (positions.dims(), self.placed_prefix);
        let of_patches = positions.clone().narrow(1, prefix, places - prefix);
        let of_patches = match visible {
            Some(visible) => visible.of_table(of_patches.squeeze_dim(0)), // [1, patches, width] -> [n, count, width]
            None => of_patches,
        };
        self.in_front(patches + of_patches, (prefix > 0).then(|| positions.narrow(1, 0, prefix)))
    }

    /// Puts class token and registers, with their positions if they have some, in front of patches that have theirs.
    ///
    /// # Shapes — `[n, patches, width]` and `[1, prefix, width]` to `[n, tokens, width]`.
    fn in_front(&self, patches: Tensor<3>, positions: Option<Tensor<3>>) -> Tensor<3> {
        let [n, _, width] = patches.dims();
        let own = [&self.cls_token, &self.reg_token];
        let own: Vec<Tensor<3>> = own.into_iter().flatten().map(Param::val).collect();
        if own.is_empty() {
            return patches;
        }
        // The positions are those of the first tokens: of the class token, or of all.
        let mut own = if own.len() == 1 { own[0].clone() } else { Tensor::cat(own, 1) };
        if let Some(positions) = positions {
            let (count, placed) = (own.dims()[1], positions.dims()[1]);
            let first = own.clone().narrow(1, 0, placed) + positions;
            own = match count - placed {
                0 => first,
                rest => Tensor::cat(vec![first, own.narrow(1, placed, rest)], 1),
            };
        }
        let count = own.dims()[1];
        Tensor::cat(vec![own.expand([n, count, width]), patches], 1)
    }

    /// Returns the tokens after the last norm, if there is one.
    ///
    /// # Shapes — `[n, tokens, width]`, unchanged.
    fn normalised(&self, x: Tensor<3>) -> Tensor<3> {
        match &self.norm {
            Some(norm) => each_token(norm, x),
            None => x,
        }
    }
}

/// # Shapes — `[n, tokens, width]`, unchanged.
fn each_token(norm: &LayerNorm, x: Tensor<3>) -> Tensor<3> {
    let [n, tokens, width] = x.dims();
    norm.forward(x.reshape([n * tokens, width])).reshape([n, tokens, width])
}

impl Projection {
    fn new(patch: usize, width: usize, positions: Positions, init: &Init) -> Self {
        let channels = init.channels();
        let fan_in = channels * patch * patch;
        let default = 1.0 / (fan_in as f64).sqrt();
        match positions {
            Positions::Learned | Positions::Rotary => Self {
                weight: init.uniform([width, channels, patch, patch], default),
                bias: init.uniform([width], default),
            },
            Positions::Sincos => Self {
                weight: init.uniform([width, channels, patch, patch], xavier(fan_in, width)),
                bias: init.constant([width], 0.0),
            },
        }
    }

    /// # Shapes — `[n, channels, h, w]` to `[n, patches, channels · patch²]`, patches row by row, each channel by channel.
    fn pixels(&self, x: Tensor<4>) -> Tensor<3> {
        let [n, channels, h, w] = x.dims();
        let [_, _, p, _] = self.weight.dims();
        let (rows, columns) = (h / p, w / p);
        let patches: Tensor<6> =
            x.reshape([n, channels, rows, p, columns, p]).permute([0, 2, 4, 1, 3, 5]);
        patches.reshape([n, rows * columns, channels * p * p])
    }

    /// # Shapes — `[n, patches, channels · patch²]` to `[n, patches, width]`.
    fn project(&self, pixels: Tensor<3>) -> Tensor<3> {
        let [n, patches, numbers] = pixels.dims();
        let width = self.weight.dims()[0];
        let weight = self.weight.val().reshape([width, numbers]);
        let pixels = pixels.reshape([n * patches, numbers]);
        let tokens = vssl_kernels::linear(pixels, weight, Some(self.bias.val()));
        tokens.reshape([n, patches, width])
    }
}
