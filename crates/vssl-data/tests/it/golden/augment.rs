//! Every case of the folder `augment`: single operations, resized crops, whole chains.

use serde_json::Value;
use vssl_data::{
    EvaluationTransform, Image, Normalisation,
    augment::{Adjustment, Canvas, Interpolation, Normaliser, Region, Scratch, ViewParameters},
};

use super::case::{Case, json};

#[test]
fn augmentations_equal_the_reference() {
    let index = json("index.json");
    let cases = index["cases"]["augment"].as_array().expect("index.json: cases.augment");
    for name in cases {
        let case = Case::read("augment", name.as_str().expect("a name"));
        check(&case);
        case.finish();
    }
    assert!(!cases.is_empty());
    println!("augment: {} cases checked", cases.len());
}

fn check(case: &Case) {
    let name = case.name.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('_');
    match name {
        "brightness" | "contrast" | "saturation" | "hue" => {
            for item in items(case) {
                let adjustment = adjustment(name, number(&item["factor"]));
                check_operation(case, item, |canvas| canvas.adjust(adjustment));
            }
        }
        "gaussian_blur" => {
            for item in items(case) {
                let radius = number(&item["radius"]);
                check_operation(case, item, |canvas| canvas.blur(radius));
            }
        }
        "equalize" => check_operation(case, &whole_case(), Canvas::equalize),
        "grayscale" => check_operation(case, &whole_case(), Canvas::grayscale),
        "hflip" => check_operation(case, &whole_case(), Canvas::flip),
        "solarize" => {
            assert_eq!(case.params["threshold"].as_u64(), Some(128), "the threshold is fixed");
            check_operation(case, &whole_case(), Canvas::solarize);
        }
        "jitter_orders" => {
            for item in items(case) {
                let adjustments = adjustments(&item["order"], &item["factors"]);
                check_operation(case, item, |canvas| {
                    adjustments.iter().for_each(|&adjustment| canvas.adjust(adjustment));
                });
            }
        }
        "normalize" => check_normalise(case),
        "eval_resize_center" => check_evaluation(case),
        "chain" => check_chain(case),
        _ if name.starts_with("resized_crop") => check_resized_crop(case),
        _ => panic!("augment/{}: a case that no test knows", case.name),
    }
}

fn items(case: &Case) -> &[Value] {
    let items = case.params["items"].as_array().expect("params.items");
    assert!(!items.is_empty(), "{}", case.name);
    items
}

fn whole_case() -> Value {
    serde_json::json!({ "out": "out", "out_large": "out_large" })
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is not a number"))
}

fn count(value: &Value) -> usize {
    value.as_u64().unwrap_or_else(|| panic!("{value} is not a count")) as usize
}

fn flag(value: &Value) -> bool {
    value.as_bool().unwrap_or_else(|| panic!("{value} is not true or false"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is not a string"))
}

fn adjustment(name: &str, factor: f64) -> Adjustment {
    match name {
        "brightness" => Adjustment::Brightness(factor),
        "contrast" => Adjustment::Contrast(factor),
        "saturation" => Adjustment::Saturation(factor),
        "hue" => Adjustment::Hue(factor),
        _ => panic!("unknown adjustment {name}"),
    }
}

fn adjustments(order: &Value, factors: &Value) -> Vec<Adjustment> {
    let order = order.as_array().expect("an order").iter().map(text);
    order.map(|name| adjustment(name, number(&factors[name]))).collect()
}

fn interpolation(case: &Case) -> Interpolation {
    match &case.params["interpolation"] {
        Value::Null => Interpolation::Bicubic,
        name => match text(name) {
            "bicubic" => Interpolation::Bicubic,
            "bilinear" => Interpolation::Bilinear,
            other => panic!("{}: interpolation {other}", case.name),
        },
    }
}

/// The operation on the small images and, where the case has one, on the large one.
fn check_operation(case: &Case, item: &Value, operation: impl Fn(&mut Canvas)) {
    for (input, output) in [("images", "out"), ("image_large", "out_large")] {
        let Some(output) = item[output].as_str().filter(|output| case.has(output)) else {
            continue;
        };
        let apply = |image: &Image| {
            let mut canvas = Canvas::from_image(image);
            operation(&mut canvas);
            canvas.to_image()
        };
        let got = case.images(input).iter().map(apply).collect::<Vec<_>>();
        case.check_images(output, &got);
    }
}

fn statistics(value: &Value) -> Normalisation {
    let three = |value: &Value| [0, 1, 2].map(|channel| number(&value[channel]) as f32);
    Normalisation::new(three(&value["mean"]), three(&value["std"]))
}

fn normalised(canvas: &Canvas, normalisation: &Normalisation) -> Vec<f32> {
    let mut out = vec![0.0; canvas.pixels().len() * 3];
    Normaliser::new(normalisation).expect("valid statistics").write(canvas, false, &mut out);
    out
}

fn check_normalise(case: &Case) {
    let images = case.images("images");
    for (name, values) in case.params["statistics"].as_object().expect("params.statistics") {
        let normalisation = statistics(values);
        let got = images.iter().map(|i| normalised(&Canvas::from_image(i), &normalisation));
        let got = got.collect::<Vec<_>>();
        case.check_floats(&format!("out.{name}"), images[0].width, &got);
    }
}

fn check_evaluation(case: &Case) {
    assert_eq!(interpolation(case), Interpolation::Bilinear);
    let image = case.image("image");
    let (side, crop) = (count(&case.params["shorter_side"]), count(&case.params["crop"]));
    let long = image.width.max(image.height) * side / image.width.min(image.height);
    let size = if image.width < image.height { (side, long) } else { (long, side) };
    let region = Region { top: 0, left: 0, height: image.height, width: image.width };
    let resized = Canvas::resized(&image, region, size, Interpolation::Bilinear).to_image();
    case.check_images("out.resized", &[resized]);

    let transform = EvaluationTransform { resize: Some(side), crop };
    let mut scratch = Scratch::default();
    let centre = transform.apply(&image, &mut scratch).expect("a valid transform").to_image();
    case.check_images("out.center", &[centre]);
}

fn check_resized_crop(case: &Case) {
    let mut scratch = Scratch::default();
    for item in items(case) {
        let image = case.image(text(&item["image"]));
        let size = count(item.get("size").unwrap_or(&case.params["size"]));
        let region = Region {
            top: count(&item["top"]),
            left: count(&item["left"]),
            height: count(&item["height"]),
            width: count(&item["width"]),
        };
        let view = plain(region).apply(&image, size, interpolation(case), &mut scratch);
        case.check_images(text(&item["out"]), &[view.to_image()]);
    }
}

fn plain(region: Region) -> ViewParameters {
    ViewParameters {
        region,
        jitter: None,
        grayscale: false,
        blur: None,
        solarize: false,
        equalize: false,
        flip: false,
    }
}

/// All stages one by one, then the whole chain at once.
fn check_chain(case: &Case) {
    let params = &case.params;
    let image = case.image("image");
    let size = count(&params["size"]);
    let [top, left, height, width] =
        [0, 1, 2, 3].map(|i| count(&params["top_left_height_width"][i]));
    let mut parameters = plain(Region { top, left, height, width });
    let mut scratch = Scratch::default();
    let mut stage = |parameters: &ViewParameters, tensor: &str| {
        let canvas = parameters.apply(&image, size, interpolation(case), &mut scratch);
        case.check_images(tensor, &[canvas.to_image()]);
        canvas
    };
    stage(&parameters, "out.1_crop");
    if !params["jitter_order"].is_null() {
        let drawn = adjustments(&params["jitter_order"], &params["jitter_factors"]);
        let mut jitter = [Adjustment::Nothing; 4];
        jitter[..drawn.len()].copy_from_slice(&drawn);
        parameters.jitter = Some(jitter);
    }
    stage(&parameters, "out.2_jitter");
    parameters.grayscale = flag(&params["grayscale"]);
    stage(&parameters, "out.3_gray");
    parameters.blur = params["blur_radius"].as_f64();
    stage(&parameters, "out.4_blur");
    parameters.solarize = flag(&params["solarize"]);
    stage(&parameters, "out.5_solarize");
    parameters.equalize = flag(&params["equalize"]);
    stage(&parameters, "out.6_equalize");
    parameters.flip = flag(&params["horizontal_flip"]);
    let view = stage(&parameters, "out.7_flip");

    let got = [normalised(&view, &statistics(params))];
    for tensor in ["out.8_normalized", "out.8_normalized_first_rows"] {
        if case.has(tensor) {
            case.check_floats(tensor, size, &got);
        }
    }
}
