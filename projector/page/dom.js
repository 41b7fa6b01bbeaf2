// Small helpers. Text only ever becomes text: nothing here parses HTML.

const SVG = "http://www.w3.org/2000/svg";
const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en-US", { minimumFractionDigits: 1, maximumFractionDigits: 1 });

export const byId = (id) => document.getElementById(id);

export function element(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

export function drawn(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

export function setText(where, text) {
  if (where.textContent !== text) where.textContent = text;
}

export const count = (n) => whole.format(n);

export function rate(n) {
  return n < 9.95 && n > 0 ? tenths.format(n) : whole.format(n);
}

export function seconds(n) {
  if (n === null || n === undefined) return "–";
  if (n === 0) return "0 s";
  if (n < 0.0995) return `${(n * 1000).toFixed(n < 0.00995 ? 1 : 0)} ms`;
  if (n < 120) return `${Number.isInteger(n) ? n : n.toFixed(1)} s`;
  if (n < 7200) return `${Math.round(n / 60)} min`;
  if (n < 172800) return `${(n / 3600).toFixed(1)} h`;
  return `${count(n / 86400)} days`;
}

export function bytes(n) {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let i = 0;
  while (n >= 1000 && i < units.length - 1) [n, i] = [n / 1000, i + 1];
  return `${i && n < 99.5 ? n.toFixed(1) : Math.round(n)} ${units[i]}`;
}

// A table whose cells are kept and only change their text: what is marked stays marked.
export function fillTable(table, columns, rows) {
  if (!table.tHead) {
    const head = table.createTHead().insertRow();
    for (const { name, kind = "text" } of columns) {
      head.append(element("th", { class: kind, scope: "col" }, name));
    }
    table.createTBody();
  }
  table.hidden = rows.length === 0;
  const body = table.tBodies[0];
  while (body.rows.length > rows.length) body.deleteRow(-1);
  rows.forEach((row, at) => {
    const line = body.rows[at] ?? body.insertRow();
    line.dataset.level = row.level ?? "";
    columns.forEach(({ kind = "text" }, i) => {
      const cell = line.cells[i] ?? line.insertCell();
      if (cell.className !== kind) cell.className = kind;
      const text = String(row.cells[i] ?? "–");
      setText(cell, text);
      if (i === 0) cell.title = text;
    });
  });
}

export function fillFacts(list, facts) {
  while (list.children.length > facts.length * 2) list.lastChild.remove();
  facts.forEach(([name, value], i) => {
    if (list.children.length <= i * 2) list.append(element("dt"), element("dd"));
    setText(list.children[i * 2], name);
    setText(list.children[i * 2 + 1], value);
  });
}
