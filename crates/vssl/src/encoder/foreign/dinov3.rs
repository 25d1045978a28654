//! The names of DINOv3's transformers (Siméoni et al. 2025, arXiv:2508.10104): those of facebookresearch/dinov3 and of Hugging
//! Face's `DINOv3ViT`. This program has timm's. Tensors that one program has in one piece and another in several are
//! joined or split before they are matched. Called by [`super::read`].

use super::{MatchStatus, source::Sources};

/// Names behind the prefix that only facebookresearch/dinov3 has.
const OWN: [&str; 2] = ["storage_tokens", "rope_embed.periods"];

/// What follows the name of a bias of queries, keys and values of which it is one part.
const PARTS: [&str; 3] = [" (queries)", " (keys)", " (values)"];

/// The layers of queries, keys and values in `DINOv3ViT`.
const LAYERS: [&str; 3] = ["q_proj", "k_proj", "v_proj"];

/// Whether the transformer behind `prefix` has the names of facebookresearch/dinov3.
pub(super) fn is_published(sources: &Sources, prefix: &str) -> bool {
    OWN.iter().any(|name| sources.contains_key(&format!("{prefix}{name}")))
}

/// Splits the biases behind the prefix, which facebookresearch/dinov3 has for queries, keys and values together.
pub(super) fn split_biases(sources: &mut Sources, prefix: &str) {
    let is_bias = |key: &&String| key.starts_with(prefix) && key.ends_with(".attn.qkv.bias");
    let keys: Vec<String> = sources.keys().filter(is_bias).cloned().collect();
    for key in keys {
        let thirds: Option<Vec<_>> = (0..3).map(|index| sources[&key].third(index)).collect();
        let Some(thirds) = thirds else { continue };
        sources.remove(&key);
        let parts = PARTS.iter().map(|part| format!("{key}{part}"));
        sources.extend(parts.zip(thirds));
    }
}

/// Joins the layers of queries, keys and values behind the prefix, which `DINOv3ViT` has apart.
pub(super) fn join_layers(sources: &mut Sources, prefix: &str) {
    let [first, ..] = LAYERS;
    let end = format!(".{first}.weight");
    let is_first = |key: &&String| key.starts_with(prefix) && key.ends_with(&end);
    let keys: Vec<String> = sources.keys().filter(is_first).cloned().collect();
    for key in keys {
        let own = LAYERS.map(|layer| key.replace(first, layer));
        let parts: Option<Vec<_>> = own.iter().map(|key| sources.get(key).cloned()).collect();
        if let Some(whole) = parts.and_then(super::source::Source::joined) {
            own.iter().for_each(|key| drop(sources.remove(key)));
            sources.insert(key.replace(first, "{q,k,v}_proj"), whole);
        }
    }
}

/// The name in this program's networks of a tensor of facebookresearch/dinov3.
pub(super) fn published(rest: &str) -> String {
    let [queries, _, values] = PARTS;
    let renames = [
        ("storage_tokens", "reg_token"),
        (".ls1.gamma", ".gamma_1"),
        (".ls2.gamma", ".gamma_2"),
        (".mlp.w1.", ".mlp.fc1_g."),
        (".mlp.w2.", ".mlp.fc1_x."),
        (".mlp.w3.", ".mlp.fc2."),
    ];
    let rename = |name: String, (theirs, ours): (&str, &str)| name.replacen(theirs, ours, 1);
    let name = renames.into_iter().fold(rest.to_owned(), rename);
    name.replace(&format!(".qkv.bias{queries}"), ".q_bias")
        .replace(&format!(".qkv.bias{values}"), ".v_bias")
}

/// The name in this program's networks of a tensor of `DINOv3ViT`, whose second part of a block `is_gated` or not.
pub(super) fn hugging_face(rest: &str, is_gated: bool) -> String {
    let name = match rest.strip_prefix("model.layer.").or_else(|| rest.strip_prefix("layer.")) {
        Some(block) => format!("blocks.{block}"),
        None => rest.to_owned(),
    };
    let renames = [
        ("embeddings.cls_token", "cls_token"),
        ("embeddings.register_tokens", "reg_token"),
        ("embeddings.mask_token", "mask_token"),
        ("embeddings.patch_embeddings.", "patch_embed.proj."),
        (".attention.{q,k,v}_proj.", ".attn.qkv."),
        (".attention.q_proj.bias", ".attn.q_bias"),
        (".attention.v_proj.bias", ".attn.v_bias"),
        (".attention.o_proj.", ".attn.proj."),
        (".layer_scale1.lambda1", ".gamma_1"),
        (".layer_scale2.lambda1", ".gamma_2"),
        (".mlp.gate_proj.", ".mlp.fc1_g."),
        (".mlp.up_proj.", if is_gated { ".mlp.fc1_x." } else { ".mlp.fc1." }),
        (".mlp.down_proj.", ".mlp.fc2."),
    ];
    renames.into_iter().fold(name, |name, (theirs, ours)| name.replacen(theirs, ours, 1))
}

/// What a tensor behind the prefix is that no network here has and on which no feature depends.
pub(super) fn purpose(key: &str) -> Option<(MatchStatus, Option<&'static str>)> {
    let has = |part: &str| key.split('.').any(|own| own == part);
    let reason = if key.ends_with(PARTS[1]) || has("bias_mask") {
        "the bias of the keys, which DINOv3 masks"
    } else if has("rope_embed") || has("rope_embeddings") {
        "the periods of the positions, which are computed"
    } else if has("local_cls_norm") {
        "the norm of small crops, which only training uses"
    } else {
        return None;
    };
    Some((MatchStatus::LeftOut, Some(reason)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_both_programs_become_those_of_timm() {
        for (theirs, ours) in [
            ("storage_tokens", "reg_token"),
            ("blocks.3.attn.qkv.bias (queries)", "blocks.3.attn.q_bias"),
            ("blocks.3.attn.qkv.bias (values)", "blocks.3.attn.v_bias"),
            ("blocks.3.ls2.gamma", "blocks.3.gamma_2"),
            ("blocks.3.mlp.w3.bias", "blocks.3.mlp.fc2.bias"),
            ("blocks.3.norm1.weight", "blocks.3.norm1.weight"),
        ] {
            assert_eq!(published(theirs), ours);
        }
        for (theirs, is_gated, ours) in [
            ("embeddings.patch_embeddings.weight", false, "patch_embed.proj.weight"),
            ("layer.11.attention.{q,k,v}_proj.weight", false, "blocks.11.attn.qkv.weight"),
            ("model.layer.2.attention.o_proj.bias", false, "blocks.2.attn.proj.bias"),
            ("layer.0.mlp.up_proj.weight", false, "blocks.0.mlp.fc1.weight"),
            ("layer.0.mlp.up_proj.weight", true, "blocks.0.mlp.fc1_x.weight"),
            ("layer.0.layer_scale1.lambda1", true, "blocks.0.gamma_1"),
            ("norm.bias", true, "norm.bias"),
        ] {
            assert_eq!(hugging_face(theirs, is_gated), ours);
        }
    }
}
