"use strict";

// The charts of page.js: for each test grouped bars, upright, or lying where upright ones would be too narrow.

const LONGEST_LABEL = 14; // characters of a model's name on a line below its bars
const LONGEST_REASON = 60; // on a line under the mouse
const BAR_UPRIGHT = 15; // pixels that a bar needs for its figure, written upright
const BAR_ACROSS = 15; // and for one written from left to right
const WIDEST_BAR = 60;
const MIN_WIDTH = 400;
const HEADROOM = 0.22; // of the axis, above the highest bar, for its figure
const hidden = new Set(); // series that are hidden, by test and series

// Plotly reads a little HTML in labels and in the text under the mouse, and mathematics between two "$".
function plain(text) {
  return text.replace(/[&<>$]/g, letter => `&#${letter.charCodeAt(0)};`);
}

function wrapped(text, longest = LONGEST_LABEL) {
  const lines = [""];
  for (const word of text.split(" ")) {
    const longer = `${lines.at(-1)} ${word}`.trim();
    if (longer.length > longest && lines.at(-1)) lines.push(word);
    else lines[lines.length - 1] = longer;
  }
  return lines.map(plain).join("<br>");
}

// Digits of the ticks of a logarithmic axis, from many to few.
const LOG_TICKS = [[1, 2, 5], [1, 3], [1]];

// The axis of the values, on so many pixels, and the height of a bar that can just be seen. A logarithmic axis has no 0.
function valueAxis(test, isLog, isUpright, pixels) {
  const values = test.cells.filter(cell => cell.in_chart && cell.median !== null).map(cell => cell.median);
  const top = Math.max(...values, 0) || 1;
  const axis = { fixedrange: true, gridcolor: "#ddd", automargin: true, nticks: isUpright ? 7 : 5, tickformat: ",", tickangle: 0 };
  if (!isLog || !values.length)
    return { stub: top / 1000, axis: { ...axis, type: "linear", range: [0, top * (1 + HEADROOM)] } };
  const foot = Math.min(...values) / 2;
  const range = [Math.log10(foot), Math.log10(top * (top / foot) ** HEADROOM)];
  const room = pixels / (isUpright ? 25 : 50);
  const digits = LOG_TICKS.find(some => some.length * (range[1] - range[0]) <= room) || [1];
  const ticks = [];
  for (let power = Math.floor(range[0]); power <= range[1]; power++)
    ticks.push(...digits.map(digit => Number(`${digit}e${power}`)));
  const ticktext = ticks.map(tick => tick.toLocaleString("en-US", { maximumFractionDigits: 9 }));
  return { stub: foot * 1.005, axis: { ...axis, type: "log", range, tickvals: ticks, ticktext } };
}

// The bars of a series. What did not work has a bar of the height `stub`: Plotly writes no text at one of height 0.
function trace(test, series, base, stub, isUpright) {
  const first = series[0];
  const values = series.map(cell => (cell.median === null ? stub : cell.median));
  const groups = series.map(cell => cell.group);
  return {
    type: "bar",
    orientation: isUpright ? "v" : "h",
    name: plain(first.label),
    x: isUpright ? groups : values,
    y: isUpright ? values : groups,
    visible: !hidden.has(`${test.id} ${first.series}`),
    text: series.map(cell => plain(graded(cell))),
    textposition: "outside",
    textangle: isUpright ? -90 : 0,
    textfont: { size: 11, color: series.map(cell => (cell.median === null ? "#B00020" : "#222")) },
    cliponaxis: false,
    constraintext: "none",
    marker: {
      color: first.colour,
      pattern: { shape: first.pattern, fillmode: "overlay", fgcolor: "#000", fgopacity: 0.6 },
      line: { color: first.published ? "#fff" : "#000", width: first.published ? 0.5 : 1.5 },
    },
    customdata: series.map(cell => [
      ratio(cell, at(base, cell.group)).replace("\n", " ") || "not comparable", plain(cell.spread),
      plain(cell.shown).replace("\n", " "), plain(cell.group), wrapped(cell.grade_reason, LONGEST_REASON)]),
    hovertemplate: "<b>%{fullData.name}</b><br>%{customdata[3]}: %{customdata[2]} %{customdata[1]}<br>"
      + "speed against the baseline: %{customdata[0]}<br>%{customdata[4]}<extra></extra>",
  };
}

function draw(test) {
  if (!test.drawn.length) return;
  const place = document.getElementById(`${test.id}-chart`);
  const base = baseSeries(test);
  const { drawn, drawnGroups } = test;
  const bars = drawnGroups.length * (drawn.length + 0.5);
  const width = Math.min(place.clientWidth, Math.max(MIN_WIDTH, bars * WIDEST_BAR + 70));
  const isUpright = (width - 70) / bars >= BAR_UPRIGHT;
  const isLog = (scale.value === "auto" ? test.first.scale : scale.value) === "log";
  const height = isUpright ? 440 : 60 + BAR_ACROSS * bars * 1.1;
  const { stub, axis } = valueAxis(test, isLog, isUpright, (isUpright ? height : width) - 70);
  const groupAxis = {
    type: "category", categoryorder: "array", categoryarray: drawnGroups, tickvals: drawnGroups,
    ticktext: drawnGroups.map(wrapped), fixedrange: true, automargin: true, ticks: "", tickangle: 0,
    title: { text: test.first.across, standoff: 8 }, autorange: isUpright ? true : "reversed",
  };
  const layout = {
    barmode: "group", bargap: 0.14, showlegend: false, dragmode: false, width, height,
    margin: isUpright ? { l: 55, r: 8, t: 12, b: 50 } : { l: 55, r: 8, t: 35, b: 15 },
    font: { family: "system-ui, sans-serif", size: 12, color: "#222" },
    xaxis: isUpright ? groupAxis : { ...axis, side: "top" },
    yaxis: isUpright ? axis : groupAxis,
    hoverlabel: { align: "left", namelength: -1 },
    plot_bgcolor: "#fff", paper_bgcolor: "#fff",
  };
  document.getElementById(`${test.id}-scale`).textContent = isLog ? "; logarithmic scale" : "";
  const traces = drawn.map(series => trace(test, series, base, stub, isUpright));
  Plotly.react(place, traces, layout, { displayModeBar: false, responsive: false });
}

function legend(test) {
  const items = test.drawn.map(([first]) => {
    const swatch = element("span", { className: "swatch" });
    swatch.style.backgroundColor = first.colour;
    swatch.dataset.pattern = first.pattern;
    const button = element("button", { type: "button" }, swatch, first.label);
    button.setAttribute("aria-pressed", "true");
    button.addEventListener("click", () => {
      const key = `${test.id} ${first.series}`;
      if (!hidden.delete(key)) hidden.add(key);
      button.setAttribute("aria-pressed", String(!hidden.has(key)));
      draw(test);
    });
    return element("li", { className: classes(first, false) }, button);
  });
  return element("ul", { className: "legend" }, ...items);
}
