//! The cases `simclr_*` of the folder `losses`.

use burn::tensor::{Device, Tensor};
use vssl::objective::contrastive;

use crate::fixtures::Case;

/// Checks the case if it is of one of the families above, and says whether it is.
pub fn check(case: &Case) -> bool {
    match case.name.split('_').next().unwrap_or_default() {
        "simclr" => simclr(case),
        _ => return false,
    }
    true
}

fn simclr(case: &Case) {
    let z = input(case, "z");
    let images: Vec<usize> =
        case.i64("indexes").iter().map(|&image| image.try_into().unwrap()).collect();
    let loss = contrastive::nt_xent(z.clone(), &images, case.number("temperature"));
    value_and_gradients(case, "loss", loss, &[("z", z)]);
}

fn input<const D: usize>(case: &Case, key: &str) -> Tensor<D> {
    case.tensor::<D>(key, &Device::flex().autodiff()).require_grad()
}

/// The quantity `out.<name>`, and the gradient of every input: none where none is stored.
fn value_and_gradients<const D: usize>(
    case: &Case,
    name: &str,
    loss: Tensor<1>,
    inputs: &[(&str, Tensor<D>)],
) {
    case.check(&format!("out.{name}"), loss.clone());
    case.check_scalar(name, f64::from(loss.clone().into_scalar::<f32>()));
    let gradients = loss.backward();
    let mut stored = case.names("grad.");
    for (key, tensor) in inputs {
        let gradient = tensor.grad(&gradients);
        let expected = format!("grad.{key}");
        if case.has(&expected) {
            let gradient = gradient.unwrap_or_else(|| panic!("{}: no {expected}", case.name));
            case.check(&expected, gradient);
        } else {
            assert!(gradient.is_none(), "{}: {key} is a target", case.name);
        }
        stored.retain(|name| name != key);
    }
    assert!(stored.is_empty(), "{}: gradients of {stored:?} were not compared", case.name);
}
