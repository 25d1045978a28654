// What must hold in a browser: called by `run`, which made the pages in the folder WORK.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { appendFileSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const { WORK, VSSL, CHROMIUM, PICTURES } = process.env;
const DESKTOP = { width: 1280, height: 900 };
const PHONE = { width: 390, height: 844 };

/** Opens `address`, hands the page to `check`, and fails on anything that the console complains of. */
async function visit(name, address, { viewport = DESKTOP, colorScheme = "light", touch = false } = {}, check) {
  const context = await chromium.launchPersistentContext(mkdtempSync(`${WORK}/profile-`), {
    executablePath: CHROMIUM, headless: true, viewport, colorScheme, hasTouch: touch,
    args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
      "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
  try {
    const page = context.pages()[0] ?? (await context.newPage());
    const complaints = [];
    page.on("console", (message) => ["error", "warning"].includes(message.type()) && complaints.push(message.text()));
    page.on("pageerror", (error) => complaints.push(String(error)));
    page.on("request", (request) => {
      const local = ["file:", "data:", "blob:"].includes(new URL(request.url()).protocol) || request.url().startsWith(address);
      if (!local) complaints.push(`asks for ${request.url()}`);
    });
    await page.goto(address);
    await page.waitForSelector("h1");
    await check(page);
    assert.deepEqual(complaints, [], `${name}: the console`);
    console.log(`ok: ${name}`);
  } finally {
    await context.close();
  }
}

async function picture(page, name, options = {}) {
  if (PICTURES) await page.screenshot({ path: `${PICTURES}/${name}.png`, ...options });
}

const overflow = (page) => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
const ground = (page) => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
const light = (colour) => Number(colour.match(/\d+/)[0]) > 128;

/** A scroll is told of in the next frame, and takes away what is shown beside the pointer. */
const settled = (page) => page.evaluate(async () => {
  for (let frame = 0; frame < 3; frame += 1) await new Promise(requestAnimationFrame);
});

/** The place of a point of the map in the window, and the class that it has. */
async function point(page, index) {
  await page.evaluate(() => [...maps][0].canvas.scrollIntoView({ block: "center", behavior: "instant" }));
  await settled(page);
  return page.evaluate(placeOf, index);
}

const placeOf = (index) => {
  const map = [...maps][0];
  const frame = map.canvas.getBoundingClientRect();
  return { x: frame.left + map.places[index][0], y: frame.top + map.places[index][1] };
};

async function showsImage(page, where) {
  await page.waitForSelector("#tip .thumb", { state: "visible" });
  const shown = await page.evaluate(() => {
    const thumb = document.querySelector("#tip .thumb");
    const box = document.querySelector("#tip").getBoundingClientRect();
    return { image: getComputedStyle(thumb).backgroundImage, words: document.querySelector("#tip .tip-title").textContent,
      inside: box.left >= 0 && box.right <= window.innerWidth && box.top >= 0 };
  });
  assert.match(shown.image, /^url\("blob:/, where);
  assert.ok(shown.words.length > 0 && shown.inside, `${where}: ${JSON.stringify(shown)}`);
}

const file = (name) => `file://${WORK}/${name}`;

for (const colorScheme of ["light", "dark"]) {
  for (const [device, viewport] of [["desktop", DESKTOP], ["phone", PHONE]]) {
    await visit(`${device}, ${colorScheme}`, file("one.html"), { viewport, colorScheme, touch: device === "phone" }, async (page) => {
      assert.equal(light(await ground(page)), colorScheme === "light", "the theme of the system");
      await page.click("#theme");
      assert.equal(light(await ground(page)), colorScheme === "dark", "the other theme");
      await page.click("#theme");
      assert.equal(await overflow(page), 0, "the page scrolls sideways");
      for (const id of ["result", "classes", "curves", "features", "map", "neighbours", "views", "certainty", "recipe"]) {
        assert.equal(await page.locator(`section#${id}`).count(), 1, id);
      }
      await picture(page, `report-${device}-${colorScheme}`);
      const { x, y } = await point(page, 7);
      if (device === "phone") await page.touchscreen.tap(x, y);
      else await page.mouse.move(x, y);
      await showsImage(page, `${device}, ${colorScheme}`);
      await picture(page, `map-${device}-${colorScheme}`);
    });
  }
}

await visit("keyboard and switches", file("one.html"), {}, async (page) => {
  await page.focus("canvas");
  await settled(page);
  await page.keyboard.press("ArrowRight");
  await showsImage(page, "arrow key on the map");
  await page.keyboard.press("Escape");
  assert.ok(await page.locator("#tip").isHidden(), "Escape hides the image");
  const first = () => page.evaluate(() => [...maps][0].places[0].join());
  const tsne = await first();
  await page.click("text=PCA");
  assert.notEqual(await first(), tsne, "PCA is another map");
  const chart = page.locator("svg.chart").first();
  await chart.focus();
  await settled(page);
  await page.keyboard.press("ArrowRight");
  await page.waitForSelector("#tip .tip-row", { state: "visible" });
  const path = () => page.locator('svg[aria-label^="Gradient norm"] path.line').getAttribute("d");
  const plain = await path();
  await page.check("text=logarithmic");
  const logarithmic = await path();
  assert.notEqual(logarithmic, plain, "the logarithm changes nothing");
  await page.locator("input[type=range]").fill("0.9");
  assert.notEqual(await path(), logarithmic, "smoothing changes nothing");
  // Everything that can be used can be reached by Tab, and has a name.
  const unnamed = await page.evaluate(() => [...document.querySelectorAll("button, a[href], select, input, [tabindex='0']")]
    .filter((node) => !(node.getAttribute("aria-label") || node.textContent.trim() || node.closest("label")))
    .map((node) => node.outerHTML.slice(0, 80)));
  assert.deepEqual(unnamed, []);
});

await visit("two runs", file("two.html"), {}, async (page) => {
  assert.equal(await page.locator("table.runs tbody tr").count(), 2);
  assert.equal(await page.locator('svg[aria-label^="Loss"] path.line').count(), 2, "a line for each run");
  await page.click(".picker button:last-of-type");
  assert.match(await page.locator("#recipe summary").textContent(), /second/);
  await picture(page, "compare-desktop-light");
});
await visit("classes", file("one.html"), {}, async (page) => {
  const matrix = page.locator("table.matrix").first();
  assert.equal(await matrix.locator("tbody tr").count(), 10, "a row for each class");
  const counts = await matrix.locator("tbody td").allTextContents();
  assert.equal(counts.reduce((sum, text) => sum + Number(text), 0), 120, "every validation image once");
  assert.match(await page.locator("#classes summary").first().textContent(), /nearest neighbours.*balanced \d/);
  assert.match(await page.locator("#classes").textContent(), /T-shirt/, "classes by their names");
  await picture(page, "classes-desktop-light", { fullPage: true });
});
await visit("two runs on a phone", file("two.html"), { viewport: PHONE }, async (page) => assert.equal(await overflow(page), 0));

await visit("no pictures", file("curves.html"), {}, async (page) => {
  assert.match(await page.locator("#map").textContent(), /--curves/);
  assert.equal(await page.locator("canvas").count(), 0);
});

// A run that is being written: all lines but the last four, then those.
const metrics = `${WORK}/second/metrics.jsonl`;
const lines = readFileSync(metrics, "utf8").trimEnd().split("\n");
writeFileSync(metrics, `${lines.slice(0, -4).join("\n")}\n`);
const watch = spawn(VSSL, ["watch", `${WORK}/second`, "--port", "0", "--json", "--points", "60"], { stdio: ["ignore", "pipe", "inherit"] });
try {
  const { value } = await createInterface({ input: watch.stdout })[Symbol.asyncIterator]().next();
  const { address } = JSON.parse(value);
  await visit("watch", address, {}, async (page) => {
    const steps = () => page.evaluate(() => data.runs[0].training.steps.at(-1));
    await page.waitForFunction(() => document.querySelectorAll("path.line").length > 3);
    await page.waitForSelector("canvas", { timeout: 60_000 });
    const before = await steps();
    const drawn = await page.locator('svg[aria-label^="Loss"] path.line').getAttribute("d");
    await page.locator('svg[aria-label^="Loss"]').focus();
    appendFileSync(metrics, `${lines.slice(-4).join("\n")}\n`);
    await page.waitForFunction((before) => data.runs[0].training.steps.at(-1) > before, before, { timeout: 15_000 });
    assert.notEqual(await page.locator('svg[aria-label^="Loss"] path.line').getAttribute("d"), drawn, "the new line is drawn");
    assert.match(await page.evaluate(() => document.activeElement.getAttribute("aria-label")), /^Loss/, "the focus stays");
    assert.match(await page.locator("#live").textContent(), /live/);
    await picture(page, "watch-desktop-light");
  });
  watch.kill("SIGINT");
  const code = await new Promise((resolve) => watch.on("exit", resolve));
  assert.equal(code, 0, "Ctrl-C ends it cleanly");
  console.log("ok: watch ends");
} finally {
  watch.kill("SIGKILL");
}
