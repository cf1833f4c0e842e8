"use strict";
// From here on what needs scripts is shown instead of what does not; should one of them fail, it is taken back.
document.documentElement.classList.add("js");
addEventListener("error", () => document.documentElement.classList.remove("js"));
const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
const make = (tag, text, properties) => {
  const element = Object.assign(document.createElement(tag), properties);
  if (text !== undefined) element.textContent = text;
  return element;
};

// ---- What the numbers are, and how they are written.
const [LOWER, UPPER] = data.num_bits_limits;
const OWN_COST = data.cost_column !== "total_bits";
const HALF_NAME = 13;
const whole = (count) => count.toLocaleString("en");
const SHARE = data.score_unit === "%";
const FACTOR = SHARE ? 100 : 1;
// As the tables round, exact halves to the even digit.
const hundredths = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2, useGrouping: false, roundingMode: "halfEven" });
const digits = (score) => (data.score_unit ? hundredths.format(FACTOR * score) : String(Number(score.toPrecision(4)))).replace("-", "−");
const written = (score) => digits(score) + (data.score_unit && ` ${data.score_unit}`);
const STEP = SHARE ? " points" : data.score_unit && ` ${data.score_unit}`;
const LIMITED = data.min_score !== null;
const amount = (cost) => String(Number(cost.toPrecision(6)));
const costs = (point) => [...(OWN_COST ? [[data.cost, point.cost]] : []), ...data.other_costs.map(([name], index) => [name, point.others[index]])]
  .filter(([, value]) => value !== null);
const bits = (width) => (width ? String(width) : "float");
// Both ends of a long name tell more than its beginning.
const shorten = (name) => {
  const letters = Array.from(name);
  const kept = letters.length <= 2 * HALF_NAME + 1;
  return kept ? name : letters.slice(0, HALF_NAME - 3).join("") + "…" + letters.slice(-HALF_NAME - 3).join("");
};
// Plotly reads its texts as a kind of HTML.
const escape = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const barColour = (width) => (width ? data.width_colours[width - LOWER] : "var(--float)");

// One object for each setting, also if it is shown twice: a uniform width may well be on the front.
const everything = [];
const known = new Map();
const read = (title) => ([widths, score, total, cost, others], index, kind) => {
  if (known.has(widths)) return known.get(widths);
  const [expected, heldOut] = kind === data.front ? [data.expected[index], data.held_out[index]] : [];
  const point = {
    key: everything.length, title: title(index), widths: Array.from(widths, (digit) => parseInt(digit, 36)),
    score, total, mean: total / data.names.length, cost, others, expected, heldOut,
  };
  everything.push(point);
  known.set(widths, point);
  return point;
};
const baseline = read(() => "Float model")(data.baseline, 0);
for (const kind of ["front", "dominated", "infeasible", "uniform"]) {
  const title = { front: (i) => `Front, ${i + 1} of ${data.front.length}`, dominated: () => (data.by === "divergence" ? "Not on the front" : "Dominated"),
    infeasible: () => "Infeasible", uniform: () => "Measured" }[kind];
  data[kind] = data[kind].map(read(title));
}
data.uniform.forEach((point, index) => {
  point.label = `${data.uniform_num_bits[index]} bits`;
  point.title += `, ${point.label} everywhere`;
});
const nearest = data.nearest && read(() => "Infeasible")(data.nearest, 0);
if (nearest) nearest.title += ", the nearest to feasible";
const EXPECTED = data.expected.length > 0;
const CHECKED = data.held_out.length > 0;
const BY_DIVERGENCE = data.by === "divergence";
const drop = (point) => baseline.score - point.score;

// ---- What is chosen at the moment; everything below draws it.
let selected = data.front[Math.floor(data.front.length / 2)] || nearest || baseline;
let hovered = null;
let sorted = { by: "cost", ascending: true };
let visible = data.front;

// ---- The head of the page.
at("score-name").textContent = data.score;
at("score-unit").textContent = data.score_unit;
at("cost-name").textContent = data.cost;
if (SHARE) Object.assign(at("least-score"), { min: 0, max: 100 });
// ---- The legend, with switches.
const SVG = "http://www.w3.org/2000/svg";
const swatch = (shape, properties) => {
  const svg = document.createElementNS(SVG, "svg");
  const mark = document.createElementNS(SVG, shape);
  svg.setAttribute("aria-hidden", "true");
  for (const [name, value] of Object.entries(properties)) mark.setAttribute(name, value);
  svg.append(mark);
  return svg;
};
const lineSwatch = (name, dash) => swatch("path", { d: "M0 6H18", style: `stroke:var(--${name})`, "stroke-width": 2, "stroke-dasharray": dash });
const circle = (name, r) => swatch("circle", { cx: 9, cy: 6, r, style: `fill:var(--${name})` });
const entry = (mark, text, id) => {
  const item = make(id ? "label" : "span");
  if (id) {
    const box = make("input", undefined, { type: "checkbox", id, checked: true });
    box.addEventListener("change", drawFront);
    item.append(box);
  }
  item.append(mark, text);
  at("legend").append(item);
};
if (data.front.length) entry(circle("front", 5), BY_DIVERGENCE ? "front, as measured" : "front");
if (EXPECTED && data.front.length > 1) entry(lineSwatch("expected", ""), "front, as expected (estimate)");
if (CHECKED) entry(circle("chosen", 4), `drop on ${whole(data.held_out_items)} items that chose nothing, ${data.sureness} sure of all together`);
entry(swatch("rect", { x: 3.5, y: 0.5, width: 11, height: 11, style: "fill:var(--uniform)" }), "uniform widths");
entry(lineSwatch("float", "5 3"), `float model ${written(baseline.score)}`);
if (LIMITED) entry(lineSwatch("limit", "2 3"), `minimum ${written(data.min_score)}`);
if (data.dominated.length) entry(circle("dominated", 4), `${BY_DIVERGENCE ? "not on the front" : "dominated"} (${whole(data.dominated.length)})`, "show-dominated");
if (data.infeasible.length) {
  const cross = swatch("path", { d: "M5 2l8 8m0-8l-8 8", style: "stroke:var(--infeasible)", "stroke-width": 2 });
  entry(cross, `infeasible (${whole(data.infeasible.length)})`, "show-infeasible");
}

// ---- Accuracy against cost.
const inLines = (widths) => {
  const lines = [];
  for (let start = 0; start < widths.length; start += 20) lines.push(widths.slice(start, start + 20).map(bits).join(" "));
  return lines.join("<br>");
};
const describe = (point) =>
  `<b>${point.title}</b><br>${escape(data.score)} ${written(point.score)}, drop ${digits(drop(point))}${STEP}`
  + `<br>total bits ${point.total}, mean ${point.mean.toFixed(2)}`
  + costs(point).map(([name, value]) => `<br>${escape(name)} ${amount(value)}`).join("")
  + `<br>widths ${inLines(point.widths)}`;
const trace = (chosen, marker, more) => ({
  type: "scatter", mode: "markers", x: chosen.map((p) => p.cost), y: chosen.map((p) => p.score),
  customdata: chosen.map((p) => p.key), text: chosen.map(describe), hovertemplate: "%{text}<extra></extra>", marker, ...more,
});
const isOn = (id) => Boolean(at(id) && at(id).checked);
const [xRange, yRange, below, lowest] = data.view;
const view = { x: xRange, y: yRange };
const hint = (text) => `<span style="font-size:12px">${text}</span>`;
// Under the point, or above it, or not at all: wherever it hides no point of the front.
function uniformLabels() {
  const [width, height] = [at("plot").clientWidth - 72, at("plot").clientHeight - 60];
  const free = (point, lower) => data.front.every((p) => {
    const across = Math.abs(p.cost - point.cost) / (view.x[1] - view.x[0]) * width;
    const under = (point.score - p.score) / (view.y[1] - view.y[0]) * height;
    return across > 25 || Math.abs(under - lower) > 13;
  });
  return data.uniform.filter((p) => p.score >= view.y[0]).flatMap((p) => {
    const lower = [14, -14].find((side) => free(p, side));
    const font = { size: 11, color: colour("text") };
    return lower ? [{ x: p.cost, y: p.score, text: p.label, showarrow: false, yshift: -lower, font }] : [];
  });
}
const shared = () => ({
  paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false, uirevision: "kept",
  font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colour("text") },
  hoverlabel: { bgcolor: colour("panel"), bordercolor: colour("line"), align: "left", font: { family: getComputedStyle(document.body).fontFamily, color: colour("text"), size: 12 } },
  modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("quiet"), activecolor: colour("text") },
});
const CONFIG = {
  responsive: true, displaylogo: false, showSendToCloud: false, showEditInChartStudio: false, plotlyServerURL: "",
  modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
};
const level = (score, name, dash) => ({
  type: "line", xref: "paper", x0: 0, x1: 1, y0: score, y1: score, layer: "below", line: { color: colour(name), width: 2, dash },
});
// On the hold-out set the float model has another score: what is shown is the drop from it, below the line of the float model here.
const heldOutTrace = () => {
  const points = CHECKED ? visible : [];
  const away = (end) => points.map((p) => Math.abs(p.heldOut[1] - p.heldOut[end]));
  return trace(points.map((p) => ({ ...p, score: baseline.score - p.heldOut[1] })), { symbol: "diamond", size: 6, color: colour("chosen") }, {
    hoverinfo: "skip", hovertemplate: null, name: "hold-out",
    error_y: { type: "data", symmetric: false, array: away(2), arrayminus: away(3), color: colour("chosen"), thickness: 1.2, width: 3 },
  });
};
function drawFront() {
  const line = data.front.length > 1 ? data.front : [];
  const traces = [
    trace(data.infeasible, { symbol: "x-thin", size: 6, line: { width: 1.3, color: colour("infeasible") } }, { visible: isOn("show-infeasible") }),
    trace(data.dominated, { size: 6, opacity: 0.75, color: colour("dominated") }, { visible: isOn("show-dominated") }),
    trace(BY_DIVERGENCE ? [] : line, {}, { mode: "lines", hoverinfo: "skip", hovertemplate: null, line: { shape: "hv", width: 1.5, color: colour("front") } }),
    trace(EXPECTED ? line.map((p) => ({ ...p, score: p.expected })) : [], {}, { mode: "lines", hoverinfo: "skip", hovertemplate: null, line: { shape: "hv", width: 1.8, color: colour("expected") } }),
    trace(data.uniform, { symbol: "square", size: 11, color: colour("uniform") }),
    heldOutTrace(),
    trace(visible, { size: 10, color: colour("front"), line: { width: 1, color: colour("page") } }, { name: "front" }),
  ];
  const axis = { gridcolor: colour("grid"), linecolor: colour("line"), zeroline: false, automargin: true, showline: true };
  const layout = {
    ...shared(), hovermode: "closest", dragmode: "zoom", margin: { l: 60, r: 12, t: 12, b: 48 },
    xaxis: { ...axis, title: { text: `${escape(data.cost)} ${hint(`(← ${OWN_COST ? "less" : "fewer"} is better)`)}`, standoff: 8 }, range: [...view.x] },
    yaxis: { ...axis, title: { text: `${escape(data.score)}${SHARE || !data.score_unit ? "" : ` (${data.score_unit})`} on the search set ${hint("(more is better →)")}`, standoff: 8 }, range: [...view.y], tickformat: SHARE ? ".0%" : "" },
    shapes: [level(baseline.score, "float", "dash"), ...(LIMITED ? [level(data.min_score, "limit", "dot")] : [])],
    annotations: uniformLabels(),
  };
  return Plotly.react("plot", traces, layout, CONFIG);
}
function placeRing() {
  const { xaxis, yaxis } = at("plot")._fullLayout;
  const point = hovered || selected;
  const [x, y] = [xaxis.d2p(point.cost), yaxis.d2p(point.score)];
  at("ring").hidden = !(x >= 0 && x <= xaxis._length && y >= 0 && y <= yaxis._length);
  at("ring").style.left = `${xaxis._offset + x}px`;
  at("ring").style.top = `${yaxis._offset + y}px`;
}
const notes = [];
if (below) notes.push(`${whole(below)} ${below === 1 ? "point lies" : "points lie"} below ${written(lowest)}: double-click the plot to see all.`);
if (data.uniform_stopped.length) notes.push(`Stopped early, so without a score: uniform ${data.uniform_stopped.join(", ")} bits.`);
const [dominatedLeft, infeasibleLeft] = data.not_shown;
if (dominatedLeft + infeasibleLeft) {
  notes.push(`To keep this file small, the ${whole(dominatedLeft)} dominated and ${whole(infeasibleLeft)} infeasible points that are furthest `
    + "from the front are left out. The front is complete.");
}
at("plot-note").textContent = notes.join(" ");

// ---- The strip: a bar for each quantizer.
const bars = data.names.map((name) => {
  const item = make("li", undefined, { title: name });
  const [number, room, bar] = [make("b"), make("div", undefined, { className: "room" }), make("div", undefined, { className: "bar" })];
  room.append(bar);
  item.append(number, room, make("span", shorten(name), { className: "name" }));
  at("strip").firstElementChild.append(item);
  return { name, item, number, bar };
});
function drawStrip() {
  const point = hovered || selected;
  bars.forEach(({ name, item, number, bar }, index) => {
    const width = point.widths[index];
    number.textContent = width ? width : "f";
    item.dataset.bits = bits(width);
    item.title = `${name}: ${width ? `${width} bits` : "float"}`;
    item.setAttribute("aria-label", item.title);
    bar.style.height = `${width ? Math.max(3, 100 * width / UPPER) : 100}%`;
    bar.style.background = barColour(width);
  });
  const said = [point.title, `${data.score} ${written(point.score)}`, `drop against float ${digits(drop(point))}${STEP}`,
    `total bits ${point.total}`, `mean bits ${point.mean.toFixed(2)}`];
  if (point.expected !== undefined) said.splice(2, 0, `expected ${written(point.expected)} (estimate)`);
  said.push(...costs(point).map(([name, value]) => `${name} ${amount(value)}`));
  at("shown-facts").replaceChildren(...said.map((text, index) => make(index ? "span" : "strong", text)));
}

// ---- The table of the front.
const VALUES = {
  score: (p) => p.score, expected: (p) => p.expected, drop, heldOut: (p) => p.heldOut[0], heldOutDrop: (p) => p.heldOut[1],
  total: (p) => p.total, mean: (p) => p.mean, cost: (p) => p.cost,
};
data.other_costs.forEach((_, index) => { VALUES[`cost-${index}`] = (p) => p.others[index]; });
if (!OWN_COST) sorted.by = "total";
const heads = new Map([...at("head").querySelectorAll("[data-key]")].map((cell) => {
  const { key } = cell.dataset;
  const button = make("button", cell.textContent, { type: "button", title: cell.title });
  button.addEventListener("click", () => {
    sorted = { by: key, ascending: sorted.by === key ? !sorted.ascending : true };
    drawTable();
  });
  cell.replaceChildren(button);
  return [key, cell];
}));
// More than fit beside the figure.
at("results").classList.toggle("wide", heads.size > 6);
const gradient = (widths) => {
  const stops = widths.map((width, i) => `${barColour(width)} ${100 * i / widths.length}% ${100 * (i + 1) / widths.length}%`);
  return `linear-gradient(to right, ${stops.join(", ")})`;
};
const rows = [...at("body").rows];
data.front.forEach((point, index) => {
  point.row = Object.assign(rows[index], { tabIndex: -1 });
  point.row.dataset.key = point.key;
  const strip = make("div", undefined, { className: "small-strip", title: point.widths.join(" ") });
  strip.setAttribute("role", "img");
  strip.setAttribute("aria-label", `widths ${point.widths.join(" ")}`);
  strip.style.background = gradient(point.widths);
  point.row.lastElementChild.append(strip);
  point.row.addEventListener("mouseenter", () => hover(point));
  point.row.addEventListener("mouseleave", () => hover(null));
  point.row.addEventListener("focus", () => hover(point));
  point.row.addEventListener("blur", () => hover(null));
  point.row.addEventListener("click", () => select(point));
});
function drawTable() {
  const value = VALUES[sorted.by];
  const order = [...visible].sort((a, b) => (sorted.ascending ? 1 : -1) * (value(a) - value(b)) || a.key - b.key);
  for (const [key, cell] of heads) {
    cell.setAttribute("aria-sort", key !== sorted.by ? "none" : sorted.ascending ? "ascending" : "descending");
  }
  at("body").replaceChildren(...order.map((point) => point.row));
  at("empty").hidden = visible.length > 0;
  at("empty").textContent = data.front.length ? "No point of the front passes the filter." : `The front is empty: nothing reaches the minimum ${data.score}.`;
  at("count").textContent = data.front.length ? `${whole(visible.length)} of ${whole(data.front.length)} shown` : "";
  markRows();
}
function markRows() {
  const rows = [...at("body").children];
  // One stop for the tab key; the arrow keys go on from there.
  const stop = selected.row && selected.row.isConnected ? selected.row : rows[0];
  for (const point of data.front) {
    point.row.setAttribute("aria-selected", String(point === selected));
    point.row.classList.toggle("hovered", point === hovered);
    point.row.tabIndex = point.row === stop ? 0 : -1;
  }
}
at("body").addEventListener("keydown", (event) => {
  const rows = [...at("body").children];
  const index = rows.indexOf(document.activeElement);
  if (index < 0) return;
  const next = { ArrowDown: index + 1, ArrowUp: index - 1, Home: 0, End: rows.length - 1 }[event.key];
  if (event.key === "Enter" || event.key === " ") select(everything[rows[index].dataset.key]);
  else if (next === undefined) return;
  else if (rows[next]) rows[next].focus();
  event.preventDefault();
});
function filter() {
  const [least, most] = [at("least-score").valueAsNumber, at("most-cost").valueAsNumber];
  // A hair below, because 85.1 % is no binary number: what is shown as 85.10 % passes "at least 85.1".
  visible = data.front.filter((p) => !(p.score < least / FACTOR - 1e-9) && !(p.cost > most * (1 + 1e-6)));
  hovered = null;
  drawTable();
  drawFront();
  show();
}
at("filter").addEventListener("submit", (event) => event.preventDefault());
at("filter").addEventListener("input", filter);
at("filter").addEventListener("reset", () => setTimeout(filter));

// ---- The same file as Exploration.to_csv writes.
const number = (value) => (Number.isInteger(value) ? `${value}.0` : String(value));
const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text);
const safe = (name) => quoted(/^[=+\-@\t\r]/.test(name) ? `'${name}` : name);  // no formula in a spreadsheet
function csv() {
  const rows = [[safe(data.score_column), ...(EXPECTED ? ["expected_score"] : []), "total_bits", "mean_bits", ...(OWN_COST ? [safe(data.cost_column)] : []), ...data.other_costs.map(([, column]) => safe(column)), ...data.columns.map(safe)]];
  for (const p of data.front) {
    rows.push([number(p.score), ...(EXPECTED ? [number(p.expected)] : []), p.total, number(p.mean), ...costs(p).map(([, value]) => number(value)), ...p.widths.map((w) => w || "")]);
  }
  return rows.map((row) => row.join(",") + "\n").join("");
}
at("download").disabled = !data.front.length;
at("download").addEventListener("click", () => {
  const link = make("a", undefined, { href: URL.createObjectURL(new Blob([csv()], { type: "text/csv" })), download: "front.csv" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
});

// ---- The sensitivities, with the widths of the point that is shown.
const table = data.sensitivities;
const sensitivities = table ? [...at("heatmap").tBodies[0].rows] : [];
// The cell of each layer's width; float has none.
function outline() {
  const point = hovered || selected;
  sensitivities.forEach((row, index) => {
    const chosen = table.widths.indexOf(point.widths[index]);
    [...row.querySelectorAll("td")].forEach((cell, column) => cell.classList.toggle("shown", column === chosen));
  });
}

// ---- The links between them.
let waiting = false;
function show() {
  drawStrip();
  markRows();
  placeRing();
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    outline();
  });
}
function hover(point) {
  if (point === hovered) return;
  hovered = point;
  show();
}
function select(point) {
  selected = point;
  hovered = null;
  show();
  if (!point.row || !point.row.isConnected) return;
  // Into the middle of the table, without moving the page.
  const box = at("rows");
  const away = point.row.offsetTop - box.scrollTop;
  if (away < point.row.offsetHeight || away > box.clientHeight - point.row.offsetHeight) {
    box.scrollTop = point.row.offsetTop - box.clientHeight / 2;
  }
}
drawTable();
drawStrip();
drawFront().then(() => {
  const plot = at("plot");
  plot.on("plotly_hover", (event) => hover(everything[event.points[0].customdata]));
  plot.on("plotly_unhover", () => hover(null));
  plot.on("plotly_click", (event) => select(everything[event.points[0].customdata]));
  plot.on("plotly_afterplot", placeRing);
  select(selected);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawFront);
  document.documentElement.dataset.ready = "yes";
});
