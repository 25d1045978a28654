// Line charts: one figure, a line for each run. All charts of a page share one crosshair.

const charts = new Set();

/** How curves are shown; the switches above them change it. */
const view = { log: false, smoothing: 0, axis: "steps" };

const MARGIN = { top: 8, right: 10, bottom: 22, left: 46 };
const HEIGHT = 168;

/** Exponential mean from the left. Dividing by the weight so far keeps the start unbiased. */
function smoothed(values, weight) {
  let [sum, total] = [0, 0];
  return values.map((value) => {
    [sum, total] = [weight * sum + (1 - weight) * value, weight * total + (1 - weight)];
    return sum / total;
  });
}

class Chart {
  /** `spec`: title, unit, lines of { name, paint, x, y }, xTitle, sort (charts of a sort share the
   *  crosshair), marks of { value, words, tone } across the chart, and perhaps log or plain (the
   *  switches do not change it). */
  constructor(spec) {
    this.svg = drawn("svg", {
      class: "chart",
      tabindex: "0",
      role: "img",
      onpointermove: (event) => this.point(event),
      onpointerdown: (event) => this.point(event),
      onpointerleave: (event) => lifted(event) || Chart.unmark(),
      onblur: () => Chart.unmark(),
      onkeydown: (event) => this.key(event),
    });
    this.title = element("h4", {});
    this.node = element("figure", { class: "plot" }, element("figcaption", {}, this.title), this.svg);
    this.width = 0;
    new ResizeObserver(([entry]) => {
      const width = Math.floor(entry.contentRect.width);
      if (width > 0 && width !== this.width) {
        this.width = width;
        this.draw();
      }
    }).observe(this.node);
    charts.add(this);
    this.update(spec);
  }

  update(spec) {
    this.spec = spec;
    // Gaps are left out: a figure that is measured now and then is still one line.
    this.lines = spec.lines.map((line) => {
      const known = line.y.map((value, index) => [line.x[index], value]).filter(([, value]) => value !== null);
      return { ...line, x: known.map(([x]) => x), y: known.map(([, y]) => y) };
    });
    this.title.replaceChildren(spec.title, spec.unit ? element("span", { class: "unit" }, spec.unit) : "");
    if (this.width > 0) this.draw();
  }

  draw() {
    const shown = this.lines.filter((line) => line.x.length > 0);
    const smoothing = this.spec.plain ? 0 : view.smoothing;
    this.shown = shown.map((line) => ({ ...line, smooth: smoothing > 0 ? smoothed(line.y, smoothing) : line.y }));
    const values = this.shown.flatMap((line) => line.smooth.concat(smoothing > 0 ? [] : line.y));
    const steps = this.shown.flatMap((line) => [line.x[0], line.x.at(-1)]);
    this.svg.setAttribute("viewBox", `0 0 ${this.width} ${HEIGHT}`);
    this.svg.setAttribute("height", HEIGHT);
    this.svg.setAttribute("aria-label", this.words());
    if (values.length === 0) {
      this.svg.replaceChildren();
      return;
    }
    let [low, high] = values.reduce(([a, b], value) => [Math.min(a, value), Math.max(b, value)], [Infinity, -Infinity]);
    const span = high - low;
    for (const { value } of this.spec.marks) {
      // A mark far from the curve would flatten it, and is not what one looks for then.
      if (value > low - 2.5 * span && value < high + 2.5 * span) [low, high] = [Math.min(low, value), Math.max(high, value)];
    }
    this.log = (this.spec.log || (view.log && !this.spec.plain)) && low > 0;
    if (low === high) [low, high] = this.log ? [low / 2, high * 2] : [low - (Math.abs(low) || 1) * 0.1, high + (Math.abs(high) || 1) * 0.1];
    else if (!this.log) [low, high] = [low - (high - low) * 0.05, high + (high - low) * 0.05];
    const [first, last] = [Math.min(...steps), Math.max(...steps)];
    const [inner, tall] = [this.width - MARGIN.left - MARGIN.right, HEIGHT - MARGIN.top - MARGIN.bottom];
    const scale = this.log ? Math.log10 : (value) => value;
    this.at = {
      x: (x) => MARGIN.left + (last > first ? (x - first) / (last - first) : 0.5) * inner,
      y: (y) => MARGIN.top + (1 - (scale(y) - scale(low)) / (scale(high) - scale(low))) * tall,
      step: (pixel) => first + ((pixel - MARGIN.left) / inner) * (last - first),
    };
    this.cross = drawn("g", { class: "cross" });
    this.svg.replaceChildren(
      this.axes(low, high, first, last),
      ...this.spec.marks.filter(({ value }) => value >= low && value <= high).map((mark) => this.markLine(mark)),
      ...this.shown.flatMap((line) => this.curve(line, smoothing)),
      this.cross,
    );
  }

  axes(low, high, first, last) {
    const [right, bottom] = [this.width - MARGIN.right, HEIGHT - MARGIN.bottom];
    const vertical = (this.log ? logTicks(low, high) : ticks(low, high, 4)).flatMap((tick) => {
      const y = this.at.y(tick);
      return [
        drawn("line", { class: "grid", x1: MARGIN.left, x2: right, y1: y, y2: y }),
        drawn("text", { class: "tick", x: MARGIN.left - 6, y: y + 3.5, "text-anchor": "end" }, number(tick)),
      ];
    });
    const across = ticks(first, last, Math.max(3, Math.floor(this.width / 80))).map((tick) =>
      drawn("text", { class: "tick", x: this.at.x(tick), y: bottom + 15, "text-anchor": "middle" }, number(tick)));
    const base = drawn("line", { class: "axis", x1: MARGIN.left, x2: right, y1: bottom, y2: bottom });
    return drawn("g", { "aria-hidden": "true" }, vertical, across, base);
  }

  markLine({ value, words, tone }) {
    const y = this.at.y(value);
    const right = this.width - MARGIN.right;
    return drawn("g", { class: `mark ${tone}` },
      drawn("line", { x1: MARGIN.left, x2: right, y1: y, y2: y }),
      drawn("text", { x: right, y: y - 4, "text-anchor": "end" }, words));
  }

  curve(line, smoothing) {
    const path = (values) => values.map((value, index) =>
      `${index === 0 ? "M" : "L"}${this.at.x(line.x[index]).toFixed(1)},${this.at.y(value).toFixed(1)}`).join("");
    const found = [];
    if (smoothing > 0) {
      // What was smoothed away may leave the frame; it is drawn faintly and cut off.
      const clamp = (value) => Math.max(MARGIN.top, Math.min(HEIGHT - MARGIN.bottom, this.at.y(value)));
      const raw = line.y.map((value, index) =>
        `${index === 0 ? "M" : "L"}${this.at.x(line.x[index]).toFixed(1)},${(this.log && value <= 0 ? HEIGHT - MARGIN.bottom : clamp(value)).toFixed(1)}`);
      found.push(drawn("path", { class: "raw", d: raw.join(""), stroke: line.paint }));
    }
    found.push(drawn("path", { class: "line", d: path(line.smooth), stroke: line.paint }));
    if (line.x.length <= 24) {
      found.push(...line.x.map((x, index) =>
        drawn("circle", { cx: this.at.x(x), cy: this.at.y(line.smooth[index]), r: 2.4, fill: line.paint })));
    }
    return found;
  }

  /** What a screen reader says. */
  words() {
    const said = this.lines.filter((line) => line.x.length > 0).map((line) =>
      `${line.name}: ${number(line.y[0])} at ${number(line.x[0])}, ${number(line.y.at(-1))} at ${number(line.x.at(-1))}`);
    return `${this.spec.title}. ${said.join("; ")}`;
  }

  point(event) {
    if (!this.at) return;
    const frame = this.svg.getBoundingClientRect();
    this.show(this.at.step(event.clientX - frame.left), event.clientX, event.clientY);
  }

  /** Arrows walk over the points of the longest line. */
  key(event) {
    if (!this.at) return;
    const longest = this.shown.reduce((a, b) => (b.x.length > a.x.length ? b : a));
    const end = longest.x.length - 1;
    const page = Math.max(1, Math.round(end / 20));
    const moves = { ArrowLeft: -1, ArrowRight: 1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (event.key === "Escape") Chart.unmark();
    if (!(event.key in moves)) return;
    event.preventDefault();
    this.index = Math.max(0, Math.min(end, (this.index ?? 0) + moves[event.key]));
    const frame = this.svg.getBoundingClientRect();
    const x = longest.x[this.index];
    this.show(x, frame.left + this.at.x(x), frame.top + this.at.y(longest.smooth[this.index]));
  }

  show(step, clientX, clientY) {
    for (const chart of charts) {
      if (chart.spec.sort === this.spec.sort) chart.mark(step);
    }
    const rows = this.shown.map((line) => {
      const index = nearest(line.x, step);
      const raw = line.smooth === line.y ? "" : element("span", { class: "muted" }, ` (${number(line.y[index])})`);
      return element("div", { class: "tip-row" }, swatch(line.paint), element("b", {}, number(line.smooth[index])), raw,
        element("span", { class: "muted" }, ` ${this.spec.xTitle} ${number(line.x[index])}`),
        this.shown.length > 1 ? element("span", {}, ` ${line.name}`) : "");
    });
    tip.show(clientX, clientY, element("div", { class: "tip-title" }, this.spec.title), rows);
  }

  mark(step) {
    if (!this.at || !this.cross) return;
    const x = this.at.x(step);
    if (x < MARGIN.left - 1 || x > this.width - MARGIN.right + 1) {
      this.cross.replaceChildren();
      return;
    }
    const dots = this.shown.map((line) => {
      const index = nearest(line.x, step);
      return drawn("circle", { cx: this.at.x(line.x[index]), cy: this.at.y(line.smooth[index]), r: 3.4, fill: line.paint });
    });
    this.cross.replaceChildren(
      drawn("line", { x1: x, x2: x, y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom }), ...dots);
  }

  static unmark() {
    tip.hide();
    for (const chart of charts) chart.cross?.replaceChildren();
  }

  remove() {
    charts.delete(this);
    this.node.remove();
  }
}

/** Index of the entry of a rising list that is nearest to `wanted`. */
function nearest(sorted, wanted) {
  let [low, high] = [0, sorted.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < wanted) low = middle + 1;
    else high = middle;
  }
  return low > 0 && wanted - sorted[low - 1] < sorted[low] - wanted ? low - 1 : low;
}
