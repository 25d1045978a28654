//! Says of a tensor that the encoder does not have what it is: a head, a record of the training, another copy
//! of the encoder; or that it is unexpected. Called by [`super::read`].

use super::{
    MatchStatus, dinov3,
    names::{Candidate, Layout},
    source::Source,
};

/// The reason that a tensor of another kind than [`companion`] knows belongs to the records of the training.
const TRAINING: &str = "state of the training";

/// How a tensor that the encoder `chosen` does not have belongs to its file, and what it is.
pub(super) fn purpose(
    key: &str,
    source: &Source,
    copies: &[Candidate],
    chosen: &Candidate,
) -> (MatchStatus, Option<&'static str>) {
    let axes = source.shape.len();
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
    // Beside the encoder, so no part of its forward pass: `state_dict.projector.0.weight`.
    let Some(owner) = owner else {
        if axes >= 4 && key.split('.').any(is_segmentation) {
            return (MatchStatus::Unexpected, Some(SEGMENTATION));
        }
        let known = key.split('.').find_map(|part| companion(part, true));
        let known = known
            .or_else(|| neighbour(key, axes))
            .or_else(|| later_layer(key, axes, chosen))
            .or_else(|| source.is_record().then_some("a number that no feature depends on"));
        return match known {
            Some(reason) => (MatchStatus::LeftOut, Some(reason)),
            None => (MatchStatus::Unexpected, None),
        };
    };
    if matches!(owner.layout, Layout::Dinov3 | Layout::Dinov3Vit)
        && let Some(known) = dinov3::purpose(key)
    {
        return known;
    }
    // Behind the encoder's prefix a head has its name at the top: what is called `fc` inside a block is a gate.
    let name = owner.name(&key[owner.prefix.len()..]);
    let first = name.split('.').next().unwrap_or(&name);
    let known =
        companion(first, false).or_else(|| numbered_head(first, axes, owner.layout)).or_else(
            || (!key.contains('.') && source.is_record()).then_some("a number of the training"),
        );
    match known {
        // Images pass through a convolution: no head of a classifier is one.
        Some(reason) if axes < 4 || reason == TRAINING => (MatchStatus::LeftOut, Some(reason)),
        Some(_) if is_segmentation(first) => (MatchStatus::Unexpected, Some(SEGMENTATION)),
        _ => (MatchStatus::Unexpected, name.split('.').find_map(stranger)),
    }
}

const SEGMENTATION: &str = "a head for segmentation, whose backbone is dilated";

/// Whether torchvision or mmsegmentation calls the head of a segmentation so; classifiers have the first name
/// too, but they are no convolutions.
fn is_segmentation(part: &str) -> bool {
    ["classifier", "aux_classifier", "decode_head", "auxiliary_head"].contains(&part)
}

/// What a part of a checkpoint with this name is, if the part is known and images do not pass through it.
///
/// `beside`: whether the part lies beside the encoder; at the top of an encoder fewer names are clear.
fn companion(part: &str, beside: bool) -> Option<&'static str> {
    let part = part.to_ascii_lowercase();
    let words: Vec<&str> =
        part.split('_').map(|word| word.trim_end_matches(|c: char| c.is_ascii_digit())).collect();
    let has = |known: &[&str]| words.iter().any(|word| known.contains(word));
    let ends = |known: &[&str]| words.last().is_some_and(|word| known.contains(word));
    let begins = |known: &[&str]| known.contains(&words[0]);
    let is = |known: &[&str]| known.contains(&part.as_str());
    if part.starts_with("optim")
        || has(&["optimizer", "optimizers", "optimiser", "optimisers", "scheduler", "schedulers"])
        || has(&["scaler", "callbacks", "loops", "rng"])
        || is(&["opt", "n_averaged", "num_updates", "initted", "step", "steps", "iteration"])
        || is(&["epoch", "global_step", "decay", "ema_decay", "hyper_parameters", "args", "amp"])
        || part.contains("random_state")
    {
        Some(TRAINING)
    } else if is(&["mask_token", "masked_embed"]) {
        Some("the token of masked patches, which only training uses")
    } else if has(&["queue", "queues", "prototype", "prototypes"])
        || part.contains("memory_bank")
        || ends(&["center", "centre", "centers", "centres", "criterion", "loss", "losses"])
        || beside && has(&["memory", "center", "centre", "criterion", "loss"])
    {
        Some("memory of the method")
    } else if begins(HEADS)
        || ends(HEADS)
        || beside && has(HEADS)
        || is(&["fc", "head", "heads", "linear", "head_dist", "probe", "mlp_head", "neck"])
        || part.ends_with("_head")
        || beside && (part.starts_with("proj") || part.starts_with("pred"))
        || beside && part.ends_with("_probe")
        || beside && is(&["transformer_encoder", "iter_norm"])
    {
        Some("a head")
    } else {
        None
    }
}

/// Words for heads.
const HEADS: &[&str] = &[
    "projector",
    "projectors",
    "projection",
    "projections",
    "project",
    "predictor",
    "predictors",
    "prediction",
    "predictions",
    "predict",
    "classifier",
    "classifiers",
    "decoder",
    "decoders",
    "denoiser",
    "denoisers",
    "denoise",
];

/// What a tensor beside the encoder is by the end of its name, or by a part that only its axes make clear.
fn neighbour(key: &str, axes: usize) -> Option<&'static str> {
    let moments = ["exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer", "square_avg"];
    let last = key.rsplit('.').next().unwrap_or(key);
    if moments.contains(&last) {
        return Some(TRAINING);
    }
    // Barlow Twins normalises the projections by `bn`; SimCLR's paper calls the projection g.
    let is_head = axes == 1 && key.split('.').any(|part| part == "bn")
        || axes <= 2 && key.split('.').any(|part| part == "g");
    is_head.then_some("a head")
}

/// What a tensor of a later layer is where the encoder is a layer of a `Sequential`: `2.weight` behind the encoder `0.`.
fn later_layer(key: &str, axes: usize, chosen: &Candidate) -> Option<&'static str> {
    let path = chosen.prefix.strip_suffix('.')?;
    let (root, own) = path.rsplit_once('.').map_or(("", path), |(root, own)| (root, own));
    let rest = if root.is_empty() { key } else { key.strip_prefix(root)?.strip_prefix('.')? };
    let (number, _) = rest.split_once('.')?;
    let (own, number) = (own.parse::<usize>().ok()?, number.parse::<usize>().ok()?);
    (number > own && axes <= 2).then_some("a head")
}

/// What a layer behind the last stage of a numbered ResNet is: `9.weight`.
fn numbered_head(first: &str, axes: usize, layout: Layout) -> Option<&'static str> {
    let Layout::Numbered(stage) = layout else { return None };
    let number = first.parse::<usize>().ok()?;
    (number >= stage + 4 && axes <= 2).then_some("a head")
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
    use burn::tensor::DType;

    use super::{super::source::Place, *};

    fn at(prefix: &str, layout: Layout) -> Candidate {
        Candidate { prefix: prefix.to_owned(), layout, is_gated: false }
    }

    fn tensor(shape: &[usize]) -> Source {
        Source::new(shape.to_vec(), Some(DType::F32), Place::Bytes(Vec::new().into(), 0..0))
    }

    fn left_out(key: &str, shape: &[usize], chosen: &Candidate) -> bool {
        let copies = std::slice::from_ref(chosen);
        purpose(key, &tensor(shape), copies, chosen).0 == MatchStatus::LeftOut
    }

    #[test]
    fn heads_and_other_copies_are_explained_and_the_unknown_is_not() {
        let student = at("state_dict.backbone.", Layout::Resnet);
        let copies = [student.clone(), at("state_dict.momentum_backbone.", Layout::Resnet)];
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
            let (status, _) = purpose(key, &tensor(&[8, 8]), &copies, &student);
            assert_eq!(status == MatchStatus::LeftOut, explained, "{key}");
        }
    }

    /// Gates of SE-ResNets are called `fc` too, inside of the blocks.
    #[test]
    fn a_head_has_its_name_at_the_top_and_inside_of_a_block_nothing_is_left_out() {
        let bare = at("", Layout::Resnet);
        let vit = at("model.", Layout::Vit);
        for (chosen, key, expected) in [
            (&bare, "fc.weight", true),
            (&bare, "n_averaged", true),
            (&bare, "optimizer.state.0.exp_avg", true),
            (&bare, "layer1.0.bn1.total_ops", true),
            (&bare, "layer1.0.se.fc.0.weight", false),
            (&bare, "layer1.0.fc.0.weight", false),
            (&bare, "layer2.1.predict.weight", false),
            (&bare, "loss_gate.weight", false),
            (&vit, "model.head.weight", true),
            (&vit, "model.mask_token", true),
            (&vit, "model.decoder_blocks.0.norm1.weight", true),
            (&vit, "ibot_loss.center", true),
            (&vit, "model.blocks.0.attn.projection.weight", false),
            (&vit, "model.pre_logits.fc.weight", false),
            (&vit, "model.fc_norm.weight", false),
            (&vit, "model.blocks.0.ls1.gamma", false),
        ] {
            assert_eq!(left_out(key, &[8, 8], chosen), expected, "{key}");
        }
        for key in ["loss_gate.conv.weight", "spatial_project.weight", "classifier.0.weight"] {
            assert!(!left_out(key, &[8, 8, 3, 3], &bare), "{key}");
        }
        let copies = std::slice::from_ref(&bare);
        let gate = purpose("layer1.0.se.fc.0.weight", &tensor(&[8, 8]), copies, &bare);
        assert_eq!(gate, (MatchStatus::Unexpected, Some("a gate")));
    }

    /// Names of pytorch/examples, MoCo, I-JEPA, Barlow Twins, DeepClusterV2, lightly and leftthomas/SimCLR.
    #[test]
    fn records_of_the_training_and_heads_beside_the_encoder_are_left_out() {
        let inner = at("state_dict.module.", Layout::Resnet);
        for (key, shape) in [
            ("best_acc1", &[][..]),
            ("acc1", &[1]),
            ("opt.state.0.exp_avg", &[8, 3, 3, 3]),
            ("optim_groups.0.mean", &[8]),
            ("states.3.momentum_buffer", &[8, 3, 3, 3]),
            ("model.module.bn.running_mean", &[8]),
            ("local_memory_embeddings", &[2, 8, 4]),
            ("torch_rng", &[5056]),
            ("numpy_random_state.1", &[624]),
            ("proj_mlp.0.weight", &[8, 8]),
            ("pred.weight", &[8, 8]),
            ("linear_probe.weight", &[8, 8]),
            ("g.0.weight", &[8, 8]),
        ] {
            assert!(left_out(key, shape, &inner), "{key}");
        }
        for (key, shape) in
            [("entry.weight", &[8, 3, 7, 7][..]), ("model.bn.weight", &[8, 8]), ("mean", &[3])]
        {
            assert!(!left_out(key, shape, &inner), "{key}");
        }
        let whole = Source::new(vec![50], None, Place::Bytes(Vec::new().into(), 0..0));
        let copies = std::slice::from_ref(&inner);
        assert_eq!(purpose("indices", &whole, copies, &inner).0, MatchStatus::LeftOut);
        let first = at("model.0.", Layout::Resnet);
        assert!(left_out("model.2.weight", &[10, 8], &first));
        assert!(!left_out("model.1.weight", &[8, 8, 3, 3], &first));
        let second = at("1.", Layout::Resnet);
        assert!(left_out("3.bias", &[10], &second) && !left_out("0.mean", &[3], &second));
        let numbered = at("", Layout::Numbered(4));
        assert!(left_out("10.weight", &[10, 8], &numbered));
        assert!(left_out("best_acc1", &[], &numbered));
    }

    #[test]
    fn the_heads_of_a_segmentation_say_that_the_backbone_is_dilated() {
        let backbone = at("backbone.", Layout::Resnet);
        let copies = std::slice::from_ref(&backbone);
        for key in ["classifier.0.weight", "aux_classifier.0.weight"] {
            let found = purpose(key, &tensor(&[8, 8, 3, 3]), copies, &backbone);
            assert_eq!(found, (MatchStatus::Unexpected, Some(SEGMENTATION)), "{key}");
        }
        assert!(left_out("classifier.weight", &[10, 8], &backbone));
    }
}
