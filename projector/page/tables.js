// Projections, sources, dead letters, audit, rebuilds, disk, connections.
import { byId, bytes, count, element, fillFacts, fillTable, rate, seconds, setText } from "./dom.js";

const PROJECTIONS = [
  { name: "projection" }, { name: "version", kind: "number wide" },
  { name: "checkpoint", kind: "number wide" }, { name: "lag", kind: "number" },
  { name: "seconds", kind: "number" }, { name: "events/s", kind: "number" },
  { name: "pending", kind: "number wide" }, { name: "dead letters", kind: "number" },
  { name: "run by", kind: "text wide" },
];
const SOURCES = [
  { name: "source" }, { name: "events", kind: "number" }, { name: "events/s", kind: "number" },
  { name: "repeats", kind: "number" }, { name: "undecodable", kind: "number" },
  { name: "heard", kind: "number" }, { name: "run by", kind: "text wide" },
];
const COMPLETE = [
  { name: "collection" }, { name: "seen upstream", kind: "number" },
  { name: "not in the log", kind: "number" }, { name: "not in its table", kind: "number" },
  { name: "missing since, UTC", kind: "number" }, { name: "missing, all probes", kind: "number wide" },
];
const SILENCES = [
  { name: "silent collection" }, { name: "source", kind: "text wide" },
  { name: "for", kind: "number" }, { name: "before, events/s", kind: "number" },
  { name: "events/s", kind: "number" },
];
const REASONS = [
  { name: "of" }, { name: "stage" }, { name: "reason" }, { name: "letters", kind: "number" },
];

export function drawTables(state) {
  const { status } = state;
  fillTable(byId("projections"), PROJECTIONS, status.projections.map(projectionRow));
  fillTable(byId("sources"), SOURCES, status.sources.map(sourceRow));
  byId("no-sources").hidden = status.sources.length > 0;
  fillTable(
    byId("reasons"),
    REASONS,
    status.dead_letters.map((x) => ({ cells: [x.where, x.stage, x.reason, count(x.count)] })),
  );
  drawComplete(status);
  drawAudit(status.audit);
  drawRebuilds(status.rebuilds);
  drawDisk(state);
  fillFacts(byId("connections"), groupsOf(state.connections));
  drawRedis(state.redis);
  drawMovers(state);
}

function drawMovers({ movers, movers_counter: counter }) {
  byId("movers-card").hidden = movers.length === 0;
  setText(byId("movers-counter"), counter.replace(/Count$/, ""));
  const most = movers.length ? movers[0].gained : 1;
  const where = byId("movers");
  while (where.children.length > movers.length) where.lastChild.remove();
  movers.forEach(({ key, gained }, i) => {
    if (where.children.length <= i) {
      where.append(element("li", {}, element("span"), element("b"), element("i")));
    }
    const [name, number, bar] = where.children[i].children;
    setText(name, key);
    setText(number, `+${count(gained)}`);
    bar.style.width = `${(gained / most) * 100}%`;
  });
}

function owner(name) {
  return name === null ? "nobody" : name.split(":").slice(0, 2).join(":");
}

function projectionRow(p) {
  const level = p.owner === null && p.lag_events ? "bad" : p.lag_seconds > 2 ? "warn" : "";
  return {
    level,
    cells: [
      p.name, p.version, count(p.checkpoint), count(p.lag_events), p.lag_seconds.toFixed(1),
      rate(p.events_per_second), p.kind !== "table" ? count(p.pending_rows) : "",
      count(p.dead_letters), owner(p.owner),
    ],
  };
}

function sourceRow(s) {
  return {
    level: isSilent(s) ? "warn" : "",
    cells: [
      s.name, count(s.events), rate(s.events_per_second), count(s.duplicates),
      count(s.undecodable), `${seconds(s.idle_seconds)} ago`, owner(s.owner),
    ],
  };
}

export function isSilent(s) {
  return s.owner !== null && s.quiet_after_seconds !== null && s.idle_seconds > s.quiet_after_seconds;
}

function drawComplete({ probe, silences }) {
  byId("complete-card").hidden = probe === null && silences.length === 0;
  setText(
    byId("probed"),
    probe === null ? "" : `what ${probe.upstream} said, ${seconds(probe.age_seconds)} ago`,
  );
  fillTable(byId("complete"), COMPLETE, (probe?.shares ?? []).filter((s) => s.seen > 0).map(shareRow));
  fillTable(byId("silences"), SILENCES, silences.map((s) => ({
    level: "warn",
    cells: [short(s.collection), s.source, seconds(s.seconds), rate(s.usual_per_second), rate(s.events_per_second)],
  })));
}

// A phone has no room for what all of them begin with.
const short = (collection) => collection.replace(/^app\.bsky\./, "");

function shareRow(s) {
  const lost = s.missing + s.missing_in_tables;
  const since = s.missing_since === null ? "" : new Date(s.missing_since * 1000).toISOString().slice(0, 16).replace("T", " ");
  return {
    level: lost ? "bad" : "",
    cells: [short(s.collection), count(s.seen), count(s.missing), count(s.missing_in_tables), since, count(s.missing_total)],
  };
}

function drawAudit(audit) {
  const share = audit.accounts ? audit.proven / audit.accounts : 0;
  const bar = byId("audit-bar").firstElementChild;
  bar.style.width = `${(share * 100).toFixed(1)}%`;
  byId("audit").dataset.level = audit.differences ? "bad" : "";
  fillFacts(byId("audit"), [
    ["accounts proven in this round", `${count(audit.proven)} of ${count(audit.accounts)}`],
    ["proven as of offset", audit.proven ? count(audit.as_of) : "–"],
    ["all proven as of offset", audit.complete_as_of === null ? "not yet" : count(audit.complete_as_of)],
    ["differences", audit.differences ? `${count(audit.differences)}: projector heal --all-differences` : "0"],
  ]);
}

function drawRebuilds(rebuilds) {
  byId("rebuild-card").hidden = rebuilds.length === 0;
  const where = byId("rebuilds");
  where.replaceChildren(
    ...rebuilds.map((r) => {
      const bar = element("div", { class: "bar" }, element("span"));
      bar.firstChild.style.width = `${Math.min(100, (r.checkpoint / Math.max(r.through, 1)) * 100)}%`;
      const by = r.owner === null ? "by nobody: projector rebuild " + r.name : `by ${owner(r.owner)}`;
      const text = `${r.name}: ${r.phase}, ${count(r.checkpoint)} of ${count(r.through)}, ${by}`;
      return element("div", { class: "rebuild" }, element("p", {}, text), bar);
    }),
  );
}

function drawDisk({ log, disk, forecast }) {
  setText(
    byId("forecast"),
    forecast.bytes_per_event === 0
      ? "There are too few events yet to say how the log grows."
      : forecast.events_per_second > 0
      ? `At ${rate(forecast.events_per_second)} events a second the log grows by ${bytes(forecast.bytes_per_day)} a day, ${bytes(forecast.bytes_per_day * 30)} in 30 days.`
      : "The log does not grow.",
  );
  fillFacts(byId("disk"), [
    ["free on the disk of Postgres", disk ? `${bytes(disk.free_bytes)} of ${bytes(disk.total_bytes)}` : "cannot be known from here"],
    ["event log, live", `${bytes(log.bytes)} in ${log.partitions === 1 ? "one partition" : `${count(log.partitions)} partitions`}`],
    ["an event takes", bytes(forecast.bytes_per_event)],
    ["event log, archived", bytes(log.archive_bytes)],
    ["the whole database", bytes(log.database_bytes)],
    ["room in partitions made ahead", `${count(log.room_events)} events`],
  ]);
}

// `apply like` and `apply post` are both for applying.
function groupsOf(connections) {
  const groups = new Map([["all", 0]]);
  for (const [role, n] of Object.entries(connections)) {
    const work = role.split(" ")[0];
    groups.set("all", groups.get("all") + n);
    groups.set(work, (groups.get(work) ?? 0) + n);
  }
  return [...groups].map(([work, n]) => [work, count(n)]);
}

function drawRedis(redis) {
  const where = byId("redis");
  redis.forEach((r, i) => {
    if (where.children.length <= i * 2) {
      where.append(element("h2", {}, `Redis `, element("small", {}, r.stream)), element("dl"));
    }
    fillFacts(
      where.children[i * 2 + 1],
      r.error !== null
        ? [["does not answer", r.error]]
        : [
            ["entries in the stream", count(r.entries)],
            ["read, not acknowledged", count(r.pending)],
            ["memory", r.memory_max_bytes ? `${bytes(r.memory_bytes)} of ${bytes(r.memory_max_bytes)}` : bytes(r.memory_bytes)],
          ],
    );
  });
}

export function drawLetters(letters) {
  const where = byId("letters");
  const open = new Set([...where.querySelectorAll("details[open]")].map((d) => d.dataset.id));
  byId("no-letters").hidden = letters.length > 0;
  byId("letters-hint").hidden = letters.length === 0;
  where.replaceChildren(...letters.map((letter) => letterOf(letter, open)));
}

function letterOf(letter, open) {
  const head = element(
    "summary", {},
    element("b", {}, `${letter.where}`), element("i", {}, letter.reason),
    element("span", {}, letter.error),
  );
  const made = element("details", { "data-id": String(letter.id) }, head);
  made.open = open.has(String(letter.id));
  const facts = element("dl");
  fillFacts(facts, [
    ["letter", `${letter.id}, since ${letter.since} UTC, ${letter.attempts} attempts`],
    ["about", aboutOf(letter)],
    ["try it again", `projector dead-letters retry ${letter.id}`],
  ]);
  made.append(facts, element("pre", {}, pretty(letter.event)));
  return made;
}

function aboutOf(letter) {
  if (letter.did === null) return letter.log_offset === null ? "a message nobody can read" : `offset ${count(letter.log_offset)}`;
  return `${letter.action} at://${letter.did}/${letter.collection}/${letter.rkey}, offset ${count(letter.log_offset)}`;
}

function pretty(text) {
  if (text === null) return "The event is archived: projector dead-letters show has it.";
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
