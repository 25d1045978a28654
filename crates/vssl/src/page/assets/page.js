// Puts the sections together, keeps the switches, and asks a server for news where there is one.

const data = JSON.parse(document.getElementById("data").textContent);
const main = document.getElementById("main");
let selected = 0;

/** The theme of the system, unless one was chosen. A page opened from a file may not remember. */
function themes() {
  const button = document.getElementById("theme");
  const store = { get: () => { try { return localStorage.getItem("theme"); } catch { return null; } },
    set: (value) => { try { localStorage.setItem("theme", value); } catch { /* forgotten with the page */ } } };
  const system = matchMedia("(prefers-color-scheme: dark)");
  let chosen = store.get();
  const apply = () => {
    const dark = chosen ? chosen === "dark" : system.matches;
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    button.textContent = dark ? "Light" : "Dark";
    button.setAttribute("aria-label", dark ? "Use light colours" : "Use dark colours");
    maps.forEach((map) => map.draw());
  };
  button.addEventListener("click", () => {
    chosen = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    store.set(chosen);
    apply();
  });
  system.addEventListener("change", apply);
  apply();
}

/** A place in the page whose content is replaced when its data change. */
const slot = () => element("div", { class: "slot" });
const slots = { result: slot(), classes: slot(), curves: slot(), spectrum: slot(), pictures: slot(), recipe: slot() };

function showResult() {
  const { runs } = data;
  slots.result.replaceChildren(runs.length === 1 ? heading(runs[0]) : comparison(runs));
}

function showClasses() {
  slots.classes.replaceChildren(classSection(data.runs) ?? "");
}

/** Charts that are there are given their new lines: the crosshair and the focus stay. */
const known = new Map();

function showCurves() {
  const groups = specs(data.runs);
  const ids = groups.flatMap((group) => group.specs.map((spec) => spec.id)).join(" ");
  if (ids !== slots.curves.dataset.ids) {
    known.forEach((chart) => chart.remove());
    known.clear();
    const grids = groups.map((group) => element("details", { class: "group", open: true }, element("summary", {}, element("h3", {}, group.title)),
      element("div", { class: "plots" }, group.specs.map((spec) => {
        const chart = new Chart(spec);
        known.set(spec.id, chart);
        return chart.node;
      }))));
    const mean = Math.max(...data.runs.map((run) => run.training.lines_a_point));
    slots.curves.replaceChildren(groups.length === 0 ? section("curves", "Curves", element("p", { class: "muted" }, "Nothing was logged yet."))
      : section("curves", "Curves", curveControls(showCurves), key(data.runs), ...grids,
        mean > 1 ? element("p", { class: "muted small" }, `Each point is the mean of up to ${mean} logged lines.`) : null));
    slots.curves.dataset.ids = ids;
    return;
  }
  groups.forEach((group) => group.specs.forEach((spec) => known.get(spec.id).update(spec)));
}

let map = null;

function showSpectrum() {
  [...charts].filter((chart) => chart.spec.id === "spectrum").forEach((chart) => chart.remove());
  slots.spectrum.replaceChildren(spectrumSection(data.runs, data.pictures) ?? "");
}

function showLook() {
  const pictures = data.pictures[selected];
  map?.remove();
  map = null;
  const parts = [];
  if (pictures) {
    map = new ScatterMap(pictures);
    parts.push(section("map", "Map", element("p", { class: "lead" }, `${whole(pictures.names.length)} ${pictures.split} images where the encoder puts them. Point at one to see it.`), map.node),
      neighbourSection(pictures), gallerySection(pictures), certaintySection(pictures));
  } else {
    parts.push(section("map", "Pictures", element("p", { class: "note" }, `No map, neighbours and views: ${data.missing[selected] ?? "there are none"}.`)));
  }
  slots.pictures.replaceChildren(picker(), ...parts.filter(Boolean));
  contents();
}

/** Which of several runs the sections below are about. */
function picker() {
  if (data.runs.length < 2) return "";
  return element("div", { class: "picker controls" }, "Pictures of", element("span", { class: "segments", role: "group", "aria-label": "Run" },
    data.runs.map((run, index) => element("button", { type: "button", "aria-pressed": String(index === selected), onclick: () => {
      selected = index;
      showLook();
      showRecipe();
    } }, swatch(colour(index)), run.name))));
}

function showRecipe() {
  const run = data.runs[selected];
  slots.recipe.replaceChildren(run.recipe ? section("recipe", "Recipe", differences(data.runs), recipeText(run)) : "");
}

function contents() {
  const links = [...main.querySelectorAll("section[id]")].map((part) => {
    const title = part.id === "result" ? "Result" : part.querySelector("h2").textContent;
    return element("a", { href: `#${part.id}` }, title);
  });
  document.getElementById("contents").replaceChildren(...links);
}

/** Asks for what changed, every two seconds while somebody looks. */
async function follow() {
  const status = document.getElementById("live");
  const seen = { run: "", pictures: "none" };
  const ask = async (what) => {
    const answer = await fetch(`${what}.json?seen=${encodeURIComponent(seen[what])}`);
    if (answer.status === 204) return null;
    const news = await answer.json();
    if (news.error) throw new Error(news.error);
    seen[what] = news.version;
    return news;
  };
  const turn = async () => {
    const run = await ask("run");
    if (run) {
      data.runs[0] = run.run;
      showResult();
      showClasses();
      showCurves();
      if (run.run.recipe !== slots.recipe.dataset.text) {
        slots.recipe.dataset.text = run.run.recipe;
        showRecipe();
      }
    }
    const before = seen.pictures;
    const pictures = await ask("pictures");
    if (pictures && pictures.version !== before) {
      [data.pictures[0], data.missing[0]] = [pictures.pictures, pictures.missing];
      showSpectrum();
      showLook();
    }
    if (run || pictures) contents();
    const [done, total] = data.runs[0].steps;
    status.className = "live on";
    status.textContent = total ? `live, step ${whole(done)} of ${whole(total)}` : "live";
  };
  for (;;) {
    if (!document.hidden) {
      try {
        await turn();
      } catch (error) {
        status.className = "live off";
        // A fetch that gets no answer fails with a TypeError; the server's own words are others.
        status.textContent = error instanceof TypeError ? "no answer: vssl watch has ended" : error.message;
      }
    }
    await new Promise((resume) => setTimeout(resume, 2000));
  }
}

main.replaceChildren(...Object.values(slots));
themes();
showResult();
showClasses();
showCurves();
showSpectrum();
showLook();
showRecipe();
contents();
document.getElementById("footer").append(`Made by vssl ${data.version}${data.live ? ", live" : ""}. This page loads nothing from anywhere${data.live ? " but this machine" : ""}.`);
window.addEventListener("scroll", () => tip.hide(), { passive: true });
window.addEventListener("pointerdown", (event) => event.target.closest("canvas, .chart") ?? tip.hide());
if (data.live) follow();
