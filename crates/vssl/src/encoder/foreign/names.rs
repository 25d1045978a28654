//! Finds the encoder in a state dict, and translates the names of its tensors.
//!
//! Frameworks put prefixes before the names (`state_dict.backbone.`, `state_dict.module.encoder_q.`,
//! `teacher.`), and some number the layers instead of naming them. An encoder is recognised by a name
//! that only encoders have, behind some prefix. Called by [`super::read`].

use crate::{
    backbone::{Interpolation, Pooling},
    method::learner::Network,
};

use super::{ForeignError, dinov3, hints::Hints, source::Sources};

/// Conventions for the names of an encoder's tensors behind the prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// torchvision's and timm's ResNets, and lightly's own, whose `downsample` is a `shortcut`.
    Resnet,
    /// `Sequential` over a ResNet's children: 0 is the convolution, 1 its normalisation, and the
    /// number is that of the first stage: 4 for torchvision's, 3 where the max-pool was taken out, 2
    /// for lightly's. The last is recognised in order to be refused: it computes something else.
    Numbered(usize),
    /// timm's vision transformers.
    Vit,
    /// torchvision's vision transformers.
    TorchvisionVit,
    /// The vision transformers of facebookresearch/dinov3.
    Dinov3,
    /// Hugging Face's `DINOv3ViT`.
    Dinov3Vit,
    /// solo-learn's Wide ResNets.
    WideResnet,
    /// timm's ConvNeXts.
    ConvNext,
    /// torchvision's ConvNeXts.
    TorchvisionConvNext,
    /// The ConvNeXts of facebookresearch/ConvNeXt and ConvNeXt-V2.
    PublishedConvNext,
}

/// For each layout, a name that only encoders have.
const ANCHORS: [(Layout, &str); 11] = [
    (Layout::Resnet, "layer1.0.conv1.weight"),
    (Layout::Numbered(4), "4.0.conv1.weight"),
    (Layout::Numbered(3), "3.0.conv1.weight"),
    (Layout::Numbered(2), "2.0.conv1.weight"),
    (Layout::Vit, "patch_embed.proj.weight"),
    (Layout::TorchvisionVit, "conv_proj.weight"),
    (Layout::Dinov3Vit, "embeddings.patch_embeddings.weight"),
    (Layout::WideResnet, "block1.layer.0.conv1.weight"),
    (Layout::ConvNext, "stages.0.blocks.0.conv_dw.weight"),
    (Layout::TorchvisionConvNext, "features.1.0.block.0.weight"),
    (Layout::PublishedConvNext, "stages.0.0.dwconv.weight"),
];

/// An encoder that a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) prefix: String,
    pub(super) layout: Layout,
    /// Whether it is a [`Layout::Dinov3Vit`] with gates.
    pub(super) is_gated: bool,
}

/// Tensors by which a ResNet is known that lacks the first layer of its first stage.
const WITHOUT_FIRST: [(Layout, &str); 2] =
    [(Layout::Resnet, "layer1.0.bn1.weight"), (Layout::Numbered(4), "4.0.bn1.weight")];

/// All encoders in a file, in the order of their names.
pub(super) fn copies(sources: &Sources) -> Vec<Candidate> {
    let copies = copies_by(&ANCHORS, sources);
    if copies.is_empty() { copies_by(&WITHOUT_FIRST, sources) } else { copies }
}

fn copies_by(anchors: &[(Layout, &str)], sources: &Sources) -> Vec<Candidate> {
    let mut copies = Vec::new();
    for key in sources.keys() {
        for &(layout, anchor) in anchors {
            let Some(prefix) = key.strip_suffix(anchor) else { continue };
            let has = |part: &str| sources.contains_key(&format!("{prefix}{part}"));
            let whole = match layout {
                // Where the first stage is number 2, numbers 3 and 4 are later stages.
                Layout::Numbered(first) => {
                    has("0.weight")
                        && has("1.running_mean")
                        && (2..first).all(|before| !has(&format!("{before}.0.conv1.weight")))
                }
                _ => true,
            };
            let layout = match layout {
                Layout::Vit if dinov3::is_published(sources, prefix) => Layout::Dinov3,
                other => other,
            };
            if whole && (prefix.is_empty() || prefix.ends_with('.')) {
                let is_gate = |key: &String| {
                    key.strip_prefix(prefix).is_some_and(|rest| rest.contains(".mlp.gate_proj."))
                };
                let is_gated = layout == Layout::Dinov3Vit && sources.keys().any(is_gate);
                copies.push(Candidate { prefix: prefix.to_owned(), layout, is_gated });
            }
        }
    }
    copies
}

impl Candidate {
    /// Whether the prefix says that the encoder is a moving average of another.
    pub(super) fn is_teacher(&self) -> bool {
        self.prefix.split('.').any(|part| {
            ["momentum", "teacher", "target"].iter().any(|word| part.contains(word))
                || part == "ema"
                || part.starts_with("ema_")
                || part.ends_with("_ema")
                || part.ends_with("_k")
        })
    }

    /// Checks that the layers behind the prefix can be those of a ResNet, where they have numbers.
    ///
    /// # Errors
    /// A layer without weights is missing between them, so the features would be others.
    pub(super) fn check(&self, sources: &Sources) -> Result<(), ForeignError> {
        let stem = || sources.get(&format!("{}0.weight", self.prefix));
        let problem = match self.layout {
            Layout::Numbered(2) => {
                "a Sequential over the children of a ResNet without a max-pool, as lightly's \
                 ResNetGenerator gives it, has no activation after its first normalisation (that is in \
                 forward(), not a child), so it is no ResNet and its features would differ"
            }
            Layout::Numbered(3) if stem().is_none_or(|stem| !stem.shape.ends_with(&[3, 3, 3])) => {
                "a Sequential whose fourth layer is the first stage of a ResNet, without a 3×3 convolution \
                 at its beginning, lacks the activation or the max-pool of a ResNet"
            }
            _ => return Ok(()),
        };
        Err(ForeignError::Architecture(problem.to_owned()))
    }

    /// The name in this program's networks of the tensor `rest`, which is the name behind the prefix.
    pub(super) fn name(&self, rest: &str) -> String {
        match self.layout {
            Layout::Dinov3 => dinov3::published(rest),
            Layout::Dinov3Vit => dinov3::hugging_face(rest, self.is_gated),
            Layout::WideResnet | Layout::ConvNext => rest.to_owned(),
            // DINOv2 names registers and SwiGLU in another way than timm.
            Layout::Vit => [
                ("register_tokens", "reg_token"),
                (".mlp.w12.", ".mlp.fc1."),
                (".mlp.w3.", ".mlp.fc2."),
            ]
            .into_iter()
            .fold(rest.to_owned(), |name, (theirs, ours)| name.replacen(theirs, ours, 1)),
            Layout::TorchvisionConvNext => torchvision_convnext(rest),
            Layout::PublishedConvNext => published_convnext(rest),
            Layout::Resnet => rest.replace(".shortcut.", ".downsample."),
            Layout::Numbered(first) => {
                let (number, tail) = rest.split_once('.').unwrap_or((rest, ""));
                let layer = match number.parse::<usize>() {
                    Ok(0) => "conv1".to_owned(),
                    Ok(1) => "bn1".to_owned(),
                    Ok(n) if (first..first + 4).contains(&n) => format!("layer{}", n - first + 1),
                    _ => number.to_owned(),
                };
                format!("{layer}.{tail}").replace(".shortcut.", ".downsample.")
            }
            Layout::TorchvisionVit => torchvision_vit(rest),
        }
    }
}

/// `features` holds the stem, the blocks of the first stage, the layers before the second stage, and so on.
fn torchvision_convnext(rest: &str) -> String {
    let parts: Vec<&str> = rest.split('.').collect();
    match parts.as_slice() {
        ["features", "0", tail @ ..] => format!("stem.{}", tail.join(".")),
        ["features", number, tail @ ..] => {
            let Ok(number) = number.parse::<usize>() else { return rest.to_owned() };
            let stage = number / 2;
            match tail {
                tail if number % 2 == 0 => {
                    format!("stages.{stage}.downsample.{}", tail.join("."))
                }
                [block, "layer_scale"] => format!("stages.{stage}.blocks.{block}.gamma"),
                [block, "block", layer, end] => {
                    let layer = match *layer {
                        "0" => "conv_dw",
                        "2" => "norm",
                        "3" => "mlp.fc1",
                        "5" => "mlp.fc2",
                        _ => return rest.to_owned(),
                    };
                    format!("stages.{stage}.blocks.{block}.{layer}.{end}")
                }
                _ => rest.to_owned(),
            }
        }
        ["classifier", "0", end] => format!("head.norm.{end}"),
        ["classifier", "2", end] => format!("head.fc.{end}"),
        _ => rest.to_owned(),
    }
}

fn published_convnext(rest: &str) -> String {
    let parts: Vec<&str> = rest.split('.').collect();
    match parts.as_slice() {
        ["downsample_layers", "0", tail @ ..] => format!("stem.{}", tail.join(".")),
        ["downsample_layers", stage, tail @ ..] => {
            format!("stages.{stage}.downsample.{}", tail.join("."))
        }
        ["stages", stage, block, tail @ ..] => {
            let tail = match tail {
                ["dwconv", end] => format!("conv_dw.{end}"),
                ["pwconv1", end] => format!("mlp.fc1.{end}"),
                ["pwconv2", end] => format!("mlp.fc2.{end}"),
                ["grn", "gamma"] => "mlp.grn.weight".to_owned(),
                ["grn", "beta"] => "mlp.grn.bias".to_owned(),
                tail => tail.join("."),
            };
            format!("stages.{stage}.blocks.{block}.{tail}")
        }
        ["norm", end] => format!("head.norm.{end}"),
        ["head", end] => format!("head.fc.{end}"),
        _ => rest.to_owned(),
    }
}

fn torchvision_vit(rest: &str) -> String {
    let rest = match rest.strip_prefix("encoder.layers.encoder_layer_") {
        Some(block) => format!("blocks.{block}"),
        None => rest.to_owned(),
    };
    let renames = [
        ("class_token", "cls_token"),
        ("conv_proj.", "patch_embed.proj."),
        ("encoder.pos_embedding", "pos_embed"),
        ("encoder.ln.", "norm."),
        (".ln_1.", ".norm1."),
        (".ln_2.", ".norm2."),
        (".self_attention.in_proj_", ".attn.qkv."),
        (".self_attention.out_proj.", ".attn.proj."),
        (".mlp.0.", ".mlp.fc1."),
        (".mlp.linear_1.", ".mlp.fc1."),
        (".mlp.3.", ".mlp.fc2."),
        (".mlp.linear_2.", ".mlp.fc2."),
    ];
    renames.into_iter().fold(rest, |name, (theirs, ours)| name.replacen(theirs, ours, 1))
}

/// The requested encoder: the one at `prefix`; without a prefix the only one, or the only one that
/// is (for the student: is not) a moving average.
///
/// # Errors
/// When there is no encoder, or there are several and the request does not decide.
pub(super) fn choose(
    sources: &Sources,
    copies: &[Candidate],
    network: Network,
    prefix: Option<&str>,
) -> Result<Candidate, ForeignError> {
    let names = || copies.iter().map(|copy| copy.prefix.clone()).collect::<Vec<_>>();
    if copies.is_empty() {
        let keys = sources.keys().take(5).cloned().collect();
        return Err(ForeignError::NoEncoder { tensors: sources.len(), keys });
    }
    if let Some(wanted) = prefix {
        let wanted = wanted.trim_end_matches('.');
        let full = format!("state_dict.{wanted}");
        let fits = |copy: &&Candidate| {
            let name = copy.prefix.trim_end_matches('.');
            name == wanted || name == full
        };
        return copies
            .iter()
            .find(fits)
            .cloned()
            .ok_or_else(|| ForeignError::Prefix { wanted: wanted.to_owned(), available: names() });
    }
    let teacher = matches!(network, Network::Teacher);
    let fitting: Vec<&Candidate> =
        copies.iter().filter(|copy| copy.is_teacher() == teacher).collect();
    match (copies, fitting.as_slice()) {
        ([only], _) if !teacher => Ok(only.clone()),
        (_, [only]) => Ok((*only).clone()),
        (_, []) if teacher => Err(ForeignError::NoTeacher { available: names() }),
        _ => Err(ForeignError::Several { available: names() }),
    }
}

/// What a file says of its transformer by its names.
pub(super) fn hints(sources: &Sources, chosen: &Candidate) -> Hints {
    let has = |part: &str| chosen.prefix.split('.').any(|own| own == part);
    let token = Some(Pooling::Token);
    // facebookresearch/moco-v3 calls its networks so; its ViT-S and its ViT-B have 12 heads.
    if chosen.layout == Layout::Vit && (has("base_encoder") || has("momentum_encoder")) {
        return Hints { author: "MoCo V3", heads: Some(12), pooling: token, ..Hints::default() };
    }
    let root = chosen.prefix.strip_suffix("backbone.");
    let head = root.map(|root| format!("{root}head.last_layer."));
    let is_dino = |head: &String| sources.keys().any(|key| key.starts_with(head.as_str()));
    if chosen.layout == Layout::Vit && head.as_ref().is_some_and(is_dino) {
        return Hints { author: "DINO", heads: None, pooling: token, ..Hints::default() };
    }
    let own = |name: &str| sources.contains_key(&format!("{}{name}", chosen.prefix));
    let registers = own("register_tokens");
    // facebookresearch/dinov2: a token for masked patches, and layer scale or the names of its own SwiGLU.
    if chosen.layout == Layout::Vit && (registers || own("mask_token") && own("blocks.0.ls1.gamma"))
    {
        let interpolation =
            if registers { Interpolation::Antialiased } else { Interpolation::Offset };
        let interpolation = Some(interpolation);
        return Hints { author: "DINOv2", pooling: token, interpolation, ..Hints::default() };
    }
    match chosen.layout {
        Layout::Dinov3 | Layout::Dinov3Vit => {
            Hints { author: "DINOv3", pooling: token, ..Hints::default() }
        }
        Layout::TorchvisionVit => {
            Hints { author: "torchvision", pooling: token, ..Hints::default() }
        }
        _ => Hints::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_other_programs_become_ours() {
        let name = |layout, rest: &str| {
            Candidate { prefix: String::new(), layout, is_gated: false }.name(rest)
        };
        for (layout, theirs, ours) in [
            (Layout::Resnet, "layer2.0.shortcut.1.bias", "layer2.0.downsample.1.bias"),
            (Layout::Numbered(4), "0.weight", "conv1.weight"),
            (Layout::Numbered(4), "1.running_var", "bn1.running_var"),
            (Layout::Numbered(4), "7.1.bn2.weight", "layer4.1.bn2.weight"),
            (Layout::Numbered(3), "6.1.bn2.weight", "layer4.1.bn2.weight"),
            (Layout::Numbered(4), "7.0.shortcut.0.weight", "layer4.0.downsample.0.weight"),
            (
                Layout::TorchvisionVit,
                "encoder.layers.encoder_layer_11.self_attention.in_proj_weight",
                "blocks.11.attn.qkv.weight",
            ),
            (
                Layout::TorchvisionVit,
                "encoder.layers.encoder_layer_3.mlp.linear_2.bias",
                "blocks.3.mlp.fc2.bias",
            ),
            (Layout::TorchvisionVit, "encoder.ln.bias", "norm.bias"),
            (Layout::TorchvisionVit, "encoder.pos_embedding", "pos_embed"),
        ] {
            assert_eq!(name(layout, theirs), ours);
        }
    }
}
