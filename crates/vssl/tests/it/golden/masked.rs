//! The folders `mae` and `ijepa`: masks, patches, losses, and whole passes of encoder, decoder and predictor, whose
//! weights are in the files.

use burn::{
    module::Module,
    tensor::{Tensor, TensorData},
};
use serde_json::Value;
use vssl::{
    backbone::{Pooling, Positions, Vit, VitConfig},
    layers::{Chosen, Init},
    method::mask::{self, RandomMask},
    methods::{IJepa, IJepaPredictor, Mae, MaeDecoder},
    objective::{latent_prediction, reconstruction},
    optim::Gradients,
    tensors::state::{self, Tensors},
};

use super::backbone::values;
use crate::fixtures::{Case, INDEXES, device, for_each_case_of};

#[test]
fn masks_reconstructions_and_decoders_agree_with_the_reference() {
    for_each_case_of(INDEXES[1], "mae", |case| {
        let (family, _) = case.name.rsplit_once('_').expect("a family and a number");
        match family {
            "patchify" => patchify(case),
            "loss" => reconstruction(case),
            "masking" => masking(case),
            "sincos" => sincos(case),
            "model_mae" | "model_solo" => autoencoder(case),
            name => panic!("{}: unknown family {name}", case.name),
        }
    });
}

#[test]
fn predictions_of_blocks_agree_with_the_reference() {
    for_each_case_of(INDEXES[1], "ijepa", |case| {
        let (family, _) = case.name.rsplit_once('_').expect("a family and a number");
        match family {
            "loss" => latent(case),
            "predictor" => predictor(case),
            "step" => step(case),
            name => panic!("{}: unknown family {name}", case.name),
        }
    });
}

fn whole(case: &Case, key: &str) -> usize {
    case.number(key) as usize
}

fn patchify(case: &Case) {
    let patch = whole(case, "patch_size");
    let x = case.tensor::<4>("imgs", &device());
    let [_, _, height, width] = x.dims();
    assert_eq!([height, width], [whole(case, "image_size"); 2], "{}", case.name);
    let patches = reconstruction::patchify(x, patch);
    case.check("out.patches", patches.clone());
    let grid = [height / patch, width / patch];
    case.check("out.restored", reconstruction::unpatchify(patches, patch, grid));
}

/// The loss of a prediction, as the method puts it together.
fn loss_of(case: &Case, prediction: Tensor<3>, patches: Tensor<3>, hidden: Tensor<2>) -> Tensor<1> {
    let target = match case.flag("norm_pix_loss") {
        true => reconstruction::normalised(patches),
        false => patches,
    };
    reconstruction::mean_error(reconstruction::errors(prediction, target, hidden))
}

fn reconstruction(case: &Case) {
    let patches = case.tensor::<4>("imgs", &device());
    let patches = reconstruction::patchify(patches, whole(case, "patch_size"));
    case.check("out.patches", patches.clone());
    let prediction = case.input::<3>("pred");
    let hidden = case.tensor::<2>("mask", &device());
    let loss = loss_of(case, prediction.clone(), patches, hidden);
    case.check_with_gradients("loss", loss, &[("pred", prediction)]);
}

/// The masks of the case's noise, compared with all that the case says of them.
fn masks(case: &Case) -> Vec<RandomMask> {
    let patches = case.shape("noise")[1];
    let ratio = case.number("mask_ratio");
    let of_row = |noise: &[f32]| {
        let noise: Vec<f64> = noise.iter().map(|&x| f64::from(x)).collect();
        RandomMask::from_noise(&noise, ratio)
    };
    let masks: Vec<_> = case.f32("noise").chunks(patches).map(of_row).collect();
    let numbers = |of: fn(&RandomMask) -> &[u32]| -> Vec<i64> {
        masks.iter().flat_map(|mask| of(mask).iter().map(|&x| i64::from(x))).collect()
    };
    assert_eq!(numbers(|mask| &mask.places), case.i64("out.ids_restore"), "{}", case.name);
    if case.has("out.ids_shuffle") {
        assert_eq!(numbers(|mask| &mask.order), case.i64("out.ids_shuffle"), "{}", case.name);
    }
    let hidden: Vec<f32> = masks.iter().flat_map(RandomMask::hidden).collect();
    case.check_values("out.mask", &hidden);
    masks
}

fn masking(case: &Case) {
    let masks = masks(case);
    assert_eq!(case.shape("noise"), [whole(case, "batch"), whole(case, "tokens")]);
    let seen = mask::seen(whole(case, "tokens"), case.number("mask_ratio"));
    assert_eq!(case.i64("out.len_keep"), [seen as i64], "{}", case.name);
    let visible = chosen(&masks, RandomMask::visible);
    case.check("out.kept", visible.of(case.tensor::<3>("x", &device())));
}

fn chosen(masks: &[RandomMask], of: fn(&RandomMask) -> Vec<u32>) -> Chosen {
    Chosen::new(&masks.iter().map(of).collect::<Vec<_>>())
}

fn sincos(case: &Case) {
    let (width, side) = (whole(case, "dim"), whole(case, "grid"));
    let prefix = usize::from(case.flag("class_token_row"));
    let values = vssl::backbone::sincos(prefix, [side, side], width);
    case.check_values("out.pos_embed", &values);
}

/// An encoder and a decoder in one module, so that one pass has the gradients of both.
#[derive(Module, Debug)]
struct Pair<A: Module, B: Module> {
    first: A,
    second: B,
}

/// The module with the weights of the case. `name` gives the name of a parameter in the case; positions are fixed.
fn loaded<M: Module>(case: &Case, network: M, name: impl Fn(&str) -> String) -> M {
    let mut tensors: Tensors = state::collect(&network);
    for (path, tensor) in &mut tensors {
        if path.ends_with("pos_embed") {
            continue;
        }
        let key = name(path);
        let shape = tensor.shape().clone();
        assert_eq!(&shape[..], case.shape(&key), "{}: {key}", case.name);
        *tensor = TensorData::new(case.f32(&key).to_vec(), shape);
    }
    state::restore(network, tensors).unwrap()
}

/// Compares the gradients that the case has, which go by the names of the case.
fn check_gradients<M: Module>(
    case: &Case,
    gradients: burn::tensor::Gradients,
    network: &M,
    name: impl Fn(&str) -> String,
) {
    let gradients = Gradients::collect(gradients, network).0;
    let mut stored = case.names("grad.w.");
    for (path, gradient) in gradients {
        let key = name(&path);
        let expected = format!("grad.{key}");
        if case.has(&expected) {
            case.check_gradient(&expected, &values(gradient), 0.0);
        }
        stored.retain(|name| format!("w.{name}") != key);
    }
    assert!(stored.is_empty(), "{}: gradients of {stored:?} were not compared", case.name);
}

/// Every weight of the case has its place in a network.
fn check_names<M: Module>(case: &Case, networks: &M, name: impl Fn(&str) -> String, others: &str) {
    let known: Vec<String> = state::collect(networks).keys().map(|path| name(path)).collect();
    for weight in case.names("w.") {
        let is_known = known.contains(&format!("w.{weight}"));
        assert!(is_known || (!others.is_empty() && weight.starts_with(others)), "{weight}");
    }
}

fn autoencoder(case: &Case) {
    let variant = case.param("variant").and_then(Value::as_str);
    assert!(matches!(variant, Some("mae" | "solo")), "{}: variant {variant:?}", case.name);
    assert_eq!(case.number("encoder_layer_norm_eps"), 1e-6, "{}", case.name);
    assert_eq!(case.number("mlp_ratio"), 4.0, "{}: of decoder blocks", case.name);
    let patch = whole(case, "patch_size");
    let encoder = VitConfig {
        width: Some(whole(case, "width")),
        depth: Some(whole(case, "depth")),
        heads: Some(whole(case, "heads")),
        patch,
        image_size: whole(case, "image_size"),
        positions: Positions::Sincos,
        ..VitConfig::default()
    };
    let settings = Mae {
        mask_ratio: case.number("mask_ratio"),
        decoder_width: whole(case, "decoder_width"),
        decoder_depth: whole(case, "decoder_depth"),
        decoder_heads: whole(case, "decoder_heads"),
        decoder_norm_eps: case.number("decoder_layer_norm_eps"),
        norm_pix_loss: case.flag("norm_pix_loss"),
    };
    let device = device();
    let init = Init::new(&device, 0);
    let decoder = MaeDecoder::new(&settings, encoder.width(), 3 * patch * patch, &init);
    let name = |path: &str| match path.split_once('.') {
        Some(("first", rest)) => format!("w.{rest}"),
        Some(("second", "mask_token")) => "w.mask_token".to_owned(),
        Some(("second", rest)) => format!("w.decoder_{rest}"),
        _ => panic!("unknown parameter {path}"),
    };
    let networks = Pair { first: Vit::new(&encoder, &init), second: decoder };
    let networks = loaded(case, networks, name);
    check_names(case, &networks, name, "");
    let Pair { first: encoder, second: decoder } = &networks;

    let x = case.tensor::<4>("imgs", &device);
    let masks = masks(case);
    let (visible, places) =
        (chosen(&masks, RandomMask::visible), chosen(&masks, |mask| mask.places.clone()));
    let latent = encoder.visible_tokens(x.clone(), &visible);
    case.check("out.latent", latent.clone());
    case.check("out.features", encoder.feature_of_visible(latent.clone()));
    let class = latent.clone().narrow(1, 0, 1);
    let patches = latent.narrow(1, 1, visible.count());
    let grid = encoder.grid(&x);
    let prediction = decoder.forward(Some(class), patches, &places, grid, x.dtype());
    case.check("out.pred", prediction.clone());
    let hidden: Vec<f32> = masks.iter().flat_map(RandomMask::hidden).collect();
    let hidden = TensorData::new(hidden, [masks.len(), grid[0] * grid[1]]);
    let hidden = Tensor::from_data(hidden, &device);
    let loss = loss_of(case, prediction, reconstruction::patchify(x, patch), hidden);
    let loss = case.check_quantity("loss", loss);
    check_gradients(case, loss.backward(), &networks, name);
}

/// The choices `[masks, n, count]` of a case.
fn choices(case: &Case, key: &str, masks: &str) -> Vec<Chosen> {
    let shape = case.shape(key);
    assert_eq!(shape[..2], [whole(case, masks), whole(case, "batch")], "{}: {key}", case.name);
    let numbers: Vec<u32> = case.i64(key).iter().map(|&number| number as u32).collect();
    let lists: Vec<Vec<u32>> = numbers.chunks(shape[2]).map(<[u32]>::to_vec).collect();
    lists.chunks(shape[1]).map(Chosen::new).collect()
}

/// The targets of a teacher's tokens.
fn targets_of(tokens: Tensor<3>, targets: &[Chosen], contexts: usize) -> Tensor<3> {
    let whole = latent_prediction::normalised(tokens);
    let blocks = targets.iter().map(|target| target.of(whole.clone())).collect();
    latent_prediction::targets(blocks, contexts)
}

fn latent(case: &Case) {
    assert_eq!((case.number("layer_norm_eps"), case.number("beta")), (1e-5, 1.0), "{}", case.name);
    let contexts = whole(case, "context_masks");
    let chosen = choices(case, "masks_pred", "target_masks");
    let h = case.tensor::<3>("h", &device());
    let targets = targets_of(h, &chosen, contexts);
    case.check("out.targets", targets.clone());
    let z = case.input::<3>("z");
    let loss = latent_prediction::errors(z.clone(), targets, chosen.len() * contexts).mean();
    case.check_with_gradients("loss", loss, &[("z", z)]);
}

fn predictor_of(case: &Case, init: &Init) -> IJepaPredictor {
    assert_eq!(case.number("layer_norm_eps"), 1e-6, "{}", case.name);
    let settings = IJepa {
        predictor_width: whole(case, "predictor_dim"),
        predictor_depth: whole(case, "predictor_depth"),
        predictor_heads: whole(case, "predictor_heads"),
        ..IJepa::default()
    };
    IJepaPredictor::new(&settings, whole(case, "dim"), init)
}

/// The name of a parameter of the predictor in a case.
fn of_predictor(path: &str) -> String {
    match path {
        "mask_token" => "w.pred.mask_token".to_owned(),
        _ => format!("w.pred.predictor_{path}"),
    }
}

fn predictor(case: &Case) {
    let device = device();
    let network = loaded(case, predictor_of(case, &Init::new(&device, 0)), of_predictor);
    check_names(case, &network, of_predictor, "");
    let context = case.input::<3>("context");
    let contexts = choices(case, "masks_enc", "context_masks");
    let targets = choices(case, "masks_pred", "target_masks");
    let grid = [whole(case, "grid"); 2];
    let predictions = network.forward(context.clone(), &contexts, &targets, grid, context.dtype());
    case.check("out.predictions", predictions.clone());
    let loss = (predictions * case.tensor::<3>("c", &device)).sum();
    let loss = case.check_quantity("loss", loss);
    let gradients = loss.backward();
    let of_context = context.grad(&gradients).expect("the context has a gradient");
    case.check("grad.context", of_context);
    check_gradients(case, gradients, &network, of_predictor);
}

fn step(case: &Case) {
    let device = device();
    let init = Init::new(&device, 0);
    let patch = whole(case, "patch");
    let side = whole(case, "grid");
    let config = VitConfig {
        width: Some(whole(case, "dim")),
        depth: Some(whole(case, "encoder_depth")),
        heads: Some(whole(case, "encoder_heads")),
        patch,
        image_size: side * patch,
        positions: Positions::Sincos,
        class_token: false,
        pooling: Pooling::Mean,
        ..VitConfig::default()
    };
    let teacher = loaded(case, Vit::new(&config, &init), |path| format!("w.tgt.{path}"));
    let name = |path: &str| match path.split_once('.') {
        Some(("first", rest)) => format!("w.enc.{rest}"),
        Some(("second", rest)) => of_predictor(rest),
        _ => panic!("unknown parameter {path}"),
    };
    let networks = Pair { first: Vit::new(&config, &init), second: predictor_of(case, &init) };
    let networks = loaded(case, networks, name);
    check_names(case, &networks, name, "tgt.");
    let contexts = choices(case, "masks_enc", "context_masks");
    let targets = choices(case, "masks_pred", "target_masks");
    let x = case.tensor::<4>("imgs", &device);
    let seen = |chosen: &Chosen| networks.first.visible_tokens(x.clone(), chosen);
    let context = Tensor::cat(contexts.iter().map(seen).collect(), 0);
    case.check("out.context", context.clone());
    let precision = context.dtype();
    let predictions = networks.second.forward(context, &contexts, &targets, [side; 2], precision);
    case.check("out.predictions", predictions.clone());
    let wanted = targets_of(teacher.patch_tokens(x.clone()), &targets, contexts.len());
    case.check("out.targets", wanted.clone());
    let groups = targets.len() * contexts.len();
    let loss = latent_prediction::errors(predictions, wanted, groups).mean();
    let loss = case.check_quantity("loss", loss);
    check_gradients(case, loss.backward(), &networks, name);
}
