//! What the settings of the methods do, for the comments of a new recipe.

/// What a setting of `method` does, by the words that the methods share.
pub(super) fn meaning(method: &str, key: &str) -> &'static str {
    match key {
        "hidden" => "hidden width of the heads",
        "projector_hidden" if method == "distill" => "hidden width of the projector; 0: one layer",
        "objective" if method == "distill" => {
            "mse, cosine, seed, compress-1q, compress-2q, queue-kl, queue-kl-local"
        }
        "queue" if method == "distill" => "earlier features of the teacher that are kept",
        "projector_hidden" => "hidden width of the projector",
        "predictor_hidden" => "hidden width of the predictor",
        "dim" => "length of the head's output",
        "temperature" => "divides the logits: lower is sharper",
        "momentum" if method == "ijepa" => "share that the teacher keeps at each step, by a line",
        "momentum" => "share that the teacher keeps at each step, by cosine",
        "lambda" if method == "lejepa" => "weight of SIGReg",
        "lambda" => "weight of the entries off the diagonal",
        "loss_scale" => "factor on the loss",
        "similarity_weight" => "weight of the distance between views",
        "variance_weight" => "weight of the hinge on small deviations",
        "covariance_weight" => "weight of the covariances",
        "layers" => "layers of the transformer",
        "heads" => "heads of the transformer",
        "iternorm" => "whether the projector whitens its output",
        "slices" => "random directions a step",
        "knots" => "places at which characteristic functions are compared",
        "t_max" => "the last of these places",
        "range" => "half or full: whether negative places are computed, too",
        "pooled" => "whether all views are one sample",
        "times_rows" => "whether the statistic grows with the batch",
        "clip" => "a statistic below this counts as 0",
        "total" => "mixture or sum: how the two terms are added",
        "whitening_size" => "images that are whitened together",
        "whitening_iters" => "orders of the batch a step",
        "whitening_eps" => "share of the identity in the covariance",
        "mask_ratio" if method != "mae" => "smallest and largest share of patches that are masked",
        "mask_ratio" => "share of the patches that are hidden",
        "norm_pix_loss" => "whether the pixels of each patch are normalised",
        "targets" => "target blocks of an image",
        "target_scale" => "area of a target, as a share of the view",
        "target_aspect" => "height of a target over its width",
        "context_scale" => "area of the context before targets are taken out",
        "min_context" => "patches that a context has at least",
        "learns" => "first or both: which view of a pair has a gradient",
        "form" => "inside or outside: where the positives are added",
        "shared_head" => "whether class tokens and patches go through one head",
        "mask_probability" => "probability that a view of an image has a mask",
        "mask_aspect" => "smallest ratio of the sides of a masked block",
        "centering" => "softmax or sinkhorn: how the teacher's outputs become targets",
        "sinkhorn_iterations" => "iterations of the latter",
        "prototypes" => "cluster centres, or outputs of the head",
        key => of_its_ending(key),
    }
}

/// What a setting does that has the same ending as others.
fn of_its_ending(key: &str) -> &'static str {
    match key {
        key if key.ends_with("r_width") => "length of its tokens",
        key if key.ends_with("r_depth") => "number of its blocks",
        key if key.ends_with("r_heads") => "attention heads of its blocks",
        key if key.ends_with("norm_eps") => "added to the variances of its normalisations",
        key if key.ends_with("queue") => "earlier embeddings that are kept; whole batches",
        key if key.ends_with("temperature") => "a temperature: lower is sharper",
        key if key.ends_with("weight") => "weight of a term of the loss",
        key if key.ends_with("epochs") => "counted in epochs",
        _ => "see the page of the method in the book",
    }
}
