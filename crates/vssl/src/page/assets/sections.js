// The sections of the page, each a function from data to an element (null for nothing to show).

const GROUPS = [
  ["Accuracy", (name) => name.startsWith("evaluation/") || name.startsWith("probe_")],
  ["Loss and its terms", (name) => name === "loss" || name.startsWith("parts/")],
  ["Health of the features", (name) => name.startsWith("health/")],
  ["Optimisation", (name) => ["lr", "weight_decay", "gradient_norm", "loss_scale", "skipped_steps"].includes(name)],
  ["Speed", () => true],
];

/** Title, unit and factor of the figures that every run has; others are called by their names. */
const KNOWN = {
  "evaluation/knn_top1": ["Nearest neighbours, validation", "%"],
  "evaluation/probe_top1": ["Online probe, validation", "%"],
  probe_top1: ["Online probe, training batch", "%"],
  probe_loss: ["Online probe, loss", "nats"],
  loss: ["Loss", ""],
  "health/effective_rank": ["Effective rank", "of a batch"],
  "health/spread": ["Spread", "1 = random directions"],
  "health/mean_cosine": ["Mean cosine", "of two images"],
  lr: ["Learning rate", ""],
  weight_decay: ["Weight decay", ""],
  gradient_norm: ["Gradient norm", "before clipping"],
  loss_scale: ["Loss scale", "f16 only"],
  skipped_steps: ["Steps left out", "gradients that overflowed"],
  "time/images_per_s": ["Speed", "images/s"],
  "time/loader_wait": ["Waiting for images", "% of the time", 100],
  replaced_images: ["Unreadable images replaced", ""],
};

const STATES = {
  waiting: "waiting for the first step", running: "training", finished: "finished",
  stopped: "stopped on request", unfinished: "not finished",
};

const section = (id, title, ...children) =>
  element("section", { id, "aria-labelledby": `${id}-title` }, element("h2", { id: `${id}-title` }, title), ...children);

const last = (values) => values?.findLast((value) => value !== null) ?? null;

/** What the encoder was before its first step, in a word. */
const baseline = (run) => (run.start ? "before" : "untrained");

/** Accuracies in percent: of the summary, or the latest of a run that is not over. */
function results(run) {
  const { summary, evaluations } = run;
  const latest = (name) => last(evaluations.series[name]);
  return [
    ...run.figures.filter(({ percent }) => percent).map(({ name, long_title, trained, before, pixels }) =>
      ({ key: name, name: long_title, value: trained ?? latest(`evaluation/${name}`), before, pixels })),
    { key: "online_top1", name: "Online probe", value: summary?.online_top1 ?? latest("evaluation/probe_top1") },
  ].filter(({ value }) => value !== null && value !== undefined);
}

/** Figures that are no accuracies. */
function otherFigures(run) {
  return run.figures.filter(({ percent, trained }) => !percent && typeof trained === "number").map(({ long_title, trained, before }) => {
    const beside = typeof before === "number" ? ` (${baseline(run)} ${number(Number(before.toPrecision(3)))})` : "";
    return element("div", {}, element("dt", {}, long_title), element("dd", {}, `${number(Number(trained.toPrecision(3)))}${beside}`));
  });
}

/** The first screen of one run. */
function heading(run) {
  const [done, total] = run.steps;
  const setting = [run.dataset, run.backbone, run.batch ? `batch ${run.batch}` : "", run.method ? `seed ${run.seed}` : ""];
  const progress = total && run.state !== "finished"
    ? element("progress", { max: total, value: done, "aria-label": "Steps done" }) : null;
  return element("section", { id: "result", class: "hero" },
    element("p", { class: "eyebrow" }, run.method || "no recipe yet",
      element("span", { class: `state ${run.state}` }, STATES[run.state]),
      total ? element("span", { class: "muted" }, `step ${whole(done)} of ${whole(total)}`) : ""),
    element("h1", {}, run.name),
    element("p", { class: "about" }, run.about[0], run.about[1] ? element("span", { class: "muted" }, ` · ${run.about[1]}`) : ""),
    element("p", { class: "setting" }, setting.filter(Boolean).join(" · ")),
    progress,
    element("div", { class: "cards" }, resultCard(run), healthCard(run), costCard(run)));
}

function resultCard(run) {
  const found = results(run);
  const body = found.length > 0 ? found.map((result) => scale(result, found, baseline(run))) : element("p", { class: "muted" },
    run.state === "finished" ? "No accuracies: they need labels and a validation split." : "Accuracies come with the first evaluation.");
  const known = found.some(({ before }) => typeof before === "number");
  const legend = found.length === 0 ? null : element("p", { class: "legend-line muted small" },
    element("span", {}, element("i", { class: "dot full" }), "trained"),
    known ? element("span", {}, element("i", { class: "dot hollow" }), run.start ? "the encoder that the run started from" : "same encoder, untrained") : "",
    found.some(({ pixels }) => typeof pixels === "number") ? element("span", {}, element("i", { class: "bar-mark" }), "raw pixels") : "");
  const others = otherFigures(run);
  return element("article", { class: "card wide" },
    element("h3", {}, "Accuracy on the validation split"), body, legend,
    others.length > 0 ? element("dl", { class: "figures" }, others) : null,
    found.length > 0 && !known && run.summary
      ? element("p", { class: "note small" }, `The ${run.start ? "encoder that the run started from" : "untrained encoder"} was not evaluated, so how much was learnt is not known (evaluation.untrained).`) : null);
}

/** One accuracy on a line: where training began, and where it led. */
function scale({ name, value, before, pixels }, all, word) {
  const marks = all.flatMap((result) => [result.value, result.before, result.pixels]).filter((mark) => typeof mark === "number");
  const low = Math.max(0, Math.floor((Math.min(...marks) - 4) / 5) * 5);
  const high = Math.min(100, Math.ceil((Math.max(...marks) + 4) / 5) * 5);
  const at = (mark) => `${(100 * (mark - low)) / (high - low)}%`;
  const known = typeof before === "number";
  const gain = known ? value - before : null;
  const line = element("div", { class: "scale", "aria-hidden": "true" },
    known ? element("span", { class: "gain", style: `left:${at(Math.min(value, before))};width:${(100 * Math.abs(gain)) / (high - low)}%` }) : "",
    typeof pixels === "number" ? element("span", { class: "bar-mark", style: `left:${at(pixels)}` }) : "",
    known ? element("span", { class: "dot hollow", style: `left:${at(before)}` }) : "",
    element("span", { class: "dot full", style: `left:${at(value)}` }),
    element("span", { class: "end low" }, `${low}`), element("span", { class: "end high" }, `${high} %`));
  const said = [];
  if (known) said.push(`${gain >= 0 ? "+" : "−"}${tenth(Math.abs(gain))} points over ${word} (${tenth(before)})`);
  if (typeof pixels === "number") said.push(`raw pixels ${tenth(pixels)}`);
  return element("div", { class: "result" },
    element("div", { class: "result-name" }, name),
    element("div", { class: "result-value" }, tenth(value), element("small", {}, " %")),
    line,
    element("div", { class: `result-words small ${known && gain <= 0 ? "bad" : "muted"}` }, said.join(", ")));
}

const VERDICTS = { good: "healthy", warning: "look closer", bad: "collapsing", unknown: "not measured" };
const SIGNS = { good: "✓", warning: "!", bad: "✕", unknown: "?" };

const badge = (level) => element("span", { class: `badge ${level}` }, element("span", { "aria-hidden": "true" }, SIGNS[level]), VERDICTS[level]);

function healthCard(run) {
  const figure = (name, title) => {
    const value = last(run.training.series[name]);
    return value === null ? null : element("div", {}, element("dt", {}, title), element("dd", {}, number(Number(value.toPrecision(3)))));
  };
  return element("article", { class: "card" },
    element("h3", {}, "Health of the features"), badge(run.verdict.level),
    element("p", {}, run.verdict.text[0].toUpperCase() + run.verdict.text.slice(1) + "."),
    element("dl", { class: "figures" }, figure("health/effective_rank", "effective rank"), figure("health/spread", "spread"), figure("health/mean_cosine", "mean cosine")),
    run.warnings.length > 0 ? element("details", {}, element("summary", {}, `${run.warnings.length} latest warnings`),
      element("ul", { class: "small" }, run.warnings.map((text) => element("li", {}, text)))) : null);
}

function costCard(run) {
  const { summary } = run;
  const speed = summary?.images_per_s ?? last(run.training.series["time/images_per_s"]);
  const rows = [
    ["training time", summary ? duration(summary.seconds) : null],
    ["speed", speed === null ? null : `${whole(speed)} images/s`],
    ["peak memory", summary?.peak_rss_mib ? `${whole(summary.peak_rss_mib)} MiB` : null],
    ["machine", summary?.machine ?? null],
    ["vssl", summary ? `${summary.version}${summary.commit ? `, ${summary.commit.slice(0, 10)}` : ""}` : null],
    ["bad images", summary?.replaced_images ? `${summary.replaced_images} replaced` : null],
    ["started from", run.start ? `${run.start.from}${run.start.network === "teacher" ? ", the teacher" : ""}${run.start.checkpoint ? `, ${run.start.checkpoint}` : ""}${run.start.digest ? `, SHA-256 ${run.start.digest.slice(0, 12)}` : ""}` : null],
    ["frozen teacher", run.teacher ? `${run.teacher.from}${run.teacher.network === "teacher" ? ", its momentum network" : ""}${run.teacher.checkpoint ? `, ${run.teacher.checkpoint}` : ""}${run.teacher.digest ? `, SHA-256 ${run.teacher.digest.slice(0, 12)}` : ""}${run.teacher.features ? `; its features were made before: ${run.teacher.features}${run.teacher.features_digest ? `, SHA-256 ${run.teacher.features_digest.slice(0, 12)}` : ""}` : ""}` : null],
    ["heads trained alone", run.start?.freeze_epochs ? `${run.start.freeze_epochs} epochs` : null],
    ["folder", String(run.folder)],
  ].filter(([, value]) => value !== null);
  return element("article", { class: "card" }, element("h3", {}, "Cost and origin"),
    element("dl", { class: "facts" }, rows.map(([name, value]) => [element("dt", {}, name), element("dd", {}, value)])),
    summary?.notes?.length ? element("p", { class: "muted small" }, summary.notes.join(". ")) : null);
}

/** The first screen of several runs. */
function comparison(runs) {
  // Accuracies on other images are no rivals.
  const rivals = (run) => runs.filter((other) => other.dataset === run.dataset);
  const best = (run, pick) => Math.max(...rivals(run).map((other) => pick(other) ?? -Infinity));
  const columns = runs.flatMap((run) => run.figures).filter(({ name, percent }, at, all) =>
    percent && all.findIndex((other) => other.name === name) === at);
  const result = (run, name) => results(run).find(({ key }) => key === name);
  const cell = (run, name) => {
    const pick = (run) => result(run, name)?.value;
    const [value, before] = [pick(run), result(run, name)?.before];
    const gain = typeof before === "number" && typeof value === "number" ? value - before : null;
    return element("td", { class: "number" },
      element(value === best(run, pick) && rivals(run).length > 1 ? "b" : "span", {}, percent(value)),
      gain === null ? "" : element("small", { class: gain > 0 ? "muted" : "bad" }, ` ${gain >= 0 ? "+" : "−"}${tenth(Math.abs(gain))}`));
  };
  const titles = columns.map(({ title }) => title);
  const head = ["Run", "Method", "Data", ...titles, "Online", "Rank", "Health", "Time", "State"];
  const numbers = [...titles, "Online", "Rank", "Time"];
  const rows = runs.map((run, index) => element("tr", {},
    element("th", { scope: "row" }, swatch(colour(index)), run.name), element("td", {}, run.method), element("td", {}, run.dataset),
    columns.map(({ name }) => cell(run, name)), cell(run, "online_top1"),
    element("td", { class: "number" }, number(last(run.training.series["health/effective_rank"]))),
    element("td", {}, badge(run.verdict.level)),
    element("td", { class: "number" }, run.summary ? duration(run.summary.seconds) : "–"),
    element("td", {}, STATES[run.state])));
  return element("section", { id: "result", class: "hero" },
    element("p", { class: "eyebrow" }, "comparison"), element("h1", {}, `${runs.length} runs`),
    element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Results of all runs" },
      element("table", { class: "runs" }, element("thead", {}, element("tr", {}, head.map((name) =>
        element("th", { scope: "col", class: numbers.includes(name) ? "number" : null }, name)))), element("tbody", {}, rows))),
    element("p", { class: "muted small" }, "Top-1 on the validation split; small figures are points over the same encoder before its first step; the best on the same data is bold."),
    runs.some((run) => run.sees_labels) ? element("p", { class: "muted small" },
      `${[...new Set(runs.filter((run) => run.sees_labels).map((run) => run.method))].join(", ")} sees the labels of the training images: its accuracies do not compare with those of methods that learn without labels.`) : null);
}

/** What a curve is held against: the limit of a warning, the encoder before its first step. */
function marks(name, runs) {
  const limit = runs[0].limits[name];
  const found = limit === undefined ? [] : [{ value: limit, words: `warns below ${number(limit)}`, tone: "alarm" }];
  const before = runs[0].figures.find((figure) => name === `evaluation/${figure.name}`)?.before;
  if (runs.length === 1 && typeof before === "number") {
    found.push({ value: before, words: `${baseline(runs[0])} ${number(before)}`, tone: "calm" });
  }
  return found;
}

/** What the curves of all runs are, in groups. */
function specs(runs) {
  const names = new Set(runs.flatMap((run) => [run.training, run.evaluations].flatMap((curves) => Object.keys(curves.series))));
  const groups = GROUPS.map(([title]) => ({ title, specs: [] }));
  const rank = (name) => { const at = Object.keys(KNOWN).indexOf(name); return at < 0 ? Infinity : at; };
  for (const name of [...names].sort((a, b) => rank(a) - rank(b) || a.localeCompare(b))) {
    const [title, unit, factor] = KNOWN[name] ?? [name.split("/").at(-1).replaceAll("_", " "), ""];
    const lines = runs.map((run, index) => {
      const curves = name.startsWith("evaluation/") ? run.evaluations : run.training;
      const y = (curves.series[name] ?? []).map((value) => (value === null ? null : value * (factor ?? 1)));
      const x = view.axis === "images" ? curves.steps.map((step) => step * run.batch) : curves.steps;
      return { name: run.name, paint: colour(index), x, y };
    });
    if (name === "replaced_images" && lines.every(({ y }) => y.every((value) => !value))) continue;
    const spec = { id: name, title, unit, lines, marks: marks(name, runs), sort: "training", xTitle: view.axis === "images" ? "image" : "step" };
    groups[GROUPS.findIndex(([, holds]) => holds(name))].specs.push(spec);
  }
  return groups.filter((group) => group.specs.length > 0);
}

function curveControls(redraw) {
  const number = element("output", {}, "0");
  const smoothing = element("input", { type: "range", min: "0", max: "0.98", step: "0.02", value: "0", oninput: (event) => {
    view.smoothing = Number(event.target.value);
    number.textContent = event.target.value;
    charts.forEach((chart) => chart.draw());
  } });
  const log = element("input", { type: "checkbox", onchange: (event) => {
    view.log = event.target.checked;
    charts.forEach((chart) => chart.draw());
  } });
  const axis = element("select", { onchange: (event) => { view.axis = event.target.value; redraw(); } },
    element("option", { value: "steps" }, "steps"), element("option", { value: "images" }, "images seen"));
  return element("div", { class: "controls" },
    element("label", { class: "check" }, "smoothing", smoothing, number),
    element("label", { class: "check" }, log, "logarithmic"),
    element("label", { class: "check" }, "over", axis));
}

/** Names and paints of runs, where there is more than one. */
const key = (runs) => runs.length < 2 ? null : element("p", { class: "legend-line small" },
  runs.map((run, index) => element("span", {}, swatch(colour(index)), run.name)));

function spectrumSection(runs, pictures) {
  const lines = runs.map((run, index) => {
    const values = pictures[index]?.singular_values.filter((value) => value > 0) ?? [];
    return { name: run.name, paint: colour(index), x: values.map((_, at) => at + 1), y: values.map((value) => value / values[0]) };
  });
  if (lines.every(({ x }) => x.length === 0)) return null;
  const chart = new Chart({ id: "spectrum", title: "Singular values", unit: "relative to the largest", lines, marks: [], log: true, plain: true, sort: "spectrum", xTitle: "value" });
  const facts = pictures.map((own, index) => own && element("p", {}, runs.length > 1 ? [swatch(colour(index)), element("b", {}, runs[index].name), ": "] : "",
    `effective rank ${number(own.effective_rank)} of ${own.dim}, spread ${number(own.spread)}, mean cosine ${number(own.mean_cosine)}`,
    element("span", { class: "muted" }, ` (${whole(own.names.length)} of ${whole(own.of)} ${own.split} images, step ${whole(own.step ?? 0)})`),
    own.left_out ? ` ${whole(own.left_out)} ${own.left_out === 1 ? "image" : "images"} of the sample could not be read and ${own.left_out === 1 ? "is" : "are"} left out.` : ""));
  return section("features", "Features", element("p", { class: "lead" },
    "How many directions the encoder uses. A curve that falls off a cliff early has collapsed into few of them, whatever the loss says."),
    facts, element("div", { class: "single" }, chart.node));
}

const className = (pictures, index) => pictures.labels ? pictures.classes[pictures.labels[index]] : null;

function captioned(pictures, index, size, words, extra) {
  const name = className(pictures, index) ?? pictures.names[index];
  return element("figure", { class: `tile ${extra ?? ""}`, title: pictures.names[index] },
    thumbnail(pictures.thumbnails, index, size, name), element("figcaption", {}, words));
}

function neighbourSection(pictures) {
  const rows = pictures.rows.map(({ query, nearest }) => {
    const own = className(pictures, query);
    const tiles = nearest.map(([index, cosine]) => {
      const other = className(pictures, index);
      const same = own === null ? "" : other === own ? "same" : "other";
      return captioned(pictures, index, 72, [element("b", {}, cosine.toFixed(2)), same === "other" ? element("span", {}, other) : ""], same);
    });
    return element("div", { class: "row" }, captioned(pictures, query, 88, element("b", {}, own ?? pictures.names[query]), "query"), element("div", { class: "tiles" }, tiles));
  });
  return section("neighbours", "Nearest neighbours", element("p", { class: "lead" },
    "Each image on the left, then the images whose features are nearest by cosine.", pictures.labels ? " A class is named where it is another one." : ""), rows);
}

function gallerySection(pictures) {
  const { gallery } = pictures;
  const { sheet } = gallery;
  const size = Math.round(Math.min(112, Math.max(64, 800 / sheet.columns)));
  const head = element("tr", {}, element("th", { scope: "col" }, "image"), gallery.views.map((name) => {
    const [view, ...rest] = name.split(", ");
    return element("th", { scope: "col" }, view, element("small", { class: "muted" }, rest.join(", ")));
  }));
  const rows = gallery.names.map((name, row) => element("tr", {}, Array.from({ length: sheet.columns }, (_, column) =>
    element("td", {}, thumbnail(sheet, row * sheet.columns + column, size, column === 0 ? name : `${name}, ${gallery.views[column - 1]}`)))));
  return section("views", "Views", element("p", { class: "lead" },
    "Training images and their augmented views in the first epoch, pixel by pixel what the network got, before normalisation.",
    gallery.more > 0 ? ` ${gallery.more} more views of each are not shown.` : ""),
    element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Augmented views" }, element("table", { class: "gallery" }, element("thead", {}, head), element("tbody", {}, rows))));
}

function certaintySection(pictures) {
  const { certainty } = pictures;
  const strip = (title, list) => element("div", {}, element("h3", {}, title), element("div", { class: "tiles" },
    list.map(([index, score]) => captioned(pictures, index, 64, [element("b", {}, number(score)), element("span", {}, className(pictures, index) ?? "")]))));
  if (certainty.most.length === 0) return null;
  return section("certainty", "Certain and uncertain", element("p", { class: "lead" }, `By ${certainty.score}. `, element("span", { class: "muted" }, `${certainty.how}.`)),
    strip("Least certain", certainty.least), strip("Most certain", certainty.most));
}

/** Every setting of a resolved recipe by its key. Arrays of tables are counted. */
function settings(recipe) {
  const found = new Map();
  const counts = {};
  let table = "";
  for (const line of recipe.split("\n")) {
    const array = line.match(/^\[\[(.+)\]\]$/);
    const plain = line.match(/^\[(.+)\]$/);
    const pair = line.match(/^([\w.-]+) = (.*)$/);
    if (array) table = `${array[1]}[${(counts[array[1]] = (counts[array[1]] ?? -1) + 1)}].`;
    else if (plain) table = `${plain[1]}.`;
    else if (pair) found.set(table + pair[1], pair[2]);
  }
  return found;
}

function differences(runs) {
  const all = runs.map((run) => settings(run.recipe));
  const keys = [...new Set(all.flatMap((one) => [...one.keys()]))].filter((name) => new Set(all.map((one) => one.get(name))).size > 1);
  if (runs.length < 2 || keys.length === 0) return null;
  const rows = keys.map((name) => element("tr", {}, element("th", { scope: "row" }, element("code", {}, name)), all.map((one) => element("td", {}, element("code", {}, one.get(name) ?? "–")))));
  return element("div", {}, element("h3", {}, "Settings that differ"), element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Settings that differ" },
    element("table", {}, element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "key"), runs.map((run, index) => element("th", { scope: "col" }, swatch(colour(index)), run.name)))), element("tbody", {}, rows))));
}

const recipeText = (run) => element("details", { open: true }, element("summary", {}, `Resolved recipe of ${run.name}`), element("pre", { tabindex: "0" }, run.recipe));
