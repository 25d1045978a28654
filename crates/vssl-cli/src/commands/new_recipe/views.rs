//! The tables of a recipe that say what the views of an image are.

use super::{page::Page, survey::Survey, tuning::Pair};

/// All groups of views.
pub(super) fn views(page: &mut Page, survey: &Survey, pair: Pair) {
    page.note(match pair {
        Pair::Single => "One view of each image.",
        _ => "Two views of each image; a group for each kind.",
    });
    let mut group =
        |count, colours, solarize, changed| group(page, survey, count, colours, solarize, changed);
    match pair {
        Pair::Single => group(1, [0.0, 0.0, 0.0], 0.0, false),
        Pair::Symmetric => group(2, [0.4, 0.4, 0.1], 0.0, true),
        Pair::Strong => group(2, [0.8, 0.8, 0.2], 0.0, true),
        Pair::Asymmetric => {
            group(1, [0.4, 0.2, 0.1], 0.0, true);
            group(1, [0.4, 0.2, 0.1], 0.2, true);
        }
        Pair::WeakSecond => {
            group(1, [0.4, 0.2, 0.1], 0.0, true);
            group(1, [0.0, 0.0, 0.0], 0.0, false);
        }
    }
}

/// One group; `colours` are brightness and contrast, saturation, hue.
fn group(
    page: &mut Page,
    survey: &Survey,
    count: i64,
    colours: [f64; 3],
    solarize: f64,
    changed: bool,
) {
    let size = survey.view;
    let [light, saturation, hue] = colours;
    // Only pictures in RGB have colours to change.
    let coloured = |value: f64| if survey.has_colours() { value } else { 0.0 };
    let share = |value: f64| if changed { value } else { 0.0 };
    let blur = if survey.has_large_views() { 0.5 } else { 0.0 };
    page.table("[[views]]");
    page.key("count", count, "views of this group");
    page.key("local", false, "true: small crops, which only the student sees");
    page.key("size", size as i64, "side in pixels");
    page.key("crop_scale", vec![0.2, 1.0], "area of the crop, as a share of the image");
    page.key("crop_ratio", vec![0.75, 1.3333333333333333], "its width over height");
    page.key("interpolation", "bicubic", "or bilinear");
    page.key("jitter", share(0.8), "probability of changing the colours");
    page.key("brightness", light, "factor in 1 ± this");
    page.key("contrast", light, "likewise");
    page.key("saturation", coloured(saturation), "likewise");
    page.key("hue", coloured(hue), "shift in ± this, at most 0.5");
    page.key("grayscale", share(coloured(0.2)), "probability");
    page.key("blur", share(blur), "probability of a Gaussian blur");
    page.key("blur_sigma", vec![0.1, 2.0], "its standard deviation in pixels");
    page.key("solarize", solarize, "probability of inverting bright values");
    page.key("equalize", 0.0, "probability of equalising the histogram");
    page.key("flip", 0.5, "left-right; 0.0 where that changes the meaning, as in text");
}
