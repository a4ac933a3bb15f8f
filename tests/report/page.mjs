// Opens the page in headless Chromium and holds it against the JSON of the same report.
// Usage: page.mjs PAGE JSON BROWSER TOOLS SHOTS
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [page_file, json_file, browser_file, tools, shots] = process.argv.slice(2);
const { chromium } = createRequire(join(resolve(tools), "/"))("playwright-core");
const json = JSON.parse(readFileSync(json_file, "utf8"));
const address = pathToFileURL(resolve(page_file)).href;

const arguments_ = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"];
const quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync"];
const browser = await chromium.launch({ executablePath: browser_file, args: [...arguments_, ...quiet] });

/// A page whose complaints and requests are noted.
async function open(options) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const complaints = [], requests = [];
  page.on("console", message => complaints.push(`${message.type()}: ${message.text()}`));
  page.on("pageerror", error => complaints.push(`thrown: ${error.message}`));
  page.on("request", request => requests.push(request.url()));
  await page.goto(address);
  return { page, complaints, requests };
}

function check_quiet({ complaints, requests }) {
  assert.deepEqual(complaints, []);
  assert.deepEqual(requests.filter(url => !url.startsWith("data:")), [address]);
}

/// All curves with their vertices as values of the axes.
const read_curves = () => {
  const back = {
    linear: (p, from, to) => from + p * (to - from),
    log: (p, from, to) => from * (to / from) ** p,
    nines: (p, from, to) => from + p * (to - from),
  };
  const value = (axis, place) => {
    const [kind, from, to] = axis.split(" ");
    return back[kind](place, Number(from), Number(to));
  };
  return [...document.querySelectorAll("figure.chart")].map(figure => {
    const svg = figure.querySelector("svg[data-plot]");
    const [left, top, width, height] = svg.dataset.plot.split(" ").map(Number);
    const curves = [...svg.querySelectorAll("path.curve")].map(path => ({
      label: path.dataset.label,
      promised: Number(path.dataset.points),
      length: path.getTotalLength(),
      points: path.getAttribute("d").split(/[ML]/).slice(1).map(pair => {
        const [x, y] = pair.split(" ").map(Number);
        return [value(svg.dataset.x, (x - left) / width), value(svg.dataset.y, (top + height - y) / height)];
      }),
    }));
    const owner = figure.closest("article");
    return { row: owner && Number(owner.id.slice("row-".length)) - 1, title: figure.querySelector("b").textContent, curves };
  });
};

function near(found, expected, share, what) {
  assert.ok(Math.abs(found - expected) <= Math.abs(expected) * share, `${what}: ${found} for ${expected}`);
}

/// A percentile curve ends at the greatest value, and passes through the percentiles.
function check_percentiles(curve, expected, what) {
  const last = curve.points.at(-1);
  near(last[0], Math.log10(expected.count), 0.01, `${what}: its end in nines`);
  near(last[1], expected.max, 0.01, `${what}: its greatest`);
  for (const [name, nines] of [["p50", Math.log10(2)], ["p90", 1], ["p99", 2], ["p99.9", 3]]) {
    if (nines > last[0]) continue;
    const before = curve.points.filter(point => point[0] <= nines + 0.01).at(-1);
    const after = curve.points.find(point => point[0] >= nines - 0.01);
    assert.ok(before[1] <= expected[name] * 1.01 && after[1] >= expected[name] * 0.99, `${what}: ${name}`);
  }
}

function check_row(row, charts) {
  const by_title = Object.fromEntries(charts.map(chart => [chart.title, chart.curves]));
  const { percentiles, intervals } = row;
  const times = { "response time": "response_ms", "service time": "service_ms", "end to end": "end_to_end_ms" };
  const shown = Object.entries(times)
    .filter(([label, name]) => percentiles[name] && (row.loop === "open" || label !== "response time"));
  assert.deepEqual((by_title.Percentiles ?? []).map(curve => curve.label), shown.map(([label]) => label), row.name);
  for (const [index, [label, name]] of shown.entries()) {
    check_percentiles(by_title.Percentiles[index], percentiles[name], `${row.name}, ${label}`);
  }
  if (!intervals.length) return;
  const throughput = by_title["Throughput over time"][0].points;
  assert.equal(throughput.length, intervals.length, row.name);
  intervals.forEach((interval, index) => near(throughput[index][1], interval.messages_per_s, 0.01, "throughput"));
  for (const curve of by_title["Response time over time"]) {
    const with_times = intervals.filter(interval => interval.response_ms);
    assert.equal(curve.points.length, with_times.length, `${row.name}, ${curve.label}`);
    with_times.forEach((interval, index) => near(curve.points[index][1], interval.response_ms[curve.label], 0.01, curve.label));
  }
}

function check_curves(charts) {
  assert.ok(charts.length > 0);
  for (const { title, curves } of charts) {
    for (const curve of curves) {
      assert.equal(curve.points.length, curve.promised, `${title}, ${curve.label}`);
      assert.ok(curve.points.length < 2 || curve.length > 20, `${title}, ${curve.label} is drawn`);
    }
  }
  json.rows.forEach((row, index) => check_row(row, charts.filter(chart => chart.row === index)));
  const compared = charts.filter(chart => chart.row === null).flatMap(chart => chart.curves.map(curve => curve.label));
  const expected = json.rows.filter(row => row.percentiles.response_ms).map(row => row.name);
  assert.deepEqual(compared.sort(), expected.sort());
}

/// The number that a cell shows, letters and units undone.
function shown_number(text) {
  const [, digits, letter] = text.match(/^(-?[\d.]+) ?([kMG])?/);
  return Number(digits) * { k: 1e3, M: 1e6, G: 1e9 }[letter ?? ""] || Number(digits);
}

async function check_table(page) {
  const lines = await page.$$eval("table.targets tbody tr", rows => rows.map(row => {
    const cells = [...row.querySelectorAll("td")];
    return { text: cells.map(cell => cell.textContent), exact: Number(cells[1].dataset.value) };
  }));
  const expected = json.rows.flatMap(row => {
    const targeted = row.figures.filter(figure => figure.target);
    return targeted.length ? targeted : row.figures.slice(0, 1);
  });
  assert.equal(lines.length, expected.length);
  lines.forEach((line, index) => {
    const figure = expected[index];
    assert.equal(line.text[0], figure.name);
    assert.equal(line.exact, figure.value);
    const gigabytes = figure.unit === "MB/s" && figure.value >= 1000 ? 1000 : 1;
    near(shown_number(line.text[1]) * gigabytes, figure.value, 0.006, figure.name);
    assert.equal(line.text[3], { true: "✓ met", false: "✗ missed", null: "" }[String(figure.met)]);
    if (figure.target) assert.equal(line.text[2][0], figure.target.at_least ? "≥" : "≤");
    if (figure.probe_ratio !== null) near(shown_number(line.text[4].trim()), figure.probe_ratio * 100, 0.006, "ratio");
  });
}

async function check_script(page) {
  const chart = page.locator("article figure.chart").first();
  await chart.scrollIntoViewIfNeeded();
  await chart.locator("svg[data-plot]").hover();
  const tip = await chart.locator(".tip").textContent();
  assert.match(tip, /^p\d/);
  assert.match(tip, /(ns|µs|ms| s)$/);
  const legend = page.locator(".legend button").first();
  await legend.click();
  assert.equal(await legend.getAttribute("aria-pressed"), "false");
  assert.equal(await page.locator("path.curve.is-off").count(), 1);
  await legend.click();
  assert.equal(await page.locator("path.curve.is-off").count(), 0);
}

async function check_width(width, colorScheme) {
  const opened = await open({ viewport: { width, height: 900 }, colorScheme });
  const wide = await opened.page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(wide <= width, `at ${width} px the page is ${wide} px wide`);
  await opened.page.screenshot({ path: join(shots, `report-${width}-${colorScheme}.png`), fullPage: true });
  check_quiet(opened);
}

const opened = await open({ viewport: { width: 1280, height: 900 } });
check_curves(await opened.page.evaluate(read_curves));
await check_table(opened.page);
await check_script(opened.page);
check_quiet(opened);

const without_script = await open({ javaScriptEnabled: false });
assert.equal(await without_script.page.locator("path.curve[data-points]").count(),
  await opened.page.locator("path.curve[data-points]").count());

for (const width of [1280, 400]) {
  for (const scheme of ["light", "dark"]) await check_width(width, scheme);
}
await browser.close();
console.log("checks passed");
