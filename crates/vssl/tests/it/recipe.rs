//! Recipes as a user meets them: what loads, what is refused, and in which words.

use std::path::{Path, PathBuf};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use vssl::{
    backbone::{Architecture, Backbone, BackboneConfig},
    layers::Init,
    method::{Loss, Method, Nothing, Sizes, Views, learner::erase},
    optim::{Adam, Algorithm, GroupRule, Lars, Sgd},
    recipe::{
        Checker, Entry, Location, Origin, Problem, Provenance, Recipe, RecipeError, Settings,
        difference, settings,
    },
    schedule::{Schedule, Step, WarmupCosine},
    supervised::FinetuneSettings,
};

/// A method that is only settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Toy {
    temperature: f64,
    kind: Kind,
    momentum: Momentum,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    HalfNormal,
    Mean,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Momentum {
    base: f64,
    last: f64,
}

impl Default for Toy {
    fn default() -> Self {
        Self {
            temperature: 0.2,
            kind: Kind::HalfNormal,
            momentum: Momentum { base: 0.99, last: 1.0 },
        }
    }
}

impl Settings for Toy {
    fn check(&self, checker: &mut Checker) {
        checker.positive("temperature", self.temperature);
        checker.share("momentum.base", self.momentum.base);
    }
}

impl Method for Toy {
    type Student = Nothing;
    type Memory = Nothing;
    type Carry = ();

    fn student(&self, _: Backbone, _: usize, _: &Init) -> Nothing {
        Nothing
    }

    fn memory(&self, _: &Nothing, _: &Sizes, _: &Init) -> Nothing {
        Nothing
    }

    fn loss(&self, _: &Nothing, _: &Nothing, _: &Views, _: &Step) -> Loss<()> {
        unreachable!("a recipe takes no step")
    }

    fn backbone<'a>(&self, _: &'a Nothing) -> &'a Backbone {
        unreachable!("a recipe has no network")
    }
}

const METHODS: [Entry; 2] = [
    Entry::of::<Toy>("toy", "a toy", "unpublished"),
    Entry::of::<Toy>("other", "another toy", "unpublished"),
];

const MINIMAL: &str = "method = \"toy\"\ndata.path = \"images\"\n";

fn load(text: &str, overrides: &[&str]) -> Result<(Recipe, Provenance), RecipeError> {
    let overrides: Vec<String> = overrides.iter().map(|text| text.to_string()).collect();
    Recipe::parse(text, "a.toml", &overrides, &METHODS)
}

fn problems(text: &str, overrides: &[&str]) -> Vec<Problem> {
    match load(text, overrides) {
        Err(RecipeError::Invalid { problems }) => problems,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("the recipe is accepted:\n{text}"),
    }
}

fn only(text: &str, overrides: &[&str]) -> Problem {
    let mut all = problems(text, overrides);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

fn line_of(problem: &Problem) -> usize {
    match problem.location {
        Location::Line { line, .. } => line,
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn a_minimal_recipe_has_every_default() {
    let (recipe, provenance) = load(MINIMAL, &[]).unwrap();
    assert_eq!(recipe.train.batch, 256);
    assert_eq!(recipe.views.iter().map(|group| group.count).sum::<usize>(), 2);
    assert_eq!(recipe.method.settings()["temperature"].as_float(), Some(0.2));
    assert!(recipe.data.normalisation.is_some());
    assert_eq!(provenance.origin("train.batch"), &Origin::Default);
    let file = Origin::File { file: "a.toml".into(), line: 2 };
    assert_eq!(provenance.origin("data.path"), &file);
}

#[test]
fn an_unknown_key_is_shown_with_the_nearest_one() {
    let text = format!("{MINIMAL}\n[optimizer]\nname = \"sgd\"\n  wieght_decay = 1e-4\n");
    let problem = only(&text, &[]);
    assert_eq!(problem.key, "optimizer.wieght_decay");
    let expected = "a.toml:6: unknown key `wieght_decay` in [optimizer]\n  \
                    |\n6 |   wieght_decay = 1e-4\n  |   ^^^^^^^^^^^^\n\
                    help: did you mean `weight_decay`? The keys are ";
    assert!(problem.to_string().starts_with(expected), "{problem}");
}

#[test]
fn texts_in_any_alphabet_are_shown_whole() {
    // The parser may point into the middle of a character of several bytes.
    for wrong in [
        "seed = ü",
        "größe = 1",
        "[data]\nσ",
        "seed = 1 ✗",
        "\"é",
        "[ü",
        "名 名 = 1",
        "seed = \u{7ba}p1.",
    ] {
        let problem = load(wrong, &[]).unwrap_err().to_string();
        let line = wrong.lines().next_back().unwrap();
        assert!(problem.contains(&format!("| {line}\n")), "{problem}");
    }
}

#[test]
fn an_unknown_table_is_compared_with_the_method_too() {
    let problem = only(&format!("{MINIMAL}[tyo]\nx = 1\n"), &[]);
    assert!(problem.help.unwrap().starts_with("did you mean `toy`?"));
    let problem = only(&format!("{MINIMAL}[toy]\ntemprature = 1.0\n"), &[]);
    assert_eq!(problem.key, "toy.temprature");
    assert!(problem.help.unwrap().starts_with("did you mean `temperature`?"));
}

#[test]
fn wrong_types_name_key_line_value_and_what_was_expected() {
    let cases = [
        ("[train]\nepochs = \"ten\"", "train.epochs is the text \"ten\"; expected a whole number"),
        ("[train]\nepochs = -3", "train.epochs is -3; expected a whole number, not negative"),
        ("[train]\nbatch = 2.5", "train.batch is 2.5; expected a whole number"),
        ("[knn]\nk = true", "knn.k is true; expected a whole number"),
        ("[evaluation]\npixels = 1", "evaluation.pixels is 1; expected true or false"),
        ("[optimizer]\nname = \"lasr\"", "optimizer.name is \"lasr\"; expected \"lars\""),
        ("[optimizer]\nname = 3", "optimizer.name is 3; expected \"lars\""),
        (
            "[[views]]\ncrop_scale = [0.1]",
            "views.0.crop_scale is a list of 1; expected a list of 2",
        ),
        ("[[views]]\ncrop_scale = 0.1", "views.0.crop_scale is 0.1; expected a list of 2"),
        ("[views]\nsize = 3", "views is a table; expected a list"),
        ("[toy]\nkind = \"means\"", "toy.kind is \"means\"; expected \"half-normal\" or \"mean\""),
        // Settings of a tagged enum reach serde without their keys.
        (
            "[schedule]\nname = \"warmup-cosine\"\nwarmup_epochs = \"ten\"",
            "schedule.warmup_epochs is the text \"ten\"; expected a number",
        ),
    ];
    for (table, expected) in cases {
        let problem = only(&format!("{MINIMAL}{table}\n"), &[]);
        assert!(problem.message.starts_with(expected), "{problem}");
        // A value has its line; a table that is wrong as a whole, that of its header.
        let lines = if problem.key == "views" { 1 } else { table.lines().count() };
        assert_eq!(line_of(&problem), 2 + lines, "{problem}");
    }
}

#[test]
fn values_out_of_bounds_name_key_line_value_and_bounds() {
    let cases = [
        (
            "[optimizer]\nnesterov = true\nmomentum = 0",
            "optimizer.momentum is 0; expected a number above",
        ),
        (
            "[optimizer]\nnesterov = true\ndampening = 0.1",
            "optimizer.dampening is 0.1; expected 0, because nesterov is true",
        ),
        (
            "[[optimizer.groups]]\nlr = 1.0",
            "optimizer.groups.0 has no criterion; give `pattern` or",
        ),
        ("[optimizer]\nlr = -0.1", "optimizer.lr is -0.1; expected a finite number, not negative"),
        ("[train]\nbatch = 0", "train.batch is 0; expected at least 2"),
        ("[train]\nbatch = 1", "train.batch is 1; expected at least 2"),
        ("[train]\nepochs = 0", "train.epochs is 0; expected at least 1"),
        ("[train]\nclip_norm = 0.0", "train.clip_norm is 0; expected a number above 0"),
        ("[train]\nclip_per_tensor = -1", "train.clip_per_tensor is -1; expected a number above 0"),
        ("[[views]]\nflip = 2", "views.0.flip is 2; expected a number from 0 to 1"),
        ("[[views]]\nblur = nan", "views.0.blur is NaN; expected a number from 0 to 1"),
        ("[[views]]\nsize = 4", "views.0.size is 4; expected at least 8"),
        ("[[views]]\ncrop_scale = [0.5, 0.1]", "views.0.crop_scale is [0.5, 0.1]; expected two"),
        ("[[views]]\nhue = 0.6", "views.0.hue is 0.6; expected a number from 0 to 0.5"),
        ("[[views]]\ncount = 0\n[[views]]", "views.0.count is 0; expected at least 1"),
        (
            "[backbone]\narchitecture = \"vit-tiny\"\nvit.image_size = 100",
            "backbone.vit.image_size is 100; expected a multiple of backbone.vit.patch",
        ),
        (
            "[backbone]\narchitecture = \"wide-resnet28\"\nwiden = 0",
            "backbone.widen is 0; expected at least 1",
        ),
        ("[backbone]\nwidth = 0", "backbone.width is 0; expected at least 1"),
        ("[backbone]\nstem_padding = 2", "backbone.stem_padding is 2; expected 1, or stem"),
        ("[probe]\nlr = inf", "probe.lr is inf; expected a number of at least 0"),
        ("[probe]\nmomentum = 1", "probe.momentum is 1; expected a number from 0 to below 1"),
        ("[knn]\ntemperature = 0", "knn.temperature is 0; expected a number above 0"),
        ("[checkpoint]\nkeep = 0", "checkpoint.keep is 0; expected at least 1"),
        ("[log]\nevery_steps = 0", "log.every_steps is 0; expected at least 1"),
        ("[toy]\ntemperature = 0", "toy.temperature is 0; expected a number above 0"),
        ("[toy]\nmomentum = { base = 2, last = 1 }", "toy.momentum.base is 2; expected a number"),
        (
            "[schedule]\nname = \"warmup-cosine\"\nwarmup_epochs = -1",
            "schedule.warmup_epochs is -1; expected a finite number",
        ),
        (
            "[data.normalisation]\nmean = [0.5, 0.5, 0.5]\nstd = [0.5, 0.0, 0.5]",
            "data.normalisation.std.1 is 0; expected a number of at least 1e-6",
        ),
    ];
    for (table, expected) in cases {
        let problem = only(&format!("method = \"toy\"\n[data]\npath = \"images\"\n{table}\n"), &[]);
        assert!(problem.message.starts_with(expected), "{problem}");
        assert!(line_of(&problem) > 3, "{problem}");
    }
}

#[test]
fn values_that_do_not_fit_together_are_refused() {
    let warmup =
        only(&format!("{MINIMAL}[schedule]\nwarmup_epochs = 10\n[train]\nepochs = 5\n"), &[]);
    let expected = "schedule.warmup_epochs is 10; expected at most train.epochs, which is 5";
    assert_eq!(warmup.message, expected);
    assert!(warmup.help.unwrap().contains("--set schedule.warmup_epochs=0.5"));
    let parts = only(&format!("{MINIMAL}[train]\nbatch = 10\naccumulate = 4\n"), &[]);
    let expected = "train.batch is 10; expected a multiple of train.accumulate, which is 4";
    assert_eq!(parts.message, expected);
    let local = only(&format!("{MINIMAL}[[views]]\nlocal = true\n"), &[]);
    assert_eq!(
        local.message,
        "views is 0 global views; expected at least one view that is not local"
    );
    let path = only("method = \"toy\"\n", &[]);
    assert!(path.message.starts_with("data.path is not set"), "{path}");
}

#[test]
fn everything_that_is_out_of_bounds_is_reported_at_once() {
    let text = format!("{MINIMAL}[train]\nbatch = 0\n[toy]\ntemperature = 0\n[knn]\nk = 0\n");
    let keys: Vec<_> = problems(&text, &[]).into_iter().map(|problem| problem.key).collect();
    assert_eq!(keys, ["train.batch", "knn.k", "toy.temperature"]);
}

#[test]
fn overrides_are_named_instead_of_a_line() {
    let cases = [
        ("train.epochs=ten", "--set train.epochs=ten: train.epochs is the text \"ten\""),
        ("train.epoch=10", "--set train.epoch=10: unknown key `epoch` in [train]"),
        ("optimizer.lr=-1", "--set optimizer.lr=-1: optimizer.lr is -1; expected a finite"),
        ("method=toi", "--set method=toi: method is \"toi\"; expected \"toy\" or \"other\""),
    ];
    for (text, expected) in cases {
        let problem = only(MINIMAL, &[text]).to_string();
        assert!(problem.starts_with(expected), "{problem}");
    }
    for (text, expected) in [("train", "no `=`"), ("views.3.size=8", "no list `views`")] {
        let error = load(MINIMAL, &[text]).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("--set {text}: ")) && error.contains(expected),
            "{error}"
        );
    }
}

#[test]
fn one_key_of_a_nested_table_leaves_the_others_as_they_were() {
    let momentum = |text: &str, overrides: &[&str]| {
        let (recipe, _) = load(text, overrides).unwrap();
        let momentum = recipe.method.settings()["momentum"].as_table().unwrap().clone();
        (momentum["base"].as_float().unwrap(), momentum["last"].as_float().unwrap())
    };
    assert_eq!(momentum(MINIMAL, &["toy.momentum.base=0.9"]), (0.9, 1.0));
    let text = format!("{MINIMAL}[toy]\nmomentum = {{ last = 0.999 }}\n");
    assert_eq!(momentum(&text, &[]), (0.99, 0.999));
}

#[test]
fn a_later_override_wins_and_is_remembered() {
    let text = format!("{MINIMAL}[[views]]\nsize = 32\ncrop_scale = [0.1, 1.0]\n");
    let overrides = ["method=other", "seed=1", "seed=2", "views.0.crop_scale.0=0.3", "toy2.x=1"];
    let (recipe, provenance) = load(&text, &overrides[..4]).unwrap();
    assert_eq!((recipe.method.name(), recipe.seed), ("other", 2));
    assert_eq!(recipe.views[0].crop_scale, [0.3, 1.0]);
    for key in ["method", "seed", "views.0.crop_scale"] {
        assert_eq!(provenance.origin(key), &Origin::Override, "{key}");
    }
    let file = Origin::File { file: "a.toml".into(), line: 4 };
    assert_eq!(provenance.origin("views.0.size"), &file);
    assert_eq!(only(&text, &overrides).key, "toy2");
}

#[test]
fn settings_of_another_method_are_refused() {
    let problem = only(&format!("{MINIMAL}[other]\ntemperature = 0.1\n"), &[]);
    assert_eq!(problem.message, "[other] has settings of other, but method is \"toy\"");
    assert_eq!(line_of(&problem), 3);
}

#[test]
fn the_method_is_needed_and_must_be_known() {
    assert!(only("seed = 1\n", &[]).message.contains("`method` is missing"));
    let problem = only("method = \"tooy\"\n", &[]);
    assert_eq!(problem.help.as_deref(), Some("did you mean `toy`?"));
    assert!(only("method = 3\n", &[]).message.contains("expected \"toy\" or \"other\""));
}

#[test]
fn what_is_no_toml_is_shown_with_its_line() {
    for (text, line) in [
        ("method = \"toy\"\nseed = \n", 2),
        ("method = \"toy\"\nseed = 1\nseed = 2\n", 3),
        ("method = \"toy\"\n[train\n", 2),
        ("method = \"toy\"\nseed = 99999999999999999999\n", 2),
        ("method = \"toy", 1),
    ] {
        let problem = only(text, &[]);
        assert_eq!(line_of(&problem), line, "{problem}");
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Recipe::load(Path::new("no/such.toml"), &[], &METHODS).unwrap_err();
    assert!(error.to_string().starts_with("recipe no/such.toml: "), "{error}");
}

#[test]
fn the_resolved_text_tells_where_each_value_comes_from() {
    let text = format!("{MINIMAL}[optimizer]\nlr = 0.25\n");
    let (recipe, provenance) = load(&text, &["train.epochs=20"]).unwrap();
    let annotated = recipe.annotated(&provenance);
    let line =
        |start: &str| annotated.lines().find(|line| line.starts_with(start)).unwrap().to_owned();
    assert!(line("lr = 0.25").ends_with("  # a.toml:4"), "{annotated}");
    assert!(line("epochs = 20").ends_with("  # --set"), "{annotated}");
    assert!(line("momentum = 0.9").ends_with("  # default"), "{annotated}");
    assert!(line("mean = [0.485, 0.456, 0.406]").ends_with("  # default"), "{annotated}");
    assert_eq!(load(&annotated, &[]).unwrap().0, recipe);
}

#[test]
fn recipes_survive_being_written_and_read() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    for _ in 0..300 {
        let recipe = any_recipe(&mut rng);
        let text = recipe.to_toml();
        let (again, _) = load(&text, &[]).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(again, recipe, "{text}");
        assert_eq!(again.to_toml(), text);
        assert!(difference(&recipe, &again).is_empty());
    }
}

/// Any value of the bits of a float in `[0, 1)`, tiny ones included.
fn share(rng: &mut ChaCha8Rng) -> f64 {
    let x: f64 = rng.random();
    if rng.random() { x } else { x * 10f64.powi(-rng.random_range(0..300)) }
}

fn any_recipe(rng: &mut ChaCha8Rng) -> Recipe {
    let (mut recipe, _) = load(MINIMAL, &[]).unwrap();
    recipe.seed = rng.random_range(0..=i64::MAX as u64);
    recipe.data.path = PathBuf::from("a \"quoted\" \\ path with ünïcode\n");
    recipe.data.limit_train = rng.random_bool(0.5).then(|| rng.random_range(1..100));
    recipe.data.normalisation = Some(vssl_data::Normalisation::new(
        [rng.random(), rng.random(), rng.random()],
        [0.1 + rng.random::<f32>(), 0.229, 1e-6],
    ));
    let group = recipe.views[0].clone();
    recipe.views = (0..rng.random_range(1..4)).map(|_| group.clone()).collect();
    for view in &mut recipe.views {
        view.flip = share(rng);
        view.jitter = share(rng);
        view.crop_scale = [share(rng).max(1e-300), 1.0];
    }
    recipe.backbone = BackboneConfig::of(
        [Architecture::Resnet50, Architecture::WideResnet28][rng.random_range(0..2)],
    );
    recipe.optimizer.algorithm = match rng.random_range(0..4) {
        0 => Algorithm::Lars(Lars { eta: share(rng), ..Lars::default() }),
        1 => Algorithm::Sgd(Sgd { dampening: share(rng), ..Sgd::default() }),
        2 => Algorithm::Adam(Adam { eps: share(rng), ..Adam::default() }),
        _ => Algorithm::Adamw(Adam { beta1: share(rng), ..Adam::default() }),
    };
    recipe.optimizer.lr = share(rng) * 1e9;
    recipe.optimizer.weight_decay = share(rng);
    for _ in 0..rng.random_range(0..3) {
        recipe.optimizer.groups.push(GroupRule {
            pattern: Some("*.bias".into()),
            weight_decay: Some(share(rng)),
            lars: rng.random_bool(0.5).then_some(false),
            ..GroupRule::default()
        });
    }
    recipe.schedule = match rng.random_range(0..3) {
        0 => Schedule::Constant {},
        1 => Schedule::Steps { milestones: vec![1, 2], gamma: share(rng) },
        _ => Schedule::WarmupCosine(WarmupCosine {
            warmup_epochs: share(rng),
            ..WarmupCosine::default()
        }),
    };
    recipe.train.clip_norm = rng.random_bool(0.5).then(|| share(rng).max(1e-300));
    recipe.train.clip_per_tensor = rng.random_bool(0.5).then(|| share(rng).max(1e-300));
    recipe.train.max_steps = rng.random_bool(0.5).then(|| rng.random_range(1..1000));
    recipe.checkpoint.every_steps = rng.random_bool(0.5).then(|| rng.random_range(1..1000));
    let toy = Toy { temperature: share(rng).max(1e-300), ..Toy::default() };
    recipe.method = erase("toy", toy);
    recipe
}

#[test]
fn differences_name_the_keys_that_changed() {
    let (was, _) = load(MINIMAL, &[]).unwrap();
    let overrides = ["train.epochs=20", "toy.temperature=0.5", "train.max_steps=7"];
    let (now, _) = load(MINIMAL, &overrides).unwrap();
    let found: Vec<String> = difference(&was, &now).iter().map(ToString::to_string).collect();
    let expected =
        ["toy.temperature: 0.2 -> 0.5", "train.epochs: 100 -> 20", "train.max_steps: not set -> 7"];
    assert_eq!(found, expected);
    let back: Vec<String> = difference(&now, &was).iter().map(ToString::to_string).collect();
    assert_eq!(back[2], "train.max_steps: 7 -> not set");
}

#[test]
fn keys_of_another_algorithm_or_architecture_are_refused_with_their_lines() {
    let text = format!("{MINIMAL}[optimizer]\nbeta1 = 0.9\nlr = 1.0\nbeta2 = 0.9\n");
    let found = problems(&text, &[]);
    let keys: Vec<_> = found.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["optimizer.beta1", "optimizer.beta2"]);
    let expected = "a.toml:4: optimizer.beta1 is a key of adam, adamw; with name = \"lars\" \
                    expected one of name, lr, scale_lr, weight_decay, weight_decay_end, momentum, dampening, nesterov, \
                    eta, clip_lr, exclude_bias_and_norm, eps, layer_decay, groups\n  |\n4 | beta1 = 0.9\n  | ^^^^^\n\
                    help: remove `beta1`, or set name = \"adam\"";
    assert_eq!(found[0].to_string(), expected);
    let vit = "[backbone]\narchitecture = \"vit-tiny\"\n";
    for (table, key) in [
        ("[optimizer]\nname = \"adamw\"\neta = 0.1", "optimizer.eta"),
        ("[optimizer]\nname = \"sgd\"\neps = 1e-8", "optimizer.eps"),
        ("[optimizer]\nclip_lr = true\nname = \"adam\"", "optimizer.clip_lr"),
        (&format!("{vit}width = 64"), "backbone.width"),
        (&format!("{vit}stem = \"cifar\""), "backbone.stem"),
        ("[backbone.vit]\npatch = 8", "backbone.vit"),
        ("[backbone]\nwiden = 2", "backbone.widen"),
        ("[backbone]\narchitecture = \"wide-resnet28\"\nstem_padding = 1", "backbone.stem_padding"),
    ] {
        let problem = only(&format!("{MINIMAL}{table}\n"), &[]);
        let expected = format!("{key} is a key of ");
        assert!(problem.key == key && problem.message.starts_with(&expected), "{problem}");
        assert!(line_of(&problem) > 2, "{problem}");
    }
    let problem = only(MINIMAL, &["optimizer.beta1=0.5"]).to_string();
    assert!(
        problem.starts_with("--set optimizer.beta1=0.5: optimizer.beta1 is a key"),
        "{problem}"
    );
    let slip = only(&format!("{MINIMAL}[optimizer]\nname = \"adamw\"\nbta1 = 0.9\n"), &[]);
    let expected = "did you mean `beta1`? The keys are name, lr, scale_lr, weight_decay, weight_decay_end, beta1, beta2, eps, layer_decay, groups";
    assert_eq!(slip.help.unwrap(), expected);
}

#[test]
fn a_setting_that_was_removed_says_so() {
    let problem = only(&format!("{MINIMAL}[train]\noverlap = true\n"), &[]);
    assert_eq!((problem.key.as_str(), line_of(&problem)), ("train.overlap", 4));
    assert!(problem.message.starts_with("train.overlap no longer exists: "), "{problem}");
}

/// The table `[optimizer]` as versions before this one wrote it, with the keys of all algorithms.
fn all_keys(name: &str) -> String {
    format!(
        "[optimizer]\nname = \"{name}\"\nlr = 0.5\nscale_lr = true\nweight_decay = 0.00001\n\
         momentum = 0.9\ndampening = 0.0\nnesterov = false\neta = 0.03\nclip_lr = true\n\
         exclude_bias_and_norm = true\neps = 0.00000001\nbeta1 = 0.8\nbeta2 = 0.999\n"
    )
}

#[test]
fn a_recipe_that_an_earlier_version_resolved_loads_without_its_foreign_keys() {
    let vit = "[backbone]\narchitecture = \"vit-tiny\"\nwidth = 64\nstem = \"imagenet\"\n\
               stem_padding = 1\n[[views]]\nsize = 32\n[train]\noverlap = false\n";
    for (name, own, given) in [
        ("lars", "eta = 0.03", vec!["optimizer.lr=0.1"]),
        ("sgd", "", vec![]),
        ("adam", "beta1 = 0.8", vec!["optimizer.beta2=0.9"]),
        ("adamw", "beta1 = 0.8", vec!["train.epochs=20"]),
    ] {
        let earlier = format!("{MINIMAL}{}{vit}", all_keys(name));
        let today = format!(
            "{MINIMAL}[optimizer]\nname = \"{name}\"\nlr = 0.5\n{own}\n[[views]]\nsize = 32\n\
             [backbone]\narchitecture = \"vit-tiny\"\n"
        );
        let (recipe, _) = load(&earlier, &given).unwrap();
        assert_eq!(recipe, load(&today, &given).unwrap().0);
        assert_eq!(load(&recipe.to_toml(), &[]).unwrap().0, recipe);
    }
}

#[test]
fn a_recipe_that_only_looks_like_an_earlier_one_is_refused() {
    // On the command line nobody repeats what a file says.
    let earlier = format!("{MINIMAL}{}", all_keys("lars"));
    assert_eq!(only(&earlier, &["optimizer.beta1=0.5"]).key, "optimizer.beta1");
    assert_eq!(only(&earlier, &["train.overlap=true"]).key, "train.overlap");
    let shortened = earlier.replace("nesterov = false\n", "");
    assert_eq!(only(&shortened.replace("beta2 = 0.999\n", ""), &[]).key, "optimizer.beta1");
    assert_eq!(problems(&shortened, &[]).len(), 2);
}

#[test]
fn settings_of_an_evaluation_are_as_strict_about_their_optimizer() {
    let read = |text: &str| settings::<FinetuneSettings>(text, "a.toml", &[]);
    let refused = |text: &str| read(text).unwrap_err().to_string();
    let adamw = read("[optimizer]\nname = \"adamw\"\n").unwrap().optimizer;
    assert_eq!((adamw.algorithm, adamw.lr), (Algorithm::Adamw(Adam::default()), 0.05));
    let sgd = read("[optimizer]\nmomentum = 0.5\n").unwrap().optimizer;
    let expected = Sgd { momentum: 0.5, nesterov: true, ..Sgd::default() };
    assert_eq!(sgd.algorithm, Algorithm::Sgd(expected));
    // Without a name it is SGD here.
    assert!(refused("[optimizer]\neta = 0.1\n").contains("with name = \"sgd\" expected one of"));
    assert!(refused("[optimizer]\nname = \"adamw\"\nnesterov = true\n").contains("a.toml:3"));
    assert_eq!(read(&all_keys("adam")).unwrap().optimizer.lr, 0.5);
}

#[test]
fn what_a_missing_value_removes_is_noted() {
    let file = "method = \"toy\"\ndata.path = \"d\"\noptimizer.lr = 3e-3\ntrain.max_steps = 9\n\
                [probe]\nlr = 0.7\n[[views]]\nsize = 32\n[[views]]\nsize = 24\n";
    let notes = |overrides: &[&str]| load(file, overrides).unwrap().1.notes;
    let lr = load(file, &["optimizer.lr="]).unwrap().0.optimizer.lr;
    let removed = format!("optimizer.lr is removed by --set: it is {lr:?}, the default");
    assert_eq!(notes(&["optimizer.lr="]), [removed]);
    assert_eq!(
        notes(&["train.max_steps="]),
        ["train.max_steps is removed by --set: it is not set"]
    );
    let table = "[probe] is removed by --set: its settings have their defaults";
    assert_eq!(notes(&["probe="]), [table]);
    assert_eq!(notes(&["views.1="]), ["views.1 is removed from its list by --set"]);
    let set_later = notes(&["optimizer.lr=", "optimizer.lr=1e-4", "seed=3"]);
    assert!(set_later.is_empty(), "{set_later:?}");
}
