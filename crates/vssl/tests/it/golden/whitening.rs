//! The cases `iternorm_*`, `vibcreg_*`, `whiten_cholesky_*` and `wmse_*` of the folder `losses`, second set.

use burn::{
    module::Param,
    tensor::{Device, Tensor},
};
use vssl::{
    layers::{Init, IterNorm},
    objective::{
        redundancy,
        whitening::{Learns, Whitening, whiten, wmse},
    },
};

use crate::fixtures::{Case, at_step, device, floats};

/// Checks the case if it is of one of the families above, and says whether it is.
pub fn check(case: &Case) -> bool {
    match case.name.split('_').next().unwrap_or_default() {
        "iternorm" => iternorm(case),
        "vibcreg" => vibcreg(case),
        "whiten" => cholesky(case),
        "wmse" => whitened_mse(case),
        _ => return false,
    }
    true
}

fn cholesky(case: &Case) {
    let x = case.input::<2>("x");
    let y = whiten(x.clone().unsqueeze(), case.number("eps")).squeeze_dim::<2>(0);
    case.check("out.y", y.clone());
    let loss = (y * case.tensor("c", &device())).sum();
    case.check_with_gradients("loss", loss, &[("x", x)]);
}

fn whitened_mse(case: &Case) {
    let z = case.input::<3>("z");
    let views: Vec<_> = (0..case.shape("z")[0]).map(|view| at_step(&z, view)).collect();
    let orders = case.i64("perm").chunks(case.shape("perm")[1]);
    let orders: Vec<Vec<usize>> =
        orders.map(|order| order.iter().map(|&row| row as usize).collect()).collect();
    assert_eq!(orders.len() as f64, case.number("whitening_iters"), "{}: orders", case.name);
    let size = case.number("whitening_size") as usize;
    let whitening = Whitening { size, eps: case.number("whitening_eps"), learns: Learns::First };
    let found = wmse(&views, &orders, whitening);
    for (view, whitened) in found.whitened.into_iter().enumerate() {
        case.check_at("out.whitened", view, &floats(whitened));
    }
    case.check_with_gradients("loss", found.loss, &[("z", z)]);
}

fn vibcreg(case: &Case) {
    let (z1, z2) = (case.input("z1"), case.input("z2"));
    let terms = redundancy::vibcreg(z1.clone(), z2.clone());
    case.check_quantity("sim_loss", terms.similarity.clone());
    case.check_quantity("var_loss", terms.variance.clone());
    case.check_quantity("cov_loss", terms.covariance.clone());
    let [similarity, variance, covariance] =
        ["sim_loss_weight", "var_loss_weight", "cov_loss_weight"].map(|key| case.number(key));
    let total = terms.total(similarity, variance, covariance);
    let gradients = case.check_quantity("loss", total).backward();
    let inputs = [("grad.z1", z1), ("grad.z2", z2)];
    let expected = case.names("grad.").len();
    // At a constant column the normalisation has no derivative, so a case may leave that view out.
    let compared = inputs.iter().filter(|(key, _)| case.has(key));
    let compared =
        compared.map(|(key, z)| case.check(key, z.grad(&gradients).expect("a gradient")));
    assert_eq!(compared.count(), expected, "{}: gradients", case.name);
}

fn iternorm(case: &Case) {
    let (name, columns) = (&case.name, case.number("num_features") as usize);
    let channels = match (case.param("requested_channels"), case.param("requested_groups")) {
        (Some(channels), _) => divided(columns, channels.as_u64().expect("a number") as usize),
        (None, Some(groups)) => {
            IterNorm::channels(columns, groups.as_u64().expect("a number") as usize)
        }
        (None, None) => panic!("{name}: neither groups nor channels are requested"),
    };
    assert_eq!(channels as f64, case.number("channels_per_group"), "{name}");
    let device = device();
    let constants = (case.number("T") as usize, case.number("eps"), case.number("momentum"));
    let mut norm = IterNorm::new(columns / channels, channels, &Init::new(&device, 0))
        .with_constants(constants.0, constants.1, constants.2);
    norm.weight = Param::from_tensor(case.tensor("weight", &device));
    norm.bias = Param::from_tensor(case.tensor("bias", &device));
    let (x, c) = (case.input::<3>("x"), case.tensor::<3>("c", &device));
    let mut loss = Tensor::<1>::zeros([1], &device);
    for t in 0..case.shape("x")[0] {
        let y = norm.forward(at_step(&x, t), 1);
        case.check_at("out.y", t, &floats(y.clone()));
        loss = loss + (y * at_step(&c, t)).sum();
        case.check_at("out.running_mean", t, &floats(norm.running_mean.value_sync()));
        let matrices = norm.running_wm.value_sync().into_data().try_to_vec::<f32>().unwrap();
        case.check_at("out.running_wm", t, &matrices);
    }
    case.check("out.y_eval", norm.forward_eval(case.tensor("x_eval", &device)));
    let gradients = case.check_quantity("loss", loss).backward();
    case.check("grad.x", x.grad(&gradients).expect("the input has a gradient"));
    for (key, parameter) in [("grad.weight", norm.weight.val()), ("grad.bias", norm.bias.val())] {
        case.check(key, parameter.grad(&gradients).expect("a parameter has a gradient"));
    }
    assert_eq!(case.names("grad.").len(), 3, "{name}: gradients");
}

/// A request for channels is halved until it divides the columns.
fn divided(columns: usize, mut channels: usize) -> usize {
    while channels > 1 && !columns.is_multiple_of(channels) {
        channels /= 2;
    }
    channels
}

#[test]
fn a_rank_takes_its_share_of_the_gradients_of_scale_and_shift() {
    let device = Device::flex().autodiff();
    let norm = IterNorm::new(2, 2, &Init::new(&device, 0));
    let values: Vec<f32> = (0..24).map(|i| ((i * 7 % 11) as f32).sin()).collect();
    let x = Tensor::<1>::from_floats(values.as_slice(), &device).reshape([6, 4]);
    let gradient = |ranks| {
        let loss = norm.forward(x.clone(), ranks).square().sum();
        floats(norm.weight.val().grad(&loss.backward()).unwrap().unsqueeze())
    };
    let (alone, of_four) = (gradient(1), gradient(4));
    for (alone, share) in alone.iter().zip(of_four) {
        assert!((alone - 4.0 * share).abs() <= 1e-5 * alone.abs(), "{alone} {share}");
    }
}
