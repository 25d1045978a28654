//! The heads, the positions and the pooling of a transformer of another program, which its tensors hardly tell. Called by
//! [`super::infer`].

use super::{ForeignError, Request, contradiction::contradiction, hints::Hints};
use crate::backbone::{Pooling, VitConfig, VitSize};

/// Settles what the tensors of a transformer do not tell. Settings that nobody tells are added to `unknown`.
///
/// # Errors
/// Arguments that contradict the tensors or the names, or that no transformer of this kind has.
pub(super) fn settle(
    vit: &mut VitConfig,
    request: &Request,
    hints: &Hints,
    unknown: &mut Vec<&'static str>,
) -> Result<(), ForeignError> {
    if hints.told.is_none()
        && let Some(interpolation) = hints.interpolation
    {
        vit.interpolation = interpolation;
    }
    let known = hints.told.as_ref().map(|_| (vit.heads(), vit.pooling));
    // The names tell the author, who has published one ViT-S; a network of another width is a reader's own.
    let named = hints.heads.filter(|_| vit.size == VitSize::Small);
    let heads = known.map(|(heads, _)| heads).or(named);
    // The norm behind the mean has a name of its own.
    let shown = (vit.pooling == Pooling::FcNorm).then_some(Pooling::FcNorm);
    let pooling = known.map(|(_, pooling)| pooling).or(shown).or(hints.pooling);
    if let Some(told) = heads {
        contradiction("--heads", request.heads, told).map_err(|error| whose(error, hints))?;
    }
    if let Some(told) = pooling {
        contradiction("--pooling", request.pooling, told).map_err(|error| whose(error, hints))?;
    }
    match heads.or(request.heads) {
        Some(heads) => take_heads(vit, heads)?,
        None => unknown.extend(question_of_heads(vit)),
    }
    match pooling.or(request.pooling) {
        Some(pooling) => vit.pooling = pooling,
        None => unknown.push(
            "which tokens become the feature is not in the weights: give --pooling token for the \
             class token, which timm, DeiT, DINO and MoCo V3 take, or --pooling mean for the mean \
             of the patches (global_pool=\"avg\" with fc_norm=False in timm)",
        ),
    }
    if vit.pooling == Pooling::Token && !vit.class_token {
        return Err(ForeignError::Contradiction(
            "--pooling token: the tensors have no class token; give --pooling mean".to_owned(),
        ));
    }
    if vit.pooling == Pooling::FcNorm && shown.is_none() && hints.told.is_none() {
        return Err(ForeignError::Contradiction(
            "--pooling fc-norm: the tensors have no fc_norm; give --pooling token or mean"
                .to_owned(),
        ));
    }
    Ok(())
}

/// Sets the number of heads, which has to divide the width.
fn take_heads(vit: &mut VitConfig, heads: usize) -> Result<(), ForeignError> {
    let (width, usual) = (vit.width(), vit.size.shape().2);
    if heads == 0 {
        return Err(ForeignError::Contradiction("--heads 0: expected at least 1".into()));
    }
    if !width.is_multiple_of(heads) {
        return Err(ForeignError::Contradiction(format!(
            "--heads {heads}: expected a divisor of the width, {width}"
        )));
    }
    if vit.is_rotary() && !(width / heads).is_multiple_of(4) {
        return Err(ForeignError::Contradiction(format!(
            "--heads {heads}: rotary positions turn queries whose length is a multiple of 4, and with a width of \
             {width} these have {}",
            width / heads
        )));
    }
    vit.heads = (heads != usual).then_some(heads);
    Ok(())
}

/// Returns what to ask where nobody tells the number of heads. Of the known sizes only ViT-B exists with one number of
/// heads: ViT-Tiny has 12 in MAE-Lite, and ViT-S has 12 in MoCo V3.
fn question_of_heads(vit: &VitConfig) -> Option<&'static str> {
    match vit.size {
        VitSize::Dinov2(_) | VitSize::Dinov2Registers(_) | VitSize::Dinov3(_) => None,
        _ if vit.width.is_some() => Some(
            "the number of attention heads is not in the weights, and the network is none that has a name: \
             give --heads",
        ),
        VitSize::Small => Some(
            "the number of attention heads is not in the weights, and ViT-S exists with two: give \
             --heads 6 for timm, DeiT and DINO, or --heads 12 for MoCo V3",
        ),
        VitSize::Tiny => Some(
            "the number of attention heads is not in the weights, and ViT-Tiny exists with two: give \
             --heads 3 for timm and DeiT, or --heads 12 for MAE-Lite",
        ),
        _ => None,
    }
}

fn whose(error: ForeignError, hints: &Hints) -> ForeignError {
    match error {
        ForeignError::Contradiction(text) if !hints.author.is_empty() => {
            ForeignError::Contradiction(format!("{text} (the names are those of {})", hints.author))
        }
        other => other,
    }
}
