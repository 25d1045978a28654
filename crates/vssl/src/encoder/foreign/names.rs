//! Finds the encoder in a state dict, and translates the names of its tensors.
//!
//! Frameworks put prefixes before the names (`state_dict.backbone.`, `state_dict.module.encoder_q.`,
//! `teacher.`), and some number the layers instead of naming them. An encoder is recognised by a name
//! that only encoders have, behind some prefix. Called by [`super::read`].

use crate::{backbone::Pooling, method::learner::Network};

use super::{ForeignError, MatchStatus, infer::Hints, source::Sources};

/// Conventions for the names of an encoder's tensors behind the prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// torchvision's and timm's ResNets, and lightly's own, whose `downsample` is a `shortcut`.
    Resnet,
    /// `Sequential` over a ResNet's children: 0 is the convolution, 1 its normalisation, and the
    /// number is that of the first stage: 4 for torchvision's, 2 for lightly's. The latter is
    /// recognised in order to be refused: it computes something else.
    Numbered(usize),
    /// timm's vision transformers.
    Vit,
    /// torchvision's vision transformers.
    TorchvisionVit,
    /// solo-learn's Wide ResNets.
    WideResnet,
}

/// For each layout, a name that only encoders have.
const ANCHORS: [(Layout, &str); 6] = [
    (Layout::Resnet, "layer1.0.conv1.weight"),
    (Layout::Numbered(4), "4.0.conv1.weight"),
    (Layout::Numbered(2), "2.0.conv1.weight"),
    (Layout::Vit, "patch_embed.proj.weight"),
    (Layout::TorchvisionVit, "conv_proj.weight"),
    (Layout::WideResnet, "block1.layer.0.conv1.weight"),
];

/// An encoder that a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) prefix: String,
    pub(super) layout: Layout,
}

/// All encoders in a file, in the order of their names.
pub(super) fn copies(sources: &Sources) -> Vec<Candidate> {
    let mut copies = Vec::new();
    for key in sources.keys() {
        for (layout, anchor) in ANCHORS {
            let Some(prefix) = key.strip_suffix(anchor) else { continue };
            let numbered = matches!(layout, Layout::Numbered(_));
            let stem = |part: &str| sources.contains_key(&format!("{prefix}{part}"));
            let mut whole = !numbered || stem("0.weight") && stem("1.running_mean");
            // Where the first stage is number 2, number 4 is the third.
            whole &= layout != Layout::Numbered(4) || !stem("2.0.conv1.weight");
            if whole && (prefix.is_empty() || prefix.ends_with('.')) {
                copies.push(Candidate { prefix: prefix.to_owned(), layout });
            }
        }
    }
    copies
}

impl Candidate {
    /// Whether the prefix says that the encoder is a moving average of another.
    fn is_teacher(&self) -> bool {
        self.prefix.split('.').any(|part| {
            ["momentum", "teacher", "target"].iter().any(|word| part.contains(word))
                || part == "ema"
                || part.starts_with("ema_")
                || part.ends_with("_ema")
                || part.ends_with("_k")
        })
    }

    /// The name in this program's networks of the tensor `rest`, which is the name behind the prefix.
    pub(super) fn name(&self, rest: &str) -> String {
        match self.layout {
            Layout::Vit | Layout::WideResnet => rest.to_owned(),
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
    // facebookresearch/moco-v3 calls its networks so; all of its transformers have 12 heads.
    if chosen.layout == Layout::Vit && (has("base_encoder") || has("momentum_encoder")) {
        return Hints { author: "MoCo V3", heads: Some(12), pooling: token, ..Hints::default() };
    }
    let root = chosen.prefix.strip_suffix("backbone.");
    let head = root.map(|root| format!("{root}head.last_layer."));
    let is_dino = |head: &String| sources.keys().any(|key| key.starts_with(head.as_str()));
    if chosen.layout == Layout::Vit && head.as_ref().is_some_and(is_dino) {
        return Hints { author: "DINO", heads: None, pooling: token, ..Hints::default() };
    }
    match chosen.layout {
        Layout::TorchvisionVit => {
            Hints { author: "torchvision", pooling: token, ..Hints::default() }
        }
        _ => Hints::default(),
    }
}

/// How a tensor that the encoder `chosen` does not have belongs to its file, and what it is.
pub(super) fn purpose(
    key: &str,
    copies: &[Candidate],
    chosen: &Candidate,
) -> (MatchStatus, Option<&'static str>) {
    let owner = copies
        .iter()
        .filter(|copy| key.starts_with(&copy.prefix))
        .max_by_key(|copy| copy.prefix.len());
    if owner.is_some_and(|owner| owner != chosen) {
        return (MatchStatus::LeftOut, Some("another copy of the encoder"));
    }
    let last = key.rsplit('.').next().unwrap_or(key);
    if ["num_batches_tracked", "total_ops", "total_params"].contains(&last) {
        return (MatchStatus::LeftOut, Some("a count, which no feature depends on"));
    }
    let Some(owner) = owner else {
        // Beside the encoder, so no part of its forward pass: `state_dict.projector.0.weight`.
        return match key.split('.').find_map(companion) {
            Some(reason) => (MatchStatus::LeftOut, Some(reason)),
            None => (MatchStatus::Unexpected, None),
        };
    };
    // Behind the encoder's prefix a head has its name at the top: what is called `fc` inside a block is a gate.
    let name = owner.name(&key[owner.prefix.len()..]);
    let first = name.split('.').next().unwrap_or(&name);
    match companion(first).filter(|_| !is_body(first)) {
        Some(reason) => (MatchStatus::LeftOut, Some(reason)),
        None => (MatchStatus::Unexpected, name.split('.').find_map(stranger)),
    }
}

/// Whether a name at the top of an encoder is that of a part which images pass through.
fn is_body(first: &str) -> bool {
    let numbered =
        |word: &str| first.strip_prefix(word).is_some_and(|rest| rest.parse::<u8>().is_ok());
    ["conv1", "bn1", "blocks", "patch_embed", "pos_embed", "cls_token", "norm", "encoder"]
        .contains(&first)
        || numbered("layer")
        || numbered("block")
}

/// What a part of a checkpoint with this name is, if the part is known and images do not pass through it.
fn companion(part: &str) -> Option<&'static str> {
    let part = part.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| part.contains(word));
    let is = |words: &[&str]| words.contains(&part.as_str());
    if has(&["optimizer", "optimiser", "scheduler", "scaler", "callbacks", "loops", "rng_state"])
        || is(&["n_averaged", "num_updates", "initted", "step", "steps", "iteration", "epoch"])
        || is(&["global_step", "decay", "ema_decay", "optim", "hyper_parameters", "args", "amp"])
    {
        Some("state of the training")
    } else if is(&["mask_token", "masked_embed"]) {
        Some("the token of masked patches, which only training uses")
    } else if has(&["queue", "prototype", "center", "centre", "memory_bank", "criterion", "loss"]) {
        Some("memory of the method")
    } else if has(&["project", "predict", "classifier", "linear_head", "decoder", "denoise"])
        || is(&["fc", "head", "heads", "linear", "head_dist", "probe", "mlp_head", "neck"])
        || part.ends_with("_head")
    {
        Some("a head")
    } else {
        None
    }
}

/// What a part of a network with this name is that the networks of this program do not have.
fn stranger(part: &str) -> Option<&'static str> {
    Some(match part {
        "se" | "fc" | "gate" | "eca" | "cbam" | "ca" | "sa" => "a gate",
        "gamma" | "gamma_1" | "gamma_2" | "ls1" | "ls2" | "layer_scale" => "layer scale",
        "q_norm" | "k_norm" => "a norm of queries and keys",
        "q_bias" | "v_bias" => "a bias of its own for queries or values",
        "reg_token" | "register_tokens" => "register tokens",
        "dist_token" => "a distillation token",
        "fc_norm" => "a norm behind the mean of the patches",
        "norm_pre" | "ln_pre" => "a norm before the blocks",
        "pre_logits" => "a layer between feature and head",
        "attn_pool" | "attnpool" => "pooling by attention",
        "filt" | "aa" => "blur pooling",
        "rel_pos" | "rel_pos_bias" | "relative_position_bias_table" | "relative_position_index" => {
            "relative positions"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_other_programs_become_ours() {
        let name = |layout, rest: &str| Candidate { prefix: String::new(), layout }.name(rest);
        for (layout, theirs, ours) in [
            (Layout::Resnet, "layer2.0.shortcut.1.bias", "layer2.0.downsample.1.bias"),
            (Layout::Numbered(4), "0.weight", "conv1.weight"),
            (Layout::Numbered(4), "1.running_var", "bn1.running_var"),
            (Layout::Numbered(4), "7.1.bn2.weight", "layer4.1.bn2.weight"),
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

    #[test]
    fn heads_and_other_copies_are_explained_and_the_unknown_is_not() {
        let at = |prefix: &str| Candidate { prefix: prefix.to_owned(), layout: Layout::Resnet };
        let (student, teacher) = (at("state_dict.backbone."), at("state_dict.momentum_backbone."));
        let copies = [student.clone(), teacher.clone()];
        assert!(teacher.is_teacher() && !student.is_teacher());
        for (key, explained) in [
            ("state_dict.momentum_backbone.conv1.weight", true),
            ("state_dict.projector.0.weight", true),
            ("state_dict.backbone.bn1.num_batches_tracked", true),
            ("state_dict.backbone.fc.weight", true),
            ("optimizer_states.0.state.0.exp_avg", true),
            ("state_dict.queue", true),
            ("state_dict.backbone.layer1.0.gate.weight", false),
            ("state_dict.something.weight", false),
        ] {
            let (status, _) = purpose(key, &copies, &student);
            assert_eq!(status == MatchStatus::LeftOut, explained, "{key}");
        }
    }

    /// Gates of SE-ResNets are called `fc` too, inside of the blocks.
    #[test]
    fn a_head_has_its_name_at_the_top_and_inside_of_a_block_nothing_is_left_out() {
        let bare = Candidate { prefix: String::new(), layout: Layout::Resnet };
        let vit = Candidate { prefix: "model.".to_owned(), layout: Layout::Vit };
        for (chosen, key, left_out) in [
            (&bare, "fc.weight", true),
            (&bare, "n_averaged", true),
            (&bare, "optimizer.state.0.exp_avg", true),
            (&bare, "layer1.0.bn1.total_ops", true),
            (&bare, "layer1.0.se.fc.0.weight", false),
            (&bare, "layer1.0.fc.0.weight", false),
            (&bare, "layer2.1.predict.weight", false),
            (&vit, "model.head.weight", true),
            (&vit, "model.mask_token", true),
            (&vit, "model.decoder_blocks.0.norm1.weight", true),
            (&vit, "ibot_loss.center", true),
            (&vit, "model.blocks.0.attn.projection.weight", false),
            (&vit, "model.pre_logits.fc.weight", false),
            (&vit, "model.fc_norm.weight", false),
            (&vit, "model.blocks.0.ls1.gamma", false),
        ] {
            let (status, _) = purpose(key, std::slice::from_ref(chosen), chosen);
            assert_eq!(status == MatchStatus::LeftOut, left_out, "{key}");
        }
        let gate = purpose("layer1.0.se.fc.0.weight", std::slice::from_ref(&bare), &bare);
        assert_eq!(gate, (MatchStatus::Unexpected, Some("a gate")));
    }
}
