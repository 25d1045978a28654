//! The tables of a recipe that say which network learns, what it starts from and who teaches it.

use toml::Table;
use vssl::recipe::Entry;

use super::{encoder::Encoder, page::Page, survey::Survey, tuning};

/// Whether the method trains transformers only, because it hides or compares patches.
pub(super) fn needs_patches(entry: &Entry) -> bool {
    entry.defaults().check_patches(None).is_err()
}

/// A convolutional network.
pub(super) fn backbone(page: &mut Page, survey: &Survey) {
    let stem = if survey.has_large_views() { "imagenet" } else { "cifar" };
    page.table("[backbone]");
    page.key(
        "architecture",
        "resnet18",
        "or another network of the book: resnet50, vit-tiny, convnext_atto, …",
    );
    page.key("width", 64, "channels of the first stage; fewer are faster and learn less");
    page.key("stem", stem, "imagenet: 7x7 stride 2 and pooling; cifar: 3x3, small images");
    page.key("stem_padding", 1, "of the cifar stem");
}

/// A transformer, for methods that hide patches.
pub(super) fn transformer(page: &mut Page, entry: &Entry, survey: &Survey) {
    let (size, patch) = tuning::cut(survey.side);
    // I-JEPA predicts patches and has no class token; the others are evaluated by theirs.
    let class_token = entry.name != "ijepa";
    page.table("[backbone]");
    page.key("architecture", "vit-tiny", "or vit-small, vit-base, vit-large");
    page.table("[backbone.vit]");
    page.key("patch", patch as i64, "side of a patch in pixels");
    page.key("image_size", size as i64, "side that the positions are for");
    page.key("positions", "sincos", "or learned, or rotary");
    page.key("class_token", class_token, "whether there is a class token");
    page.key(
        "pooling",
        if class_token { "token" } else { "mean" },
        "the feature: the class token, or the mean of the patches",
    );
}

/// The encoder to start from. Its architecture is that of the run.
pub(super) fn init(page: &mut Page, from: &Encoder, channels: usize) {
    if let Some(start) = &from.start {
        page.note("The network of the encoder; a run with another one is refused.");
        let table = Table::try_from(&start.config).expect("settings are plain values");
        network(page, "[backbone]", &table);
    }
    page.table("[init]");
    page.key("from", from.path.as_str(), "the encoder; its network is that of the run");
    page.key("network", "student", "or teacher: of a run, or of a file with a moving average");
    page.absent("checkpoint", "latest", "of a run: latest, best or step-N");
    page.key("freeze_epochs", 1, "epochs in which the heads train alone");
    page.absent(
        "stem_padding",
        1,
        "this and the next: what a file of another program may not tell",
    );
    page.absent("heads", 6, "attention heads of a transformer");
    let comment = "or repeat: where the images have other channels";
    match from.channels != channels {
        true => page.key("stem_channels", "mean", comment),
        false => page.absent("stem_channels", "mean", comment),
    }
    page.absent("pooling", "token", "or mean: which tokens of a transformer are the feature");
    page.absent("normalisation", "imagenet", "or cifar10, cifar100: of the images it knows");
}

/// The encoder that the student learns from.
pub(super) fn frozen_teacher(page: &mut Page, teacher: &Encoder) {
    if let Some(words) = teacher.words() {
        page.note(&words);
    }
    page.table("[teacher]");
    page.key("from", teacher.path.as_str(), "the trained encoder that the student learns from");
    page.absent("features", "features.parquet", "what `vssl embed` stored of it: faster");
    page.key("network", "student", "or teacher: of a run, or of a file with a moving average");
    page.absent("checkpoint", "latest", "of a run: latest, best or step-N");
    page.absent(
        "stem_padding",
        1,
        "this and the next: what a file of another program may not tell",
    );
    page.absent("heads", 6, "attention heads of a transformer");
    page.absent("pooling", "token", "or mean: which tokens of a transformer are the feature");
    page.absent("normalisation", "imagenet", "or cifar10, cifar100: of the images it knows");
}

/// The settings of a network, and below them those of the tables in it.
fn network(page: &mut Page, header: &str, table: &Table) {
    page.table(header);
    for (key, value) in table.iter().filter(|(_, value)| !value.is_table()) {
        page.key(key, value.clone(), "of the encoder");
    }
    for (key, value) in table {
        if let Some(inner) = value.as_table() {
            network(page, &format!("[{}.{key}]", header.trim_matches(['[', ']'])), inner);
        }
    }
}
