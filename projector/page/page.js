// Keeps the page in step with the process that serves it.
import { byId, count, element, rate, seconds, setText } from "./dom.js";
import { drawPipeline } from "./pipeline.js";
import { addSample, setHistory, drawPlots } from "./plots.js";
import { drawLetters, drawTables } from "./tables.js";

const GAP_LOOKS = 5;
const GAP_SECONDS_MIN = 4;
let state = null;
let heardAt = 0;

function connect() {
  const live = new EventSource("/live");
  live.addEventListener("history", (event) => setHistory(JSON.parse(event.data)));
  live.addEventListener("letters", (event) => drawLetters(JSON.parse(event.data)));
  live.addEventListener("state", (event) => {
    heardAt = Date.now();
    state = JSON.parse(event.data);
    if (state.sample) addSample(state.sample);
    draw();
  });
  // The browser connects again by itself, unless the answer was a refusal.
  live.addEventListener("error", () => {
    tellAge();
    if (live.readyState === EventSource.CLOSED) setTimeout(connect, 5000);
  });
}

function draw() {
  drawHeadline(state.sentence, state.level);
  tellAge();
  if (state.status) {
    drawTiles(state);
    drawPipeline(byId("pipeline"), state);
    drawTables(state);
  }
  drawPlots();
  setText(
    byId("footer"),
    `atproto-projector ${state.version} · ${state.process} · up ${seconds(state.up_seconds)}`,
  );
}

// The first clause is the headline; the others are what else is to be done. What follows the colon
// is to be typed.
function drawHeadline(sentence, level) {
  document.body.dataset.level = level;
  document.title = `${level === "good" ? "" : "● "}projector`;
  const [first, ...others] = sentence.split("; ");
  drawClause(byId("sentence"), first);
  const list = byId("more");
  while (list.children.length > others.length) list.lastChild.remove();
  others.forEach((clause, i) => {
    if (list.children.length <= i) list.append(element("li"));
    drawClause(list.children[i], clause);
  });
}

function drawClause(where, clause) {
  if (where.dataset.clause === clause) return;
  where.dataset.clause = clause;
  const [, before, command, after] =
    /^(.*?)(?:: ((?:projector|redis-cli|SELECT) .*?)( goes on.*)?\.?)?$/.exec(clause) ?? [null, clause];
  where.replaceChildren(command ? `${before}: ` : clause);
  if (command) where.append(element("code", {}, command), after ?? "");
}

function drawTiles({ status, sample }) {
  const letters = status.dead_letters.reduce((sum, letter) => sum + letter.count, 0);
  const audit = status.audit;
  const late = Math.max(0, ...status.projections.map((p) => p.lag_seconds));
  const tiles = [
    ["events in the log", count(status.head), ""],
    ["appended a second", sample ? rate(sample[1]) : "–", ""],
    ["behind", seconds(late), late > 2 ? "warn" : ""],
    ["differences", audit.accounts ? count(audit.differences) : "–", audit.differences ? "bad" : ""],
    ["dead letters", count(letters), status.dead_letters.some((x) => x.stage === "apply") ? "warn" : ""],
  ];
  const where = byId("tiles");
  tiles.forEach(([name, value, level], i) => {
    if (where.children.length <= i) {
      where.append(element("div", { class: "tile" }, element("b"), element("span", {}, name)));
    }
    where.children[i].dataset.level = level;
    setText(where.children[i].firstChild, value);
  });
}

function tellAge() {
  const silent = (Date.now() - heardAt) / 1000;
  const gap = state ? Math.max(GAP_SECONDS_MIN, GAP_LOOKS * state.every_seconds) : 0;
  const lost = heardAt === 0 ? performance.now() > 5000 : silent > gap;
  document.body.classList.toggle("lost", lost);
  if (lost) {
    setText(byId("seen"), heardAt ? `no word for ${seconds(silent)}: is the daemon up?` : "no answer");
  } else if (state) {
    const age = state.at ? state.age_seconds + silent : 0;
    setText(byId("seen"), age < 5 ? "live" : `${seconds(age)} old`);
  }
}

setInterval(tellAge, 1000);
addEventListener("resize", () => state && draw());
connect();
