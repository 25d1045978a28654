//! Learning rates that fall block by block from the top of a backbone to its bottom (Clark et al. 2020,
//! arXiv:2003.10555; BEiT, Bao et al. 2022, arXiv:2106.08254).
//!
//! `rate = base · factorᵈ`, with d = 0 for the heads and the last norm, 1 for the last block, 2 for the block below it,
//! and one more than the first block for all that comes before it: the stem, the class token and the positions. The
//! blocks are those of timm's `param_groups_layer_decay`: each residual block of a ResNet, each block of a transformer.
//! timm counts a last norm to the last block; BEiT, whose rule this is, does not. Called by the optimiser.

use std::collections::BTreeMap;

use super::OptimError;
use crate::tensors::ParameterInfo;

/// The beginning of the paths of a backbone's parameters.
const BACKBONE: &str = "backbone.";

/// Returns the factor of the learning rate of each parameter of the backbone that is below its top, by path. The
/// `parameters` come in the model's own order, from the images to the heads.
///
/// # Errors
/// The factor is not 1, and the parameters have no numbered blocks.
pub fn layer_factors(
    parameters: &[ParameterInfo],
    factor: f64,
) -> Result<BTreeMap<String, f64>, OptimError> {
    if factor == 1.0 {
        return Ok(BTreeMap::new());
    }
    let own = |path: &str| path.strip_prefix(BACKBONE).map(block);
    let blocks: Vec<_> = parameters.iter().map(|parameter| own(&parameter.path)).collect();
    let mut distinct: Vec<&Block> = blocks.iter().flatten().flatten().collect();
    distinct.dedup();
    let Some(first) = blocks.iter().position(|block| matches!(block, Some(Some(_)))) else {
        let first = parameters.first().map_or("missing", |parameter| parameter.path.as_str());
        return Err(OptimError::NoBlocks { factor, first: first.to_owned() });
    };
    let count = distinct.len();
    let below = |block: &Block| distinct.iter().position(|other| *other == block);
    let depth = |index: usize, block: &Option<Block>| match block {
        Some(block) => count - below(block).unwrap_or(0),
        None if index < first => count + 1,
        None => 0,
    };
    let of_backbone = parameters.iter().zip(&blocks).enumerate();
    let factors = of_backbone.filter_map(|(index, (parameter, block))| {
        let depth = depth(index, block.as_ref()?) as i32; // few blocks: the cast fits
        (depth > 0).then(|| (parameter.path.clone(), factor.powi(depth)))
    });
    Ok(factors.collect())
}

/// The stage and the number of a block.
type Block = (String, usize);

/// Returns the block of a parameter whose path in the backbone is `path`; `None` for a stem, a token or a last norm. What
/// lies between two stages belongs to the first block of the second.
fn block(path: &str) -> Option<Block> {
    let parts: Vec<&str> = path.split('.').collect();
    let (stage, number) = match parts[..] {
        ["blocks", number, ..] => ("blocks".to_owned(), number),
        ["stages", stage, "blocks", number, ..] => (format!("stages.{stage}"), number),
        ["stages", stage, ..] => (format!("stages.{stage}"), "0"),
        [stage, "layer", number, ..] if stage.starts_with("block") => (stage.to_owned(), number),
        [stage, number, ..] if stage.starts_with("layer") => (stage.to_owned(), number),
        _ => return None,
    };
    Some((stage, number.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factors(paths: &[&str]) -> BTreeMap<String, f64> {
        let info = |path: &&str| ParameterInfo {
            path: (*path).to_owned(),
            shape: vec![2, 2],
            trainable: true,
        };
        layer_factors(&paths.iter().map(info).collect::<Vec<_>>(), 0.5).unwrap()
    }

    #[test]
    fn heads_have_the_full_rate_though_they_are_numbered() {
        let paths = [
            "backbone.conv1.weight",
            "backbone.layer1.0.conv1.weight",
            "projector.layers.0.weight",
        ];
        let expected = [(paths[0], 0.25), (paths[1], 0.5)];
        assert_eq!(factors(&paths), expected.map(|(path, x)| (path.to_owned(), x)).into());
    }

    #[test]
    fn a_downsampling_between_stages_belongs_to_the_block_after_it() {
        let paths = [
            "backbone.stem.0.weight",
            "backbone.conv1.3.weight",
            "backbone.stages.0.blocks.0.norm.weight",
            "backbone.stages.0.blocks.1.norm.weight",
            "backbone.stages.1.downsample.0.weight",
            "backbone.stages.1.blocks.0.norm.weight",
            "backbone.head_norm.weight",
        ];
        let found = factors(&paths);
        let of = |index: usize| found.get(paths[index]).copied();
        assert_eq!(of(6), None);
        assert_eq!([of(5), of(4), of(3), of(2)], [Some(0.5), Some(0.5), Some(0.25), Some(0.125)]);
        // Numbers in the stem are not those of blocks.
        assert_eq!([of(1), of(0)], [Some(0.0625); 2]);
    }

    #[test]
    fn a_model_without_blocks_is_refused() {
        let error = layer_factors(&[], 0.5).unwrap_err().to_string();
        assert!(error.contains("layer_decay is 0.5") && error.contains("numbered"), "{error}");
        assert!(layer_factors(&[], 1.0).unwrap().is_empty());
    }
}
