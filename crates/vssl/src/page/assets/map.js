// The map: a point an image. Drawn on a canvas, since thousands of SVG elements would make it slow.

const maps = new Set();

class ScatterMap {
  constructor(pictures) {
    this.pictures = pictures;
    this.method = pictures.map.tsne ? "tsne" : "pca";
    this.showsImages = false;
    this.hidden = new Set();
    this.hover = null;
    this.zoom = { scale: 1, x: 0, y: 0 };
    this.canvas = element("canvas", {
      tabindex: "0",
      role: "img",
      "aria-label": "Map of the images. Arrow keys go from image to image, plus and minus zoom.",
      onpointermove: (event) => this.move(event),
      onpointerdown: (event) => this.down(event),
      onpointerup: () => (this.drag = null),
      onpointercancel: () => (this.drag = null),
      onpointerleave: (event) => lifted(event) || this.leave(),
      onblur: () => this.leave(),
      onkeydown: (event) => this.key(event),
      onwheel: (event) => this.wheel(event),
    });
    this.sheet = new Image();
    this.sheet.addEventListener("load", () => this.draw());
    this.sheet.src = sheetUrl(pictures.thumbnails);
    this.note = element("p", { class: "muted small" });
    this.frame = element("div", { class: "map-frame" }, this.canvas);
    this.node = element("div", { class: "map" },
      element("div", { class: "map-side" }, this.switches(), this.legend(), this.note), this.frame);
    new ResizeObserver(() => this.resize()).observe(this.frame);
    maps.add(this);
    this.describe();
  }

  switches() {
    const choice = (label, method) => element("button", {
      type: "button",
      "aria-pressed": String(this.method === method),
      onclick: (event) => {
        this.method = method;
        for (const other of event.target.parentNode.children) other.setAttribute("aria-pressed", String(other === event.target));
        this.reset();
        this.describe();
      },
    }, label);
    const zoom = (label, words, act) => element("button", { type: "button", "aria-label": words, title: words, onclick: act }, label);
    const showImages = element("input", {
      type: "checkbox",
      onchange: (event) => {
        this.showsImages = event.target.checked;
        this.draw();
      },
    });
    return element("div", { class: "controls" },
      element("span", { class: "segments", role: "group", "aria-label": "Projection" },
        this.pictures.map.tsne ? choice("t-SNE", "tsne") : "", choice("PCA", "pca")),
      element("span", { class: "segments", role: "group", "aria-label": "Zoom" },
        zoom("−", "Zoom out", () => this.scaleBy(1 / 1.5)), zoom("+", "Zoom in", () => this.scaleBy(1.5)),
        zoom("Reset", "Show all", () => this.reset())),
      element("label", { class: "check" }, showImages, "show images"));
  }

  legend() {
    const { classes, labels } = this.pictures;
    if (!labels) return element("p", { class: "muted small" }, "The images have no labels.");
    this.items = classes.map((name, index) => element("button", {
      type: "button",
      class: "class",
      "aria-pressed": "true",
      onclick: () => this.toggle(index),
      ondblclick: () => this.only(index),
    }, element("span", { class: "swatch" }), element("span", {}, name)));
    return element("div", { class: "legend", role: "group", "aria-label": "Classes: click hides one, double click shows one alone" }, this.items);
  }

  toggle(index) {
    if (!this.hidden.delete(index)) this.hidden.add(index);
    this.press();
  }

  only(index) {
    const alone = this.pictures.classes.every((_, other) => other === index || this.hidden.has(other));
    this.hidden = new Set(alone ? [] : this.pictures.classes.keys());
    if (!alone) this.hidden.delete(index);
    this.press();
  }

  press() {
    this.items.forEach((item, index) => item.setAttribute("aria-pressed", String(!this.hidden.has(index))));
    this.draw();
  }

  describe() {
    const { map } = this.pictures;
    const share = map.explained.map((part) => `${(100 * part).toFixed(1)} %`).join(" and ");
    this.note.textContent = this.method === "pca"
      ? `Principal components of the features at length 1; the two hold ${share} of the variance.`
      : "t-SNE of the features by cosine, perplexity 30, started from the principal components. Distances between clusters mean little.";
    this.draw();
  }

  resize() {
    const width = Math.floor(this.frame.clientWidth);
    if (width === 0) return;
    const height = Math.min(600, Math.round(width * (width < 500 ? 1.05 : 0.72)));
    const ratio = window.devicePixelRatio || 1;
    this.canvas.style.height = `${height}px`;
    [this.canvas.width, this.canvas.height] = [width * ratio, height * ratio];
    this.size = { width, height, ratio };
    this.draw();
  }

  /** Where each image is on the canvas, in CSS pixels. */
  place() {
    const points = this.pictures.map[this.method];
    const bounds = points.reduce(([a, b, c, d], [x, y]) =>
      [Math.min(a, x), Math.max(b, x), Math.min(c, y), Math.max(d, y)], [Infinity, -Infinity, Infinity, -Infinity]);
    const { width, height } = this.size;
    const margin = 18;
    // One scale for both axes: the map keeps angles and distances.
    const span = Math.max((bounds[1] - bounds[0]) / (width - 2 * margin), (bounds[3] - bounds[2]) / (height - 2 * margin)) || 1;
    const middle = [(bounds[0] + bounds[1]) / 2, (bounds[2] + bounds[3]) / 2];
    const { scale, x: left, y: top } = this.zoom;
    this.places = points.map(([x, y]) => [
      width / 2 + ((x - middle[0]) / span) * scale + left,
      height / 2 - ((y - middle[1]) / span) * scale + top,
    ]);
  }

  draw() {
    if (!this.size) return;
    this.place();
    const { labels, classes } = this.pictures;
    const paints = classColours(Math.max(1, classes.length));
    this.items?.forEach((item, index) => (item.firstChild.style.background = paints[index]));
    const context = this.canvas.getContext("2d");
    context.setTransform(this.size.ratio, 0, 0, this.size.ratio, 0, 0);
    context.clearRect(0, 0, this.size.width, this.size.height);
    const radius = Math.min(5, (this.size.width < 500 ? 2 : 2.6) * Math.sqrt(this.zoom.scale));
    this.places.forEach(([x, y], index) => {
      const label = labels ? labels[index] : 0;
      if (this.hidden.has(label)) return;
      if (this.showsImages && this.sheet.complete) {
        this.picture(context, index, x, y, Math.min(48, 14 * this.zoom.scale), paints[label]);
      } else {
        context.globalAlpha = 0.78;
        context.fillStyle = paints[label];
        context.beginPath();
        context.arc(x, y, radius, 0, 2 * Math.PI);
        context.fill();
      }
    });
    context.globalAlpha = 1;
    if (this.hover !== null) {
      const [x, y] = this.places[this.hover];
      context.strokeStyle = getComputedStyle(document.documentElement).getPropertyValue("--ink");
      context.lineWidth = 2;
      context.beginPath();
      context.arc(x, y, radius + 4, 0, 2 * Math.PI);
      context.stroke();
    }
  }

  picture(context, index, x, y, side, paint) {
    const { side: cell, columns } = this.pictures.thumbnails;
    context.globalAlpha = 1;
    context.drawImage(this.sheet, (index % columns) * cell, Math.floor(index / columns) * cell, cell, cell,
      x - side / 2, y - side / 2, side, side);
    context.strokeStyle = paint;
    context.lineWidth = 1.5;
    context.strokeRect(x - side / 2, y - side / 2, side, side);
  }

  move(event) {
    const frame = this.canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - frame.left, event.clientY - frame.top];
    if (this.drag) {
      this.zoom = { ...this.zoom, x: this.drag.x + event.clientX, y: this.drag.y + event.clientY };
      this.draw();
      return;
    }
    if (!this.places) return;
    let [found, best] = [null, 14 ** 2];
    this.places.forEach(([px, py], index) => {
      const distance = (px - x) ** 2 + (py - y) ** 2;
      if (distance < best && !(this.pictures.labels && this.hidden.has(this.pictures.labels[index]))) [found, best] = [index, distance];
    });
    this.select(found);
  }

  down(event) {
    // A finger scrolls the page unless there is something to pan.
    if (this.zoom.scale > 1) this.drag = { x: this.zoom.x - event.clientX, y: this.zoom.y - event.clientY };
    this.move(event);
  }

  leave() {
    this.drag = null;
    this.select(null);
  }

  select(index) {
    if (index !== this.hover) {
      this.hover = index;
      this.draw();
    }
    if (index === null) {
      tip.hide();
      return;
    }
    const { labels, classes, names, thumbnails } = this.pictures;
    const frame = this.canvas.getBoundingClientRect();
    const [x, y] = this.places[index];
    const name = labels ? classes[labels[index]] : names[index];
    tip.show(frame.left + x, frame.top + y,
      thumbnail(thumbnails, index, 112, name),
      element("div", { class: "tip-title" }, name),
      labels ? element("div", { class: "tip-note muted small" }, names[index]) : []);
  }

  /** Arrows go to the nearest image in their direction. */
  key(event) {
    if (event.key === "+" || event.key === "=") this.scaleBy(1.5);
    if (event.key === "-") this.scaleBy(1 / 1.5);
    if (event.key === "Escape") this.select(null);
    const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const way = ways[event.key];
    if (!way || !this.places) return;
    event.preventDefault();
    const from = this.places[this.hover ?? 0];
    let [found, best] = [this.hover ?? 0, Infinity];
    this.places.forEach(([x, y], index) => {
      const [dx, dy] = [x - from[0], y - from[1]];
      const along = dx * way[0] + dy * way[1];
      const aside = Math.abs(dx * way[1]) + Math.abs(dy * way[0]);
      if (along > 0.5 && aside <= along * 1.2 && along + 2 * aside < best) [found, best] = [index, along + 2 * aside];
    });
    this.select(found);
  }

  wheel(event) {
    // The plain wheel scrolls the page, as everywhere else on it.
    if (!event.ctrlKey) return;
    event.preventDefault();
    this.scaleBy(event.deltaY < 0 ? 1.2 : 1 / 1.2);
  }

  scaleBy(factor) {
    const scale = Math.max(1, Math.min(40, this.zoom.scale * factor));
    const change = scale / this.zoom.scale;
    this.zoom = scale === 1 ? { scale, x: 0, y: 0 } : { scale, x: this.zoom.x * change, y: this.zoom.y * change };
    this.canvas.style.touchAction = scale > 1 ? "none" : "auto";
    this.draw();
  }

  reset() {
    this.scaleBy(0);
  }

  remove() {
    maps.delete(this);
    this.node.remove();
  }
}
