"use strict";

// The speed of each run over time: for each cell a small picture with a line for each run, from the records' curves.

const CURVE_WIDTH = 240;
const CURVE_HEIGHT = 70;
const MOST_CURVES = 24; // in a test
const LEAST_RANGE = 0.25; // of the highest value: else noise of a percent would look like mountains

function drawing(name, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function asDuration(seconds) {
  if (seconds < 120) return `${seconds.toFixed(0)} s`;
  return seconds < 7200 ? `${(seconds / 60).toFixed(0)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

function asRate(value) {
  return value.toLocaleString("en-US", { maximumSignificantDigits: value < 1000 ? 3 : 4 });
}

function curve(cell) {
  const points = cell.curves.flatMap(run => run.points);
  const end = Math.max(...points.map(([seconds]) => seconds));
  const rates = points.map(([, rate]) => rate);
  const top = Math.max(...rates);
  const foot = Math.min(...rates, top * (1 - LEAST_RANGE));
  const left = 48;
  const x = seconds => left + ((CURVE_WIDTH - left - 4) * seconds) / end;
  const y = rate => 6 + ((CURVE_HEIGHT - 26) * (top - rate)) / (top - foot);
  const text = (where, said) => drawing("text", { "font-size": 11, fill: "#666", ...where }, said);
  const lines = cell.curves.map(run => drawing("polyline", {
    fill: "none", stroke: cell.colour, "stroke-width": 1.5, "stroke-linejoin": "round",
    // A block is level from its start to its end, as its rate is that of all of it.
    points: run.points.flatMap(([seconds, rate], place) =>
      [[place ? run.points[place - 1][0] : 0, rate], [seconds, rate]])
      .map(([seconds, rate]) => `${x(seconds).toFixed(1)},${y(rate).toFixed(1)}`).join(" "),
  }, drawing("title", {}, run.words)));
  const picture = drawing("svg", {
    viewBox: `0 0 ${CURVE_WIDTH} ${CURVE_HEIGHT}`, width: CURVE_WIDTH, height: CURVE_HEIGHT, role: "img",
    "aria-label": `Speed over time: ${cell.curves.at(-1).words}`,
  },
  drawing("path", { d: `M${left} 2V${CURVE_HEIGHT - 18}H${CURVE_WIDTH - 2}`, fill: "none", stroke: "#bbb" }),
  text({ x: left - 4, y: 12, "text-anchor": "end" }, asRate(top)),
  text({ x: left - 4, y: CURVE_HEIGHT - 19, "text-anchor": "end" }, asRate(foot)),
  text({ x: CURVE_WIDTH - 2, y: CURVE_HEIGHT - 4, "text-anchor": "end" }, asDuration(end)),
  ...lines);
  const runs = cell.curves.length > 1 ? `; the last of ${cell.curves.length} runs` : "";
  return element("figure", {}, picture, element("figcaption", {},
    element("b", {}, cell.across ? `${cell.label}, ${cell.across} ${cell.group}` : cell.label),
    ` ${cell.curves.at(-1).words}${runs}`));
}

// What is shown below the tables of a test; nothing, if no run of it has blocks.
function curves(test) {
  const own = test.cells.filter(cell => cell.curves.length);
  if (!own.length) return [];
  const unit = test.first.across === "model" ? test.first.unit : "samples per second";
  const more = own.length > MOST_CURVES ? `; ${MOST_CURVES} of ${own.length.toLocaleString("en-US")}` : "";
  return [element("p", {}, `Speed of each run over time, ${unit}${more}`),
    element("div", { className: "curves" }, ...own.slice(0, MOST_CURVES).map(curve))];
}
