//! `vssl bench agreement`: whether a device computes what the CPU computes.

use std::path::Path;

use anyhow::anyhow;
use serde_json::json;
use vssl::{
    methods::METHODS,
    precision::Precision,
    recipe::Entry,
    train::{
        TrainError,
        agreement::{self, Agreement, Reference, Verdict},
    },
};

use super::{
    super::{destination, pretrain::classified},
    backbone,
};
use crate::{
    arguments::{AgreementArguments, Common},
    failure::Failure,
    launcher,
    notes::note,
    output::say,
};

/// Default width of the ResNet, at which a file with all methods is small enough to carry.
const SMALL: u16 = 8;

pub(super) fn run(arguments: &AgreementArguments, common: &Common) -> Result<(), Failure> {
    if let Some(path) = &arguments.store {
        destination::check::<&Path>("--store", path, &[])?;
    }
    let (agreement, stored) = match &arguments.against {
        Some(path) => agreement::read(path)?,
        None => (ours(arguments)?, Vec::new()),
    };
    let methods = methods(arguments, &agreement, &stored)?;
    for method in &methods {
        agreement.check(method).map_err(Failure::usage)?;
    }
    if let Some(path) = &arguments.store {
        return store(path, &agreement, &methods, common);
    }
    let device = launcher::open(arguments.device)?;
    let precision = Precision::from(arguments.precision);
    let mut apart = Vec::new();
    for method in &methods {
        let reference = match stored.iter().find(|(name, _)| name == method) {
            Some((_, reference)) => reference,
            None => &agreement.reference(method)?,
        };
        let line = Line { arguments, common, method, reference };
        match agreement.compare(method, reference, &device, precision) {
            Ok(verdict) => {
                line.say(&verdict)?;
                apart.extend(problem(method, &verdict));
            }
            // It says where the device went wrong; the other methods have their turn.
            Err(error @ (TrainError::NonFinite { .. } | TrainError::Overflow { .. })) => {
                line.say_error(&error)?;
                apart.push(format!("{method}: {error}"));
            }
            Err(error) => return Err(classified(error)),
        }
    }
    match apart.is_empty() {
        true => Ok(()),
        false => Err(Failure::Failed(anyhow!(
            "{} of {} methods differ on {} in {} by more than rounding explains:\n  {}",
            apart.len(),
            methods.len(),
            arguments.device,
            precision.name(),
            apart.join("\n  ")
        ))),
    }
}

fn ours(arguments: &AgreementArguments) -> Result<Agreement, Failure> {
    Ok(Agreement {
        backbone: backbone::of(&arguments.backbone, arguments.size, SMALL)?,
        size: arguments.size.into(),
        batch: arguments.batch.into(),
    })
}

/// Those asked for, or all there are.
fn methods(
    arguments: &AgreementArguments,
    agreement: &Agreement,
    stored: &[(String, Reference)],
) -> Result<Vec<String>, Failure> {
    let Some(path) = &arguments.against else {
        return Ok(if arguments.methods.is_empty() {
            all_that_fit(agreement)
        } else {
            arguments.methods.clone()
        });
    };
    let known: Vec<String> = stored.iter().map(|(name, _)| name.clone()).collect();
    match arguments.methods.iter().find(|method| !known.contains(method)) {
        Some(method) => Err(Failure::usage(anyhow!(
            "method {method:?} is not in {}; it has {}",
            path.display(),
            known.join(", ")
        ))),
        None if arguments.methods.is_empty() => Ok(known),
        None => Ok(arguments.methods.clone()),
    }
}

/// All methods but those that need another backbone or more patches, which a note names.
fn all_that_fit(agreement: &Agreement) -> Vec<String> {
    let patches = agreement.backbone.patches(agreement.size);
    let fits = |entry: &&Entry| entry.defaults().check_patches(patches).is_ok();
    let (fit, others): (Vec<&Entry>, Vec<&Entry>) = METHODS.iter().partition(fits);
    if !others.is_empty() {
        let names: Vec<_> = others.iter().map(|entry| entry.name).collect();
        note(&format!(
            "left out: {}, which this backbone has no patches for, or too few; --backbone vit-tiny, --size and --patch \
             choose another, --method says why",
            names.join(", ")
        ));
    }
    fit.into_iter().map(|entry| entry.name.to_owned()).collect()
}

fn store(
    path: &Path,
    agreement: &Agreement,
    methods: &[String],
    common: &Common,
) -> Result<(), Failure> {
    let mut references = Vec::new();
    for method in methods {
        references.push((method.clone(), agreement.reference(method)?));
    }
    agreement::write(path, agreement, &references)?;
    if common.json {
        return say(&json!({ "stored": path.to_string_lossy(), "methods": methods }).to_string());
    }
    say(&format!("{}: weights, views and numbers of {} methods", path.display(), methods.len()))
}

/// What is wrong with a method, if something is.
fn problem(method: &str, verdict: &Verdict) -> Option<String> {
    let distance = &verdict.distance;
    let [loss, norm, weights, worst] = verdict.allowed;
    // A distance that is not a number is not within any limit.
    let exceeds = |found: f64, allowed: f64| found.is_nan() || found > allowed;
    let moved = |found: f64, allowed: f64| {
        format!("{method}: {} moved {found:.1e} apart, {allowed:.1e} allowed", distance.tensor)
    };
    if exceeds(distance.weights, weights) {
        return Some(moved(distance.weights, weights));
    }
    if exceeds(distance.worst, worst) {
        return Some(moved(distance.worst, worst));
    }
    if exceeds(distance.gradient_norm, norm) {
        let found = distance.gradient_norm;
        return Some(format!(
            "{method}: the gradient norms are {found:.1e} apart, {norm:.1e} allowed"
        ));
    }
    if exceeds(distance.loss, loss) {
        return Some(format!(
            "{method}: the losses are {:.1e} apart, {loss:.1e} allowed",
            distance.loss
        ));
    }
    let [kept, loaded] = verdict.next;
    let reloaded = verdict.is_reloaded();
    (!reloaded)
        .then(|| format!("{method}: the next loss is {kept}, after saving and loading {loaded}"))
}

/// What is printed of a method.
struct Line<'a> {
    arguments: &'a AgreementArguments,
    common: &'a Common,
    method: &'a str,
    reference: &'a Reference,
}

impl Line<'_> {
    fn say(&self, verdict: &Verdict) -> Result<(), Failure> {
        let Verdict { distance, allowed: [loss, norm, weights, worst], .. } = verdict;
        if self.common.json {
            let value = json!({
                "device": self.arguments.device.to_string(),
                "precision": Precision::from(self.arguments.precision).name(),
                "method": self.method, "agrees": verdict.agrees(),
                "losses": verdict.losses, "expected_losses": self.reference.trace.losses,
                "loss": { "distance": distance.loss, "allowed": loss },
                "gradient_norm": { "distance": distance.gradient_norm, "allowed": norm },
                "weights": { "distance": distance.weights, "allowed": weights },
                "worst": { "distance": distance.worst, "allowed": worst, "tensor": distance.tensor },
                "next_loss_after_reload_equal": verdict.is_reloaded(),
            });
            return say(&value.to_string());
        }
        if self.common.quiet {
            return Ok(());
        }
        let word = if verdict.agrees() { "agrees" } else { "DIFFERS" };
        let reloaded = if verdict.is_reloaded() { "same" } else { "another" };
        say(&format!(
            "{:<14} {word:<8} loss {:.1e} of {loss:.1e}  gradient norm {:.1e} of {norm:.1e}  weights \
             {:.1e} of {weights:.1e}  {reloaded} loss after a reload",
            self.method, distance.loss, distance.gradient_norm, distance.weights
        ))
    }

    fn say_error(&self, error: &TrainError) -> Result<(), Failure> {
        if self.common.json {
            let value = json!({
                "device": self.arguments.device.to_string(),
                "precision": Precision::from(self.arguments.precision).name(),
                "method": self.method, "agrees": false, "error": error.to_string(),
            });
            return say(&value.to_string());
        }
        if self.common.quiet {
            Ok(())
        } else {
            say(&format!("{:<14} DIFFERS  {error}", self.method))
        }
    }
}
