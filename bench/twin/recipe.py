"""A resolved recipe, as `vssl config` prints it: every setting is there, so the twin has no default of its own.

What the twin does not do is refused, key by key: a setting that one side ignored would make the comparison worthless.
"""

import subprocess
import tomllib

#: Settings that the twin reads.
READ = {
    "method", "seed", "train.epochs", "train.batch", "train.max_steps",
    "data.path", "data.limit_train", "data.normalisation.mean", "data.normalisation.std",
    "backbone.width",
    "optimizer.lr", "optimizer.weight_decay", "optimizer.beta1", "optimizer.beta2", "optimizer.eps",
    "schedule.warmup_epochs", "schedule.start", "schedule.min",
    "vssl.hidden", "vssl.dim", "vssl.kl_weight", "vssl.nll_weight", "vssl.momentum",
    "byol.projector_hidden", "byol.dim", "byol.predictor_hidden", "byol.momentum",
    "simclr.projector_hidden", "simclr.dim", "simclr.temperature",
    "vicreg.projector_hidden", "vicreg.dim",
    "vicreg.similarity_weight", "vicreg.variance_weight", "vicreg.covariance_weight",
}

#: Settings that have to be these, because the twin does nothing else.
FIXED = {
    "data.format": "cifar10", "data.labels": "auto",
    "backbone.architecture": "resnet18", "backbone.stem": "imagenet",
    "optimizer.name": "adamw", "optimizer.scale_lr": False,
    "schedule.name": "warmup-cosine", "schedule.interval": "step",
    "train.accumulate": 1, "train.precision": "f32",
    "vssl.prior": "auto", "vssl.sampling": "half-normal", "vssl.objective": "cosine", "vssl.pairs": "all",
    "vssl.likelihood_sign": "minimise",
}

#: Settings that change no weight of the encoder: padding of another stem, ranks, reading, test images.
WITHOUT_EFFECT = {
    "backbone.stem_padding", "train.sync_batchnorm",
    "data.limit_validation", "data.missing_classes", "data.on_bad_image", "data.prefetch", "data.workers",
}
TABLES_WITHOUT_EFFECT = {"probe", "knn", "evaluation", "health", "checkpoint", "log"}

#: The keys of a view group: read, or fixed.
VIEW_READ = {
    "count", "size", "crop_scale", "crop_ratio", "jitter", "brightness", "contrast", "saturation", "hue", "grayscale",
    "flip",
}
VIEW_FIXED = {"local": False, "interpolation": "bicubic", "blur": 0.0, "solarize": 0.0, "equalize": 0.0}
VIEW_WITHOUT_EFFECT = {"blur_sigma"}


def resolved(vssl, recipe, changes):
    """The text of `recipe` with the changes `KEY=VALUE` and all defaults."""
    options = [word for change in changes for word in ("--set", change)]
    run = subprocess.run([vssl, "config", recipe, *options], check=True, stdout=subprocess.PIPE, text=True)
    return run.stdout


def read(path):
    """The settings of a resolved recipe as nested dictionaries."""
    with open(path, "rb") as file:
        recipe = tomllib.load(file)
    problems = [*_problems(recipe), *_problems_of_views(recipe.get("views", []))]
    if problems:
        raise SystemExit(f"{path}: the twin cannot do this: {'; '.join(problems)}")
    return recipe


def _leaves(table, path=""):
    for key, value in table.items():
        if isinstance(value, dict) and key != "momentum":
            yield from _leaves(value, f"{path}{key}.")
        else:
            yield path + key, value


def _problems(recipe):
    for key, value in _leaves(recipe):
        table = key.partition(".")[0]
        if key == "views" or key in READ or key in WITHOUT_EFFECT or table in TABLES_WITHOUT_EFFECT:
            continue
        if key not in FIXED:
            yield f"{key} is not a setting that it knows"
        elif value != FIXED[key]:
            yield f"{key} is {value!r}, expected {FIXED[key]!r}"


def _problems_of_views(groups):
    if sum(group["count"] for group in groups) != 2:
        yield "there are other than two views"
    for key, value in (item for group in groups for item in group.items()):
        if key in VIEW_READ or key in VIEW_WITHOUT_EFFECT:
            continue
        if key not in VIEW_FIXED:
            yield f"views.{key} is not a setting that it knows"
        elif value != VIEW_FIXED[key]:
            yield f"views.{key} is {value!r}, expected {VIEW_FIXED[key]!r}"
