"""One page with all figures, to look into: charts that tell their values, a baseline to choose, tables to sort.

It is a single file that asks the network for nothing: Plotly's code, 5 MB of it, stands inside.
"""

import html
import json
from pathlib import Path

from speed_test.charts import is_wide, label, looks, number
from speed_test.comparison import EXPERIMENTS, Series, Title, groups

# A pattern for each of the charts' hatches, in Plotly's words.
SHAPES = {"": "", "///": "/", "...": ".", "xxx": "x"}

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; color: #222; }
h2 { margin-top: 3rem; }
.controls { position: sticky; top: 0; z-index: 10; background: #fff; padding: .6rem 0; border-bottom: 1px solid #ccc; }
.controls label { margin-right: 1.5rem; }
select { font: inherit; max-width: 22rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; }
th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
thead th { cursor: pointer; border-bottom: 2px solid #888; }
thead th:focus-visible { outline: 2px solid #0072B2; }
th[aria-sort="ascending"]::after { content: " \\25B2"; }
th[aria-sort="descending"]::after { content: " \\25BC"; }
.failed { color: #B00020; font-style: italic; }
.measured td:first-child { font-weight: bold; }
"""

SCRIPT = """
const data = JSON.parse(document.getElementById("data").textContent);
const baseline = document.getElementById("baseline"), scale = document.getElementById("scale");

function speed(experiment, cell, base) {
  if (!cell || !base || cell.median === null || base.median === null) return null;
  return experiment.lower ? base.median / cell.median : cell.median / base.median;
}

function ratio(experiment, cell, base) {
  const value = speed(experiment, cell, base);
  if (value === null) return "";
  const tie = cell !== base && Math.max(cell.lowest, base.lowest) <= Math.min(cell.highest, base.highest);
  return tie ? "tie" : value.toFixed(value < 10 ? 2 : 1);
}

function best(experiment, series) {
  const done = Object.values(series.cells).filter(cell => cell.median !== null);
  done.sort((a, b) => experiment.lower ? a.median - b.median : b.median - a.median);
  return done[0];
}

function compare() {
  for (const experiment of data) {
    const wanted = experiment.series.find(one => one.id === baseline.value);
    const base = wanted || experiment.series.find(one => one.id === experiment.baseline);
    document.getElementById(experiment.name + "-base").textContent = base.label;
    const rows = document.querySelectorAll("#" + experiment.name + "-speeds tbody tr");
    for (const row of rows) {
      const one = experiment.series.find(series => series.id === row.dataset.id);
      experiment.groups.forEach((group, place) => {
        row.cells[place + 1].textContent = ratio(experiment, one.cells[group], base.cells[group]);
      });
      if (experiment.sizes)
        row.cells[experiment.groups.length + 1].textContent =
          ratio(experiment, best(experiment, one), best(experiment, base));
    }
    const hover = experiment.series.map(one => experiment.groups.map(group =>
      ratio(experiment, one.cells[group], base.cells[group]) || "not comparable"));
    Plotly.restyle(experiment.name + "-chart", {customdata: hover.map((speeds, place) => speeds.map(
      (text, number) => [text, experiment.series[place].spreads[number]]))});
  }
}

function rescale() {
  for (const experiment of data) {
    const type = scale.value === "auto" ? experiment.scale : scale.value;
    Plotly.relayout(experiment.name + "-chart", {"yaxis.type": type, "yaxis.autorange": true});
  }
}

function value(row, place) {
  const text = row.cells[place].textContent, number = parseFloat(text.replace(/,/g, ""));
  return place === 0 ? text.toLowerCase() : text === "tie" ? 1 : isNaN(number) ? Infinity : number;
}

function sort(header) {
  const table = header.closest("table"), place = header.cellIndex;
  const up = header.getAttribute("aria-sort") !== "ascending";
  for (const other of header.parentNode.cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", up ? "ascending" : "descending");
  const rows = [...table.tBodies[0].rows].map(row => [value(row, place), row]);
  // What has no figure stands at the end, whichever way it goes.
  rows.sort(([a], [b]) => (a === b ? 0 : a === Infinity ? 1 : b === Infinity ? -1 : (a < b ? -1 : 1) * (up ? 1 : -1)));
  table.tBodies[0].append(...rows.map(([, row]) => row));
}

for (const header of document.querySelectorAll("thead th")) {
  header.tabIndex = 0;
  header.addEventListener("click", () => sort(header));
  header.addEventListener("keydown", event => { if (event.key === "Enter") sort(header); });
}
baseline.addEventListener("change", compare);
scale.addEventListener("change", rescale);
compare();
"""


def write(together: dict[str, list[Series]], bases: dict[str, Series], path: Path) -> None:
    """Write the page to `path`. Raises OSError where that cannot be done."""
    from plotly.offline import get_plotlyjs

    machines = {one.machine.key: one.machine for some in together.values() for one in some}
    listed = sorted(machines.values(), key=lambda machine: machine.order)
    everyone = {one.id: label(one) for some in together.values() for one in some}
    chosen = [base.id for base in bases.values()]
    chosen = max(chosen, key=chosen.count)
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8"><title>ML Speed Test</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<link rel="icon" href="data:,">',  # or else the browser asks for one
        f"<style>{STYLE}</style>",
        f"<script>{get_plotlyjs()}</script>",
        "</head><body><h1>ML Speed Test</h1>",
        "<h2>Machines</h2><ul>",
        *(f"<li>{html.escape(one.label)}{' (published)' if one.published else ''}</li>" for one in listed),
        "</ul>",
        '<div class="controls"><label>Baseline <select id="baseline">',
        *(
            f'<option value="{html.escape(key)}"{" selected" if key == chosen else ""}>{html.escape(text)}</option>'
            for key, text in sorted(everyone.items(), key=lambda item: item[1])
        ),
        '</select></label><label>Scale <select id="scale">',
        '<option value="auto" selected>as it fits</option><option value="linear">linear</option>',
        '<option value="log">logarithmic</option></select></label></div>',
    ]
    look = looks(together)
    for name, some in together.items():
        parts += _experiment(name, EXPERIMENTS[name], some, look)
    content = json.dumps([_data(name, EXPERIMENTS[name], some, bases[name]) for name, some in together.items()])
    # Inside of a script element, only this could end it.
    content = content.replace("</", "<\\/")
    parts.append(f'<script type="application/json" id="data">{content}</script>')
    parts.append(f"<script>{SCRIPT}</script></body></html>")
    path.write_text("\n".join(parts), encoding="utf-8")


def _experiment(name: str, title: Title, some: list[Series], look: dict) -> list[str]:
    across = groups(some)
    sizes = ["best"] if title.across == "batch size" else []
    head = "".join(f"<th>{html.escape(str(group))}</th>" for group in across)
    best = "".join(f"<th>{text}</th>" for text in sizes)
    times, speeds = [], []
    for one in some:
        row = f'<tr data-id="{html.escape(one.id)}"{"" if one.machine.published else " class=measured"}>'
        row += f"<td>{html.escape(label(one))}</td>"
        times.append(row + "".join(_cell(one, group) for group in across) + "</tr>")
        speeds.append(row + "<td></td>" * (len(across) + len(sizes)) + "</tr>")
    return [
        f"<h2>{html.escape(str(title))}</h2>",
        f'<div class="scroll">{_chart(name, title, some, look)}</div>',
        f"<p>{title.unit.capitalize()}, median; {title.better}</p>",
        f'<div class="scroll"><table id="{name}-times"><thead><tr><th>machine</th>{head}</tr></thead><tbody>',
        *times,
        "</tbody></table></div>",
        f'<p>Speed, <b id="{name}-base"></b> being 1; higher is better</p>',
        f'<div class="scroll"><table id="{name}-speeds"><thead><tr><th>machine</th>{head}{best}</tr></thead><tbody>',
        *speeds,
        "</tbody></table></div>",
    ]


def _cell(one: Series, group: int | str) -> str:
    cell = one.cells.get(group)
    if cell is None:
        return "<td></td>"
    if not cell.values:
        return f'<td class="failed">{cell.status.replace("_", " ")}</td>'
    return f"<td>{number(cell.median)}</td>"


def _chart(name: str, title: Title, some: list[Series], look: dict) -> str:
    import plotly.graph_objects as go

    across = groups(some)
    figure = go.Figure()
    for one in some:
        colour, hatch = look[one.id]
        cells = [one.cells.get(group) for group in across]
        measured = not one.machine.published
        figure.add_bar(
            name=label(one),
            x=[str(group) for group in across],
            y=[cell.median if cell else None for cell in cells],
            text=[_text(cell) for cell in cells],
            textposition="outside",
            textangle=-90,
            cliponaxis=False,
            marker={
                "color": colour,
                "pattern": {"shape": SHAPES[hatch]},
                "line": {"color": "#000" if measured else "#fff", "width": 1.5 if measured else 0.5},
            },
            hovertemplate="<b>%{fullData.name}</b><br>%{x}: %{y:,.1f} %{customdata[1]}<br>"
            "speed against the baseline: %{customdata[0]}<extra></extra>",
        )
    figure.update_layout(
        barmode="group",
        template="plotly_white",
        height=560,
        width=max(1100, 26 * (len(some) + 1) * len(across)),
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        xaxis={"title": title.across, "type": "category"},
        yaxis={"title": f"{title.unit} ({title.better})", "type": _scale(some)},
        margin={"t": 40, "l": 70, "r": 20, "b": 60},
    )
    return figure.to_html(
        full_html=False, include_plotlyjs=False, div_id=f"{name}-chart", config={"displaylogo": False}
    )


def _text(cell) -> str:
    return "" if cell is None else number(cell.median) if cell.values else cell.status.replace("_", " ")


def _scale(some: list[Series]) -> str:
    return "log" if is_wide(some) else "linear"


def _data(name: str, title: Title, some: list[Series], base: Series) -> dict:
    across = groups(some)
    return {
        "name": name,
        "lower": title.lower_is_better,
        "sizes": title.across == "batch size",
        "groups": [str(group) for group in across],
        "scale": _scale(some),
        "baseline": base.id,
        "series": [
            {
                "id": one.id,
                "label": label(one),
                "spreads": [_spread(one.cells.get(group)) for group in across],
                "cells": {
                    str(group): {
                        "median": cell.median,
                        "lowest": min(cell.values, default=None),
                        "highest": max(cell.values, default=None),
                    }
                    for group, cell in one.cells.items()
                },
            }
            for one in some
        ],
    }


def _spread(cell) -> str:
    if cell is None or len(cell.values) < 2:
        return ""
    return f"({number(min(cell.values))} to {number(max(cell.values))}, {len(cell.values)} figures)"
