"""A PNG for each test: grouped bars, batch sizes (or models) across, a bar for each series."""

import io
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speed_test import replaced
from speed_test.compare.shown import graded

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Sets that colour-blind people can tell apart: strong ones of Okabe and Ito for measured machines, with a dark
# edge (https://jfly.uni-koeln.de/color/), Paul Tol's light ones for published ones (https://sronpersonalpages.nl/~pault/).
MEASURED = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
PUBLISHED = ("#77AADD", "#EE8866", "#EEDD88", "#FFAABB", "#44BB99", "#BBCC33", "#AAAA00", "#DDDDDD")
FAILED = "#B00020"
# Pattern as the page names it -> as matplotlib does.
HATCHES = {"": "", "/": "///", ".": "...", "x": "xxx"}
MAX_SERIES = 24  # in a chart; more make it too wide for any screen
MAX_GROUPS = 30
MAX_CHARTS = 60  # each takes a third of a second
LOG_FROM = 20  # if the slowest takes so many times as long as the fastest, a linear scale would hide the fastest

# Inches, at DPI dots each.
DPI = 100
NARROWEST = 9.0
BAR = 0.26  # so much a bar's figure needs, written upright
PLOT_HEIGHT = 5.2
LEGEND_ROW = 0.215
LEGEND_COLUMN = 4.4
TITLE_HEIGHT = 0.45
# Parts of the distance between two groups.
GROUP_WIDTH = 0.86
# Room above the highest bar for its figure: a part of the axis.
HEADROOM = 0.22
# How a figure stands above its bar: upright, 3 points from it.
UPRIGHT: dict[str, Any] = {
    "xytext": (0, 3),
    "textcoords": "offset points",
    "rotation": 90,
    "ha": "center",
    "va": "bottom",
    "fontsize": 9,
    "parse_math": False,  # else two "$" in a status would be read as mathematics
}


def looks(cells: "pd.DataFrame") -> dict[str, tuple[str, str]]:
    """series -> colour and pattern: the same in all charts, and different for the first 16 of a kind (32 published)."""
    patterns = list(HATCHES)
    found = {}
    for published, colours in ((False, MEASURED), (True, PUBLISHED)):
        for number, series in enumerate(cells.loc[cells["published"] == published, "series"].unique()):
            found[series] = colours[number % len(colours)], patterns[number // len(colours) % len(patterns)]
    return found


def scale(test: "pd.DataFrame") -> str:
    """ "log" if the bars of a test need a logarithmic scale, else "linear"."""
    median = test["median"]
    return "log" if median.max() > LOG_FROM * median.min() else "linear"


def chosen_for_chart(cells: "pd.DataFrame") -> "pd.Series":
    """For each cell whether it is drawn: of each test the MAX_SERIES that are the fastest at their best, and the
    MAX_GROUPS batch sizes that most series have; of all tests the MAX_CHARTS that most machines have."""
    machines = cells.groupby("test", sort=False)["machine"].nunique().sort_values(ascending=False, kind="stable")
    fastest = cells.groupby(["test", "series"], sort=False)["cost"].min().dropna().reset_index()
    fastest["place"] = fastest.groupby("test")["cost"].rank(method="first")
    fastest["in_chart"] = fastest["place"] <= MAX_SERIES
    every = cells.groupby("test")["series"].transform("nunique") <= MAX_SERIES
    found = cells[["test", "series"]].merge(fastest, how="left", on=["test", "series"])["in_chart"]
    chosen = every | found.set_axis(cells.index).eq(True)  # NaN if nothing worked
    drawn = cells[chosen]
    many = drawn.groupby("test")["group"].transform("nunique") > MAX_GROUPS
    for _, test in drawn[many].groupby("test", sort=False):
        chosen[test.index] = test["group"].isin(_frequent_groups(test))
    return chosen & cells["test"].isin(machines.index[:MAX_CHARTS])


def _frequent_groups(test: "pd.DataFrame") -> list[str]:
    """The MAX_GROUPS groups that most series have. Of groups that equally many have, an even choice is taken."""
    groups = test.sort_values(["batch_size", "group"]).drop_duplicates("group")["group"]
    frequency = groups.map(test["group"].value_counts())
    found: list[str] = []
    for _, some in sorted(groups.groupby(frequency), reverse=True):
        room = min(MAX_GROUPS - len(found), len(some))
        found += [some.iloc[round(place * (len(some) - 1) / max(1, room - 1))] for place in range(room)]
    return found


def heading(test: "pd.DataFrame", drawn: "pd.DataFrame") -> str:
    """The title of a test, and what of it is not `drawn`."""
    left_out = []
    shown, there = drawn["series"].nunique(), test["series"].nunique()
    if shown < there:
        left_out.append(f"the {shown} fastest of {there:,}")
    shown, there = drawn["group"].nunique(), test["group"].nunique()
    if shown < there:
        left_out.append(f"{shown} of {there:,} {test['across'].iloc[0]}s")
    return test["title"].iloc[0] + (f": {', '.join(left_out)}" if left_out else "")


def draw(test: "pd.DataFrame", look: dict[str, tuple[str, str]], path: Path) -> None:
    """Write the chart of one test's cells (see table.cells) to `path`, a .png. `look` is what looks() says.

    Raises OSError if that cannot be done.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    every = test
    test = every[chosen_for_chart(every)]
    groups = list(test.sort_values(["batch_size", "group"])["group"].unique())
    labels = list(test["label"].unique())
    wide = max(NARROWEST, BAR * (len(labels) + 1.2) * len(groups) + 1.2)
    columns = max(1, min(len(labels), int(wide // LEGEND_COLUMN)))
    legend_height = LEGEND_ROW * -(-len(labels) // columns) + 0.05
    height = PLOT_HEIGHT + legend_height
    figure, axes = plt.subplots(figsize=(wide, height), dpi=DPI)
    try:
        # Letters that the font lacks are drawn as boxes; each would be warned of.
        with warnings.catch_warnings(action="ignore", category=UserWarning):
            _scale_axes(axes, test)
            _draw_bars(axes, test, look, groups)
            _label_axes(axes, test, groups)
            _write_heading(figure, heading(every, test), columns, height)
            figure.tight_layout(rect=(0, 0, 1, 1 - (TITLE_HEIGHT + legend_height) / height))
            image = io.BytesIO()
            figure.savefig(image, format="png")
            path.parent.mkdir(parents=True, exist_ok=True)
            replaced.write(path, image.getvalue())
    finally:
        plt.close(figure)


def _foot(test: "pd.DataFrame") -> float:
    """Where bars stand: a logarithmic scale has no 0."""
    return test["median"].min() / 2 if scale(test) == "log" else 0.0


def _scale_axes(axes: "Axes", test: "pd.DataFrame") -> None:
    foot, top = _foot(test), test["median"].max()
    if scale(test) == "log":
        axes.set_yscale("log")
        axes.set_ylim(foot, top * (top / foot) ** HEADROOM)
        axes.yaxis.set_minor_formatter("")
    else:
        axes.set_ylim(0, (top if top > 0 else 1) * (1 + HEADROOM))  # NaN, if nothing worked, is not above 0
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")


def _draw_bars(axes: "Axes", test: "pd.DataFrame", look: dict[str, tuple[str, str]], groups: list[str]) -> None:
    foot = _foot(test)
    width = GROUP_WIDTH / test["series"].nunique()
    for number, (series, cells) in enumerate(test.groupby("series", sort=False)):
        colour, pattern = look[str(series)]
        measured = not cells["published"].iloc[0]
        places = cells["group"].map(groups.index) - GROUP_WIDTH / 2 + width * (number + 0.5)
        done = cells["count"] > 0
        axes.bar(
            places[done],
            cells.loc[done, "median"] - foot,
            width,
            bottom=foot,
            color=colour,
            hatch=HATCHES[pattern],
            edgecolor="black" if measured else "white",
            linewidth=1.2 if measured else 0.5,
            label=re.sub("^_", " _", cells["label"].iloc[0]),  # matplotlib hides a label that begins with "_"
        )
        for place, median, text, grade in zip(places, cells["median"], cells["text"], cells["grade"], strict=True):
            if median > 0:
                axes.annotate(
                    graded(text, grade), (place, median), **UPRIGHT, fontweight="bold" if measured else "normal"
                )
            else:
                axes.annotate(text, (place, foot), **UPRIGHT, color=FAILED, fontstyle="italic")


def _label_axes(axes: "Axes", test: "pd.DataFrame", groups: list[str]) -> None:
    said = f"{test['better'].iloc[0]} is better" + (", logarithmic" if scale(test) == "log" else "")
    axes.set_ylabel(f"{test['unit'].iloc[0]}\n({said})", fontsize=11, parse_math=False)
    axes.set_xlabel(test["across"].iloc[0], fontsize=11)
    axes.set_xticks(range(len(groups)), groups, fontsize=11, parse_math=False)
    axes.set_xlim(-0.55, len(groups) - 0.45)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.7)
    axes.tick_params(axis="x", length=0)


def _write_heading(figure: "Figure", text: str, columns: int, height: float) -> None:
    """Title and legend above the plot, `height` inches high in all."""
    title = figure.suptitle(text, fontsize=14, fontweight="bold", x=0.01, ha="left", y=1 - 0.1 / height, va="top")
    title.set_parse_math(False)
    legend = figure.legend(
        loc="upper left",
        bbox_to_anchor=(0.005, 1 - (TITLE_HEIGHT - 0.03) / height),
        ncols=columns,
        frameon=False,
        fontsize=10,
        handlelength=1.4,
        columnspacing=1.5,
    )
    for label in legend.get_texts():
        label.set_parse_math(False)
