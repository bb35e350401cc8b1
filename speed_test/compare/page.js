"use strict";

// The records that compare_results.py --format=json prints: first one for each machine over all tests, then the cells.
const records = JSON.parse(document.getElementById("data").textContent);
const machines = records.filter(record => record.chart === null);
const cells = records.filter(record => record.chart !== null);
const tests = [...Map.groupBy(cells, cell => cell.test)].map(([id, own]) => ({
  id,
  cells: own,
  first: own[0],
  groups: inOrder(own),
  series: [...Map.groupBy(own, cell => cell.series).values()],
  // What the chart shows of them: not more than anybody could look at.
  drawn: [...Map.groupBy(own.filter(cell => cell.in_chart), cell => cell.series).values()],
  drawnGroups: inOrder(own.filter(cell => cell.in_chart)),
}));
const cellsByGroup = new Map(tests.flatMap(test => test.series)
  .map(series => [series, new Map(series.map(cell => [cell.group, cell]))]));
const baseline = document.getElementById("baseline");
const scale = document.getElementById("scale");
const EACH_TESTS_OWN = "";
const MOST_WARNINGS = 30;

// Batch sizes by number, models by name.
function inOrder(own) {
  const groups = new Map(own.map(cell => [cell.group, cell.batch_size]));
  const sorted = [...groups].sort(([a, size], [b, other]) => size - other || (a < b ? -1 : a > b ? 1 : 0));
  return sorted.map(([group]) => group);
}

// ---- Who is compared with whom ----

// The machine that the overview compares with.
function baseMachine() {
  return baseline.value === EACH_TESTS_OWN ? machines[0].baseline_series : baseline.value;
}

// The cells of the series that a test compares with.
function baseSeries(test) {
  let wanted = test.first.baseline_series;
  if (baseline.value !== EACH_TESTS_OWN) {
    const own = test.cells.find(cell => cell.machine_key === baseline.value && cell.represents_machine);
    wanted = own ? own.series : test.first.slowest_series;
  }
  return test.series.find(series => series[0].series === wanted);
}

function at(series, group) {
  return cellsByGroup.get(series).get(group);
}

// ---- Tables. Text from CSVs is shown by textContent, never as markup. ----

const sorting = new Map(); // id of a table -> heading and direction, which outlast another baseline

function element(name, attributes = {}, ...children) {
  const made = Object.assign(document.createElement(name), attributes);
  made.append(...children);
  return made;
}

// A cell of one or two lines, with a tooltip.
function figureCell(text, title, className = "") {
  const [first, second] = text.split("\n");
  const made = element("td", { title, className: `${className} ${title ? "told" : ""}`.trim() }, first);
  if (second) made.append("\n", element("small", {}, second));
  return made;
}

// `rows` have a head, cells, and the classes and data-id of their line; a cell is a text, or an element.
function table(id, headings, rows) {
  const head = element("tr");
  headings.forEach((heading, place) => {
    const button = element("button", { type: "button", textContent: heading });
    const header = element("th", { scope: "col" }, button);
    button.addEventListener("click", () => {
      const up = header.getAttribute("aria-sort") !== "ascending";
      sorting.set(id, { heading, up });
      sort(made, place, up);
    });
    head.append(header);
  });
  const body = element("tbody");
  for (const row of rows) {
    const line = element("tr", { className: row.classes }, element("th", { scope: "row", textContent: row.head }));
    line.dataset.id = row.id;
    for (const cell of row.cells) line.append(typeof cell === "string" ? element("td", { textContent: cell }) : cell);
    body.append(line);
  }
  const made = element("table", { id }, element("thead", {}, head), body);
  const sorted = sorting.get(id);
  if (sorted && headings.includes(sorted.heading)) sort(made, headings.indexOf(sorted.heading), sorted.up);
  return made;
}

function sortValue(row, place) {
  const text = row.cells[place].textContent;
  if (place === 0) return text.toLowerCase();
  const number = parseFloat(text.replace(/,/g, ""));
  return text.startsWith("same") ? 1 : isNaN(number) ? Infinity : number;
}

function sort(sorted, place, up) {
  const headers = [...sorted.tHead.rows[0].cells];
  headers.forEach(header => header.removeAttribute("aria-sort"));
  headers[place].setAttribute("aria-sort", up ? "ascending" : "descending");
  const rows = [...sorted.tBodies[0].rows].map(row => [sortValue(row, place), row]);
  // What has no figure stands at the end in both directions.
  rows.sort(([a], [b]) => (a === b ? 0 : a === Infinity ? 1 : b === Infinity ? -1 : (a < b ? -1 : 1) * (up ? 1 : -1)));
  sorted.tBodies[0].append(...rows.map(([, row]) => row));
}

function classes(record, isBase) {
  return [record.published ? "" : "measured", isBase ? "base" : ""].join(" ").trim();
}

// What the figures of the overview are: the most frequent unit once, any other one with its column.
function unitsOf(shown) {
  const units = new Map(shown.map(cell => [cell.overview, `${cell.unit}, ${cell.better} is better`]));
  const count = unit => [...units.values()].filter(other => other === unit).length;
  const usual = [...units.values()].reduce((most, unit) => (count(unit) > count(most) ? unit : most));
  const others = [...units].filter(([, unit]) => unit !== usual).map(([column, unit]) => `${column}: ${unit}`);
  return [usual, ...others].join("; ");
}

function graded(cell) {
  return cell.grade ? `${cell.text} ${cell.grade}` : cell.text;
}

function showOverview() {
  const base = machines.find(machine => machine.machine_key === baseMachine());
  const shown = cells.filter(cell => cell.overview !== null);
  const columns = [...new Set(shown.map(cell => cell.overview))];
  const places = new Map(shown.map(cell => [`${cell.machine_key}\n${cell.overview}`, cell]));
  const find = (machine, column) => places.get(`${machine.machine_key}\n${column}`);
  const lines = machines.map(machine => {
    const speeds = columns.map(column => [find(machine, column), find(base, column)])
      .filter(([own, other]) => speed(own, other) !== null)
      .map(([own, other]) => ({ test: own.test, speed: speed(own, other) }));
    const byTest = [...Map.groupBy(speeds, one => one.test).values()]
      .map(some => geometricMean(some.map(one => one.speed)));
    return { machine, tests: byTest.length, overall: byTest.length ? geometricMean(byTest) : null };
  });
  const fastest = Math.max(...lines.map(line => line.overall || 0));
  const rows = lines.map(({ machine, tests: count, overall }) => {
    const bar = element("td", { className: "overall", textContent: asText(overall) });
    const part = `${(100 * (overall || 0)) / fastest}%`;
    bar.style.backgroundSize = `${part} 0.25rem`;
    const figures = columns.map(column => {
      const own = find(machine, column);
      const [times] = own ? ratio(own, find(base, column)).split("\n") : [""];
      return own ? figureCell(graded(own) + (times && ` (${times})`), own.grade_reason) : "";
    });
    return { id: machine.machine_key, head: machine.label, classes: classes(machine, machine === base),
      cells: [bar, String(count), ...figures] };
  });
  document.getElementById("overview-base").textContent = base.label;
  document.getElementById("overview-units").textContent = unitsOf(shown);
  document.getElementById("overview").replaceChildren(
    table("overview-table", ["machine", "overall", "tests", ...columns], rows));
}

function figuresTable(test) {
  const rows = test.series.map(series => ({
    id: series[0].series, head: series[0].label, classes: classes(series[0], false),
    cells: test.groups.map(group => {
      const cell = at(series, group);
      const failed = cell && cell.median === null;
      return cell ? figureCell(cell.shown, cell.grade_reason, failed ? "failed" : "") : "";
    }),
  }));
  return table(`${test.id}-times`, ["machine", ...test.groups], rows);
}

function speedsTable(test) {
  const base = baseSeries(test);
  const groups = test.groups.filter(group => at(base, group) && at(base, group).median !== null);
  const best = series => series.find(cell => cell.is_best);
  const hasBest = test.cells.some(cell => cell.is_best);
  const rows = test.series.map(series => ({
    id: series[0].series, head: series[0].label, classes: classes(series[0], series === base),
    cells: [...groups.map(group => [at(series, group), at(base, group)]), ...(hasBest ? [[best(series), best(base)]] : [])]
      .map(([cell, other]) => figureCell(ratio(cell, other), inWords(cell, other))),
  }));
  return table(`${test.id}-speeds`, ["machine", ...groups, ...(hasBest ? ["best"] : [])],
    rows.filter(row => row.cells.some(cell => cell.textContent)));
}

// How well several processes work together; nothing, if no machine has figures of several and of one.
function scalingTable(test) {
  const own = test.cells.filter(cell => cell.scaling_text);
  if (!own.length) return [];
  const groups = inOrder(own);
  const said = cell => (cell && cell.scaling_text
    ? figureCell(cell.scaling_text, `${cell.num_processes} processes: ${asText(cell.scaling_speed)} times one`) : "");
  const rows = test.series.filter(series => series.some(cell => cell.scaling_text)).map(series => ({
    id: series[0].series, head: series[0].label, classes: classes(series[0], false),
    cells: groups.map(group => said(at(series, group))),
  }));
  return [element("p", {}, "Scaling efficiency: the speed of several processes over that of as many times one, at the "
    + "same batch size for each process; in brackets how many times as fast as one they are"),
    element("div", { className: "scroll" }, table(`${test.id}-scaling`, ["machine", ...groups], rows))];
}

// Samples, or tokens, per joule; nothing, if no machine told its energy.
function energyTable(test) {
  const own = test.cells.filter(cell => cell.per_joule_text);
  if (!own.length) return [];
  const groups = inOrder(own);
  const rows = test.series.filter(series => series.some(cell => cell.per_joule_text)).map(series => ({
    id: series[0].series, head: series[0].label, classes: classes(series[0], false),
    cells: groups.map(group => (at(series, group) || { per_joule_text: "" }).per_joule_text),
  }));
  const what = test.first.across === "model" ? "Tokens" : "Samples";
  return [element("p", {}, `${what} per joule; higher is better`),
    element("div", { className: "scroll" }, table(`${test.id}-energy`, ["machine", ...groups], rows))];
}

// What may have slowed a machine down, so that a comparison with it is worth less: a note for each machine and thing.
function showWarnings() {
  const found = new Map();
  for (const cell of cells.filter(own => own.warnings)) {
    for (const warning of cell.warnings.split(", ")) {
      const key = `${cell.machine_key}\n${warning}`;
      if (!found.has(key)) found.set(key, { said: `${cell.machine} was ${warning}`, titles: new Set() });
      found.get(key).titles.add(cell.title);
    }
  }
  const notes = [...found.values()].map(({ said, titles }) =>
    element("li", {}, `${said} (${titles.size > 1 ? `${titles.size} tests` : [...titles][0]})`));
  document.getElementById("warnings").append(...notes.slice(0, MOST_WARNINGS));
}

// ---- The page ----

function leftOutOfChart({ first, series, drawn, groups, drawnGroups }) {
  const parts = [];
  if (!drawn.length) return "; without a chart, as there are so many tests";
  if (drawn.length < series.length) parts.push(`the ${drawn.length} fastest of ${series.length.toLocaleString("en-US")}`);
  if (drawnGroups.length < groups.length)
    parts.push(`${drawnGroups.length} of ${groups.length.toLocaleString("en-US")} ${first.across}s`);
  return parts.length ? `; the chart shows ${parts.join(", ")}` : "";
}

function addSection(test) {
  const { title, unit, better } = test.first;
  const leftOut = leftOutOfChart(test);
  const section = element("section", {},
    element("h2", { id: `${test.id}-title`, textContent: title }),
    element("p", {}, `${unit.charAt(0).toUpperCase()}${unit.slice(1)}, median; ${better} is better${leftOut}`,
      element("span", { id: `${test.id}-scale` })),
    legend(test),
    element("div", { id: `${test.id}-chart`, className: "chart" }),
    element("div", { className: "scroll" }, figuresTable(test)),
    element("p", {}, "Speed, ", element("b", { id: `${test.id}-base` }), " being 1; higher is better"),
    element("div", { className: "scroll", id: `${test.id}-speeds-place` }),
    ...scalingTable(test), ...energyTable(test), ...curves(test));
  section.setAttribute("aria-labelledby", `${test.id}-title`);
  document.querySelector("main").append(section);
}

function compare() {
  showOverview();
  for (const test of tests) {
    document.getElementById(`${test.id}-base`).textContent = baseSeries(test)[0].label;
    document.getElementById(`${test.id}-speeds-place`).replaceChildren(speedsTable(test));
    draw(test);
  }
}

// Whether some test is compared with another machine than the overview, though it has figures of that one.
function eachHasItsOwn() {
  return tests.some(test => {
    const own = test.cells.find(cell => cell.machine_key === machines[0].baseline_series && cell.represents_machine);
    return own && own.series !== test.first.baseline_series;
  });
}

if (eachHasItsOwn()) baseline.append(new Option("each test's slowest", EACH_TESTS_OWN));
for (const machine of [...machines].sort((a, b) => (a.label < b.label ? -1 : 1)))
  baseline.append(new Option(machine.label, machine.machine_key));
baseline.value = eachHasItsOwn() ? EACH_TESTS_OWN : machines[0].baseline_series;
tests.forEach(addSection);
showWarnings();
compare();
baseline.addEventListener("change", compare);
scale.addEventListener("change", () => tests.forEach(draw));
let lastWidth = document.body.clientWidth;
window.addEventListener("resize", () => {
  if (document.body.clientWidth === lastWidth) return; // on a phone, scrolling changes the height
  lastWidth = document.body.clientWidth;
  tests.forEach(draw);
});
