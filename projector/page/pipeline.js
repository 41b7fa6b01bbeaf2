// The pipeline as it runs: sources, log, tables, aggregates, with the rates on the edges. The drawing
// is made when its parts change; between that only texts and classes do.
import { count, drawn, rate, setText } from "./dom.js";
import { isSilent } from "./tables.js";

const ROW = 30;
const NARROW = 720;
let made = { signature: "", parts: new Map() };

export function drawPipeline(where, state) {
  const nodes = nodesOf(state);
  const width = Math.max(280, Math.floor(where.clientWidth));
  const signature = JSON.stringify([width, nodes.map((n) => [n.column, n.name])]);
  if (signature !== made.signature) {
    const layout = width < NARROW ? stacked(nodes, width) : sideways(nodes, width);
    made = { signature, parts: new Map() };
    where.replaceChildren(picture(layout, width));
  }
  for (const node of nodes) update(node);
  for (const c of [1, 2, 3]) {
    const line = made.parts.get(stageName(c))?.line;
    // On a phone one line stands for all that goes into a stage.
    if (line) flow(line, Math.max(0, ...nodes.filter((n) => n.column === c).map((n) => n.rate)));
  }
}

const stageName = (column) => `into stage ${column}`;

function nodesOf({ status, sample, redis }) {
  const sources = status.sources.filter((s) => s.owner !== null || s.events_per_second > 0);
  const shown = sources.length ? sources : status.sources.slice(0, 1);
  const streams = new Map(redis.map((r) => [r.stream, r]));
  return [
    ...shown.map((s) => ({
      column: 0,
      name: s.name,
      label: short(s.name),
      detail: streams.has(s.name) ? `${count(streams.get(s.name).entries)} waiting` : "",
      rate: s.events_per_second,
      level: s.owner === null ? "idle" : isSilent(s) ? "warn" : "good",
    })),
    {
      column: 1,
      name: "event log",
      label: "event log",
      detail: count(status.head),
      rate: sample ? sample[1] : 0,
      level: "good",
    },
    ...status.projections.map((p) => ({
      column: p.kind === "table" ? 2 : 3,
      name: p.name,
      label: p.name,
      detail: p.lag_seconds > 2 || (p.lag_events && p.owner === null) ? `−${count(p.lag_events)}` : "in step",
      rate: p.events_per_second,
      level: p.owner === null ? (p.lag_events ? "bad" : "idle") : p.lag_seconds > 2 ? "warn" : "good",
    })),
  ];
}

function short(name) {
  const text = name.replace(/^[a-z]+:\/\/([^/?]*).*?(?:stream=(.*))?$/, (_, host, stream) => stream ?? host);
  return text.replace(/^(generate):.*/, "$1").replace(/^file:.*\//, "");
}

// Columns from left to right.
function sideways(nodes, width) {
  const columns = [0, 1, 2, 3].map((c) => nodes.filter((n) => n.column === c));
  const height = Math.max(...columns.map((c) => c.length)) * ROW + 12;
  const widths = [0.18, 0.15, 0.22, 0.19].map((share) => share * width);
  const gap = (width - widths.reduce((a, b) => a + b)) / 3;
  const lefts = widths.map((_, i) => widths.slice(0, i).reduce((a, b) => a + b, 0) + i * gap);
  const boxes = columns.flatMap((column, c) =>
    column.map((node, i) => {
      const tall = c === 1;
      const h = tall ? Math.min(height - 12, 84) : ROW - 7;
      const y = tall ? (height - h) / 2 : height / 2 + (i - column.length / 2) * ROW + 3.5;
      return { ...node, x: lefts[c], y, w: widths[c], h, tall };
    }),
  );
  const log = boxes.find((b) => b.column === 1);
  const edges = [
    ...boxes.filter((b) => b.column === 0).map((b) => edge(b, log, b.name, b)),
    ...boxes.filter((b) => b.column === 2).map((b) => edge(log, b, b.name, b)),
  ];
  const tables = boxes.filter((b) => b.column === 2);
  if (tables.length) {
    const right = { x: lefts[2], y: tables[0].y, w: widths[2], h: tables.at(-1).y + ROW - 7 - tables[0].y };
    for (const b of boxes.filter((x) => x.column === 3)) edges.push(edge(right, b, b.name, b));
    return { boxes, edges, height, bracket: right };
  }
  return { boxes, edges, height };
}

function edge(from, to, name, labelled) {
  const [x1, x2] = [from.x + from.w + 2, to.x - 4];
  const [y1, y2] = [from.y + from.h / 2, to.y + to.h / 2];
  const bend = (x2 - x1) * 0.5;
  const out = labelled === from;
  return {
    name,
    path: `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`,
    label: out
      ? { x: x1 + 4, y: y1 - 4, anchor: "start" }
      : { x: x2 - 4, y: y2 - 4, anchor: "end" },
  };
}

// From top to bottom, for a phone.
function stacked(nodes, width) {
  const boxes = [];
  const edges = [];
  let y = 2;
  [0, 1, 2, 3].forEach((c) => {
    const column = nodes.filter((n) => n.column === c);
    if (!column.length) return;
    if (boxes.length) {
      edges.push({ name: stageName(c), path: `M${width / 2} ${y}V${y + 18}`, label: null });
      y += 24;
    }
    const across = c < 2 ? 1 : 2;
    const w = (width - (across - 1) * 8 - 4) / across;
    column.forEach((node, i) => {
      const place = { x: 2 + (i % across) * (w + 8), y: y + Math.floor(i / across) * 46, w, h: 40 };
      boxes.push({ ...node, ...place, stacked: true });
    });
    y += Math.ceil(column.length / across) * 46;
  });
  return { boxes, edges, height: y };
}

function picture({ boxes, edges, height, bracket }, width) {
  const svg = drawn("svg", {
    viewBox: `0 0 ${width} ${height}`, width, height, role: "img",
    "aria-label": "sources, event log, projections and aggregates",
  });
  for (const { name, path, label } of edges) {
    const line = drawn("path", { d: path, class: "edge" });
    svg.append(line);
    const part = { line };
    if (label) {
      part.rate = drawn("text", { x: label.x, y: label.y, class: "rate", "text-anchor": label.anchor });
      svg.append(part.rate);
    }
    made.parts.set(name, part);
  }
  if (bracket) {
    const x = bracket.x + bracket.w + 5;
    svg.append(drawn("path", { d: `M${x} ${bracket.y}v${bracket.h}`, class: "bracket" }));
  }
  for (const box of boxes) svg.append(boxOf(box));
  return svg;
}

function boxOf(box) {
  const { x, y, w, h, tall, stacked: phone } = box;
  const group = drawn("g", { class: "node" });
  const label = drawn("text", { class: "label" });
  const detail = drawn("text", { class: "detail" });
  const part = { ...(made.parts.get(box.name) ?? {}), group, detail };
  group.append(
    drawn("rect", { x, y, width: w, height: h, rx: 7 }),
    drawn("circle", { cx: x + 12, cy: tall ? y + h / 2 - 12 : phone ? y + 14 : y + h / 2, r: 3.5 }),
    label,
    detail,
  );
  const chars = Math.floor((w - (phone ? 64 : tall ? 30 : 78)) / 7.3);
  label.textContent = box.label.length > chars ? `${box.label.slice(0, chars - 1)}…` : box.label;
  const place = tall
    ? [[x + 22, y + h / 2 - 8, "start"], [x + 12, y + h / 2 + 18, "start"]]
    : phone
      ? [[x + 22, y + 18, "start"], [x + 22, y + 33, "start"]]
      : [[x + 22, y + h / 2 + 4, "start"], [x + w - 8, y + h / 2 + 4, "end"]];
  [label, detail].forEach((text, i) => {
    const [tx, ty, anchor] = place[i];
    text.setAttribute("x", tx);
    text.setAttribute("y", ty);
    text.setAttribute("text-anchor", anchor);
  });
  if (phone) {
    part.rate = drawn("text", { x: x + w - 8, y: y + 18, class: "rate", "text-anchor": "end" });
    group.append(part.rate);
  }
  made.parts.set(box.name, part);
  return group;
}

function update(node) {
  const part = made.parts.get(node.name);
  if (!part) return;
  part.group.setAttribute("class", `node ${node.level}`);
  setText(part.detail, node.detail);
  if (part.rate) setText(part.rate, node.rate > 0 ? rate(node.rate) : "");
  if (part.line) flow(part.line, node.rate);
}

function flow(line, perSecond) {
  line.setAttribute("class", perSecond > 0 ? "edge flows" : "edge");
  line.style.strokeWidth = (1 + Math.log10(1 + perSecond) * 0.7).toFixed(2);
}
