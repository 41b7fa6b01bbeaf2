// Lag, rate and latency of the past hour. A sample is [at, appended a second, applied a second, lag
// seconds, window seconds, source lag seconds]; the last two may be null.
import { byId, drawn, element, rate, seconds, setText } from "./dom.js";

const KEPT_SECONDS = 3600;
const SAMPLES_MAX = 4000;
const BACKFILL_SECONDS = 3600;
const HEIGHT = 132;
const LEFT = 46;
const BOTTOM = 20;
const TOP = 8;
let samples = [];

const PLOTS = [
  { id: "plot-rate", title: "Rate", unit: "events a second", show: rate, least: 10,
    lines: [["appended", (s) => s[1]], ["applied", (s) => s[2]]] },
  { id: "plot-lag", title: "Lag", unit: "", show: seconds, least: 1,
    // What is older than an hour is history that is being read, no lag of the link.
    lines: [["projections behind the log", (s) => s[3]],
      ["source behind the clock", (s) => (s[5] !== null && s[5] < BACKFILL_SECONDS ? Math.max(s[5], 0) : null)]] },
  { id: "plot-latency", title: "Latency", unit: "", show: seconds, least: 0.01,
    lines: [["one window", (s) => s[4]]] },
];

export function setHistory(history) {
  samples = history;
}

export function addSample(sample) {
  if (samples.length && samples.at(-1)[0] >= sample[0]) return;
  samples.push(sample);
  while (samples.length > SAMPLES_MAX || samples[0][0] < sample[0] - KEPT_SECONDS) samples.shift();
}

export function drawPlots() {
  for (const plot of PLOTS) draw(plot);
}

function draw(plot) {
  const where = byId(plot.id);
  const parts = plot.parts ?? (plot.parts = frame(plot, where));
  const width = Math.max(200, Math.floor(parts.box.clientWidth));
  const to = samples.length ? samples.at(-1)[0] : 0;
  const from = samples.length ? Math.min(samples[0][0], to - 60) : -60;
  const used = plot.lines.filter(([, of]) => samples.some((s) => of(s) !== null));
  const most = Math.max(plot.least, ...used.flatMap(([, of]) => samples.map((s) => of(s) ?? 0)));
  const top = niceAbove(most);
  const x = (at) => LEFT + ((at - from) / (to - from)) * (width - LEFT - 4);
  const y = (value) => HEIGHT - BOTTOM - (value / top) * (HEIGHT - BOTTOM - TOP);
  const svg = drawn("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT });
  for (const share of [0, 0.5, 1]) {
    const at = y(top * share);
    svg.append(
      drawn("line", { x1: LEFT, x2: width - 4, y1: at, y2: at, class: "grid" }),
      drawn("text", { x: LEFT - 6, y: at + 4, "text-anchor": "end" }, share ? plot.show(top * share) : "0"),
    );
  }
  svg.append(
    drawn("text", { x: LEFT, y: HEIGHT - 4 }, samples.length ? `${seconds(Math.round(to - from))} ago` : ""),
    drawn("text", { x: width - 4, y: HEIGHT - 4, "text-anchor": "end" }, "now"),
  );
  plot.lines.forEach(([, of], i) => {
    const path = pathOf(of, x, y);
    if (!path) return;
    if (i === 0) svg.append(drawn("path", { d: areaOf(of, x, y), class: "area" }));
    svg.append(drawn("path", { d: path, class: `line line-${i}` }));
  });
  const cross = drawn("line", { y1: TOP, y2: HEIGHT - BOTTOM, class: "cross" });
  svg.append(cross);
  svg.addEventListener("pointermove", (event) => point(plot, event, svg, cross, from, to, x));
  svg.addEventListener("pointerleave", () => {
    plot.pointed = null;
    cross.setAttribute("class", "cross");
    tell(plot, samples.at(-1));
  });
  parts.box.replaceChildren(svg);
  if (plot.pointed) mark(cross, x(plot.pointed[0]));
  tell(plot, plot.pointed ?? samples.at(-1));
}

function frame(plot, where) {
  const box = element("div", { class: "plot" });
  const legend = element("div", { class: "legend" });
  const values = plot.lines.map(([name], i) => {
    const value = element("b");
    legend.append(element("span", { class: `key key-${i}` }, name, " ", value));
    return value;
  });
  const title = element("h2", {}, plot.title, " ", element("small", {}, plot.unit));
  where.append(title, box, legend);
  return { box, values };
}

function point(plot, event, svg, cross, from, to, x) {
  const bounds = svg.getBoundingClientRect();
  const share = (event.clientX - bounds.left - LEFT) / (bounds.width - LEFT - 4);
  const at = from + share * (to - from);
  plot.pointed = samples.reduce(
    (best, s) => (Math.abs(s[0] - at) < Math.abs(best[0] - at) ? s : best),
    samples[0] ?? null,
  );
  if (!plot.pointed) return;
  mark(cross, x(plot.pointed[0]));
  tell(plot, plot.pointed);
}

function mark(cross, x) {
  cross.setAttribute("x1", x);
  cross.setAttribute("x2", x);
  cross.setAttribute("class", "cross shown");
}

function tell(plot, sample) {
  plot.lines.forEach(([, of], i) => {
    const value = sample ? of(sample) : null;
    plot.parts.values[i].parentNode.hidden = i > 0 && !samples.some((s) => of(s) !== null);
    setText(plot.parts.values[i], value === null ? "–" : plot.show(value));
  });
}

// What is not there is passed over: at the log's tail not every moment has a window.
function pathOf(of, x, y) {
  let path = "";
  for (const sample of samples) {
    const value = of(sample);
    if (value === null) continue;
    path += `${path ? "L" : "M"}${x(sample[0]).toFixed(1)} ${y(value).toFixed(1)}`;
  }
  return path;
}

function areaOf(of, x, y) {
  const known = samples.filter((s) => of(s) !== null);
  const line = pathOf(of, x, y);
  return `${line}L${x(known.at(-1)[0]).toFixed(1)} ${y(0)}L${x(known[0][0]).toFixed(1)} ${y(0)}Z`;
}

function niceAbove(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((n) => n * power).find((n) => n >= value);
}
