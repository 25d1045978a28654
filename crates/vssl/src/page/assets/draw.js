// What every section draws with: elements, numbers, colours, the tooltip, pictures of a sheet.

/** An element with attributes, listeners (keys that begin with "on") and children. */
function element(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The name of SVG's elements. Nothing is fetched from there. */
const SVG = "http://www.w3.org/2000/svg";

/** The same for SVG. */
function drawn(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}

/** Four significant digits, and no more zeros than they say something. */
function number(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size >= 1e6 || (size < 1e-3 && size > 0)) return value.toExponential(2).replace("e+", "e");
  if (size >= 1000) return Math.round(value).toLocaleString("en");
  return String(Number(value.toPrecision(4)));
}

/** One decimal, halves away from zero: 81.35 is held as a little less, and is 81.4 elsewhere. */
const tenth = (value) => (Math.round(value * 10 + 1e-9) / 10).toFixed(1);
const percent = (value) => (value === null || value === undefined ? "–" : `${tenth(value)} %`);
const whole = (value) => Math.round(value).toLocaleString("en");

function duration(seconds) {
  const rounded = Math.round(seconds);
  const [hours, minutes, rest] = [Math.floor(rounded / 3600), Math.floor(rounded / 60) % 60, rounded % 60];
  if (hours > 0) return `${hours} h ${minutes} min`;
  return minutes > 0 ? `${minutes} min ${rest} s` : `${rest} s`;
}

/** Round numbers that divide the range into about `count` parts. */
function ticks(low, high, count) {
  const rough = (high - low) / count;
  if (!(rough > 0)) return [low];
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const found = [];
  // Counted in whole steps: adding up the step would add up its rounding.
  for (let at = Math.ceil(low / step - 1e-9); at * step <= high + step * 1e-9; at += 1) found.push(at * step);
  return found;
}

/** Powers of ten, thinned out; round numbers where the range has fewer than two of them. */
function logTicks(low, high) {
  const [first, last] = [Math.ceil(Math.log10(low) - 1e-9), Math.floor(Math.log10(high) + 1e-9)];
  if (last - first < 1) return ticks(low, high, 3).filter((tick) => tick > 0);
  const every = Math.ceil((last - first + 1) / 5);
  const found = [];
  for (let power = first; power <= last; power += every) found.push(10 ** power);
  return found;
}

/** Tells lines apart that have no name of their own beside them: the n-th of ten colours. */
const colour = (index) => `var(--c${index % 10})`;

/** Ten classes have the ten colours; more are spread over the circle of hues. */
function classColours(count) {
  const style = getComputedStyle(document.documentElement);
  const light = style.getPropertyValue("--class-lightness").trim();
  return Array.from({ length: count }, (_, index) =>
    count <= 10 ? style.getPropertyValue(`--c${index}`).trim() : `hsl(${(index * 137.5) % 360} 62% ${light})`);
}

const tip = {
  node: null,
  /** Shows `children` beside the point of the window at `x`, `y`. */
  show(x, y, ...children) {
    this.node ??= document.getElementById("tip");
    this.node.replaceChildren(...children.flat());
    this.node.hidden = false;
    const { width, height } = this.node.getBoundingClientRect();
    const room = document.documentElement.clientWidth;
    const left = x + 14 + width > room ? x - 14 - width : x + 14;
    const top = y + 14 + height > window.innerHeight ? y - 14 - height : y + 14;
    this.node.style.left = `${Math.max(4, Math.min(left, room - width - 4))}px`;
    this.node.style.top = `${Math.max(4, top)}px`;
  },
  hide() {
    if (this.node) this.node.hidden = true;
  },
};

/** A finger that is lifted leaves the picture as well: what it pointed at stays until the next tap. */
const lifted = (event) => event.pointerType === "touch";

/** Sheets are turned into one image each, however many of their pictures are shown. */
const sheets = new WeakMap();

function sheetUrl(sheet) {
  if (!sheets.has(sheet)) {
    const bytes = Uint8Array.from(atob(sheet.jpeg), (letter) => letter.charCodeAt(0));
    sheets.set(sheet, URL.createObjectURL(new Blob([bytes], { type: "image/jpeg" })));
  }
  return sheets.get(sheet);
}

/** Picture `index` of a sheet, `size` pixels wide. */
function thumbnail(sheet, index, size, label) {
  const [column, row] = [index % sheet.columns, Math.floor(index / sheet.columns)];
  const node = element("span", { class: "thumb", role: "img", "aria-label": label ?? "" });
  node.style.cssText =
    `width:${size}px;height:${size}px;background-image:url(${sheetUrl(sheet)});` +
    `background-size:${sheet.columns * size}px ${sheet.rows * size}px;` +
    `background-position:${-column * size}px ${-row * size}px`;
  return node;
}

const swatch = (paint) => element("span", { class: "swatch", style: `background:${paint}`, "aria-hidden": "true" });
