// The accuracy by class, and which classes are taken for each other.

function classSection(runs) {
  const known = runs.filter(({ classes: [views, note] }) => views.length > 0 || note);
  if (known.length === 0) return null;
  return section("classes", "Classes", element("p", { class: "lead" },
    "The accuracy of each class on the validation split. The balanced accuracy is the mean over the classes, so a rare class weighs as much as a frequent one."),
    known.map((run) => {
      const [views, note] = run.classes;
      return [runs.length > 1 ? element("h3", {}, swatch(colour(runs.indexOf(run))), run.name) : null,
        views.map((view, index) => classReport(view, index === 0)),
        note ? element("p", { class: "note" }, `Not read: ${note}.`) : null];
    }));
}

function classReport(view, open) {
  const without = view.classes_without_images;
  return element("details", { class: "group", open },
    element("summary", {}, element("h3", {}, view.classifier),
      element("span", { class: "unit" }, `top-1 ${percent(view.top1)}, balanced ${percent(view.balanced_top1)}`)),
    element("p", { class: "muted small" }, `${whole(view.images)} images of ${whole(view.classes)} classes`,
      without > 0 ? `, ${whole(without)} of them without images` : "", "."),
    element("div", { class: "pairs" }, worstTable(view), confusedTable(view)),
    view.matrix ? matrixTable(view.matrix) : element("p", { class: "muted small" }, `The whole confusion matrix is in ${view.file}.`));
}

const numberCell = (words) => element("td", { class: "number" }, words);

function listTable(title, head, rows) {
  return element("div", {}, element("h4", {}, title), element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": title },
    element("table", {}, element("thead", {}, element("tr", {}, head.map((name, at) => element("th", { scope: "col", class: at > 0 && name !== "taken for" ? "number" : null }, name)))),
      element("tbody", {}, rows))));
}

function worstTable({ worst, classes }) {
  const rows = worst.map(({ class: name, images, right, top1 }) => element("tr", {}, element("th", { scope: "row" }, name),
    numberCell(percent(top1)), numberCell(whole(right)), numberCell(whole(images))));
  return listTable(worst.length < classes ? `Lowest accuracies, ${worst.length} of ${whole(classes)} classes` : "Accuracies, lowest first",
    ["class", "top-1", "right", "images"], rows);
}

function confusedTable({ most_confused: pairs }) {
  if (pairs.length === 0) return element("p", { class: "muted" }, "No class was taken for another one.");
  return listTable("Confused most often", ["class", "taken for", "images"], pairs.map(({ class: name, taken_for: other, images }) =>
    element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, other), numberCell(whole(images)))));
}

/** A row for each class, a column for each class that was given; the shade is the share of the row. */
function matrixTable([names, rows]) {
  const cell = (count, row, column) => {
    const images = rows[row].reduce((sum, one) => sum + one, 0);
    const share = images > 0 ? count / images : 0;
    const tone = row === column ? "--good" : "--bad";
    return element("td", { class: "number", style: `background: color-mix(in srgb, var(${tone}) ${Math.round(share * 60)}%, transparent)`,
      title: `${names[row]} taken for ${names[column]}: ${whole(count)} of ${whole(images)}` }, count > 0 ? whole(count) : "");
  };
  return element("div", {}, element("h4", {}, "Confusion matrix: a row for each class, a column for each class that was given"),
    element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Confusion matrix" }, element("table", { class: "matrix" },
      element("thead", {}, element("tr", {}, element("td", {}), names.map((name) => element("th", { scope: "col" }, element("span", {}, name))))),
      element("tbody", {}, rows.map((row, at) => element("tr", {}, element("th", { scope: "row" }, names[at]), row.map((count, column) => cell(count, at, column))))))));
}
