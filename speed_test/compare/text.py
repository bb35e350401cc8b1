"""The tables, for the terminal and as Markdown."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from speed_test.compare.speeds import overall
from speed_test.compare.table import label
from speed_test.screen import aligned, say

if TYPE_CHECKING:
    import pandas as pd

Lines = list[list[str]]

WIDTH = 80  # columns of a terminal
LONGEST_NAME = 56  # of a machine in a table on the screen; the other outputs have it whole
# The marks with a letter of their own, which stands beside the machine's name on the screen, and what they say.
LETTERS = {
    "published": "published in December 2023, of the same size as ours but not the same to\n"
    "    the percent: see published/README.md",
    "synthetic": "synthetic data or weights",
    "estimated": "estimated from a part of the epoch",
    "older": "measured with the older scripts that this project continues",
    "tf32": "may use TensorFloat-32",
    "compiled": "the training step was compiled as a whole",
}
TIE = "tie: from the lowest to the highest of their figures, the two overlap"
OVERALL = (
    "Speed over all tests: the geometric mean of the speeds at each test's best batch\n"
    "size, over the tests that the machine and the baseline both completed"
)


# ---- Tables: lines of cells ----


def names(cells: "pd.DataFrame") -> "pd.Series":
    """What a series is called on the screen: the machine, and a letter for each mark that has one."""
    letters = []
    for published, marks in zip(cells["published"], cells["marks"], strict=True):
        said = ["published", *marks] if published else list(marks)
        letters.append(", ".join(mark[0] if mark in LETTERS else mark for mark in said))
    return cells["name"] + [f" ({those})" if those else "" for those in letters]


def _pivot(cells: "pd.DataFrame", columns: str, values: str) -> Lines:
    """A line for each series, headed by its `line`, in the order of `cells`; columns in the order of batch sizes."""
    headings = cells.sort_values(["batch_size", "group"], kind="stable")[columns].unique()
    table = cells.pivot(index="series", columns=columns, values=values)
    table = table.reindex(index=cells["series"].unique(), columns=headings).fillna("")
    lines = cells.drop_duplicates("series")["line"]
    return [["", *headings], *([line, *row] for line, row in zip(lines, table.to_numpy().tolist(), strict=True))]


def figures_table(test: "pd.DataFrame") -> Lines:
    """The medians of one test."""
    return _pivot(test, "group", "text")


def speeds_table(test: "pd.DataFrame") -> Lines:
    """The speeds of one test at each batch size that the baseline has, and of each best against its best."""
    known = test.loc[(test["series"] == test["baseline_series"]) & (test["count"] > 0), "group"]
    lines = _pivot(test, "group", "speed_text")
    kept = [place for place, heading in enumerate(lines[0]) if place == 0 or heading in set(known)]
    lines = [[line[place] for place in kept] for line in lines]
    if test["is_best"].any():
        best = test[test["is_best"]].set_index("series")["best_text"]
        cells = ["best", *best.reindex(test["series"].unique()).fillna("")]
        lines = [[*line, cell] for line, cell in zip(lines, cells, strict=True)]
    return [lines[0], *(line for line in lines[1:] if any(line[1:]))]


def overview_table(compared: "pd.DataFrame", values: str = "overview_text") -> Lines:
    """A line for each machine: its speed over all tests, how many tests that are, and for each test the `values`:
    by default its best figure with the speed."""
    shown = compared[compared["overview"].notna()]
    table = shown.pivot(index="machine", columns="overview", values=values)
    headings = shown["overview"].unique()
    found = overall(compared)
    table = table.reindex(index=found["machine"], columns=headings).fillna("")
    return [
        ["machine", "overall", "tests", *headings],
        *(
            [label, text, str(tests), *row]
            for label, text, tests, row in zip(
                found["label"], found["text"], found["tests"], table.to_numpy().tolist(), strict=True
            )
        ),
    ]


def _tests(compared: "pd.DataFrame") -> Iterable["pd.DataFrame"]:
    return (test for _, test in compared.groupby("test", sort=False))


def _heading(test: "pd.DataFrame") -> tuple[str, str]:
    """Title, and what its figures are."""
    first = test.iloc[0]
    return first["title"], f"{first['unit']}, median; {first['better']} is better"


# ---- The terminal ----


def print_text(compared: "pd.DataFrame") -> None:
    """Print all tables, none wider than a terminal where it can be helped."""
    compared = compared.assign(line=names(compared))
    found = overall(compared)
    found["line"] = names(found.assign(name=found["machine_label"]))
    _print_overall(found)
    _print_overview(compared, found)
    for test in _tests(compared):
        say("\n{}\n{}\n".format(*_heading(test)))
        _print_aligned(figures_table(test))
        base = test.loc[test["series"] == test["baseline_series"], "line"].iloc[0]
        say(f"\nspeed, {base} being 1; higher is better\n")
        _print_aligned(speeds_table(test))
    say()
    said = {mark for marks in compared["marks"] for mark in marks}
    if compared["published"].any():
        said.add("published")
    for mark, what in LETTERS.items():
        if mark in said:
            say(f"({mark[0]}) {what}")
    if compared["tie"].any():
        say(TIE)


def _print_overall(found: "pd.DataFrame") -> None:
    base = found.loc[found["machine"] == found["overall_baseline"], "line"].iloc[0]
    say(f"{OVERALL};\n{base} being 1; higher is better\n")
    _print_aligned([["", "speed", "tests"], *found[["line", "text", "tests"]].astype(str).to_numpy().tolist()])


def _print_overview(compared: "pd.DataFrame", found: "pd.DataFrame") -> None:
    """Figures, and below them speeds: side by side they would be too wide."""
    figures, speeds = (overview_table(compared, values) for values in ("text", "overview_speed_text"))
    columns = figures[0][3:]
    say("\nBest figure of each test, and below it the speed against the baseline\n")
    for number, column in enumerate(columns, start=1):
        first = compared[compared["overview"] == column].iloc[0]
        unit = f"{first['unit']}, {first['better']} is better"
        line = f"  {number}  {column}: {unit}"
        say(line if len(line) <= WIDTH else f"  {number}  {column}:\n     {unit}")
    say()
    short = found["machine_name"].where(~found["machine_name"].duplicated(keep=False), found["machine_label"])
    table = [["", *map(str, range(1, len(columns) + 1))]]
    for name, figure, speed in zip(names(found.assign(name=short)), figures[1:], speeds[1:], strict=True):
        table += [[name, *figure[3:]], ["", *speed[3:]]]
    _print_aligned(table)


def _print_aligned(lines: Lines) -> None:
    """Print a table in as many parts, one below the other, as it needs to fit into WIDTH."""
    lines = [[_cut(line[0]), *line[1:]] for line in lines]
    first = max(len(line[0]) for line in lines)
    widths = [2 + max(map(len, column)) for column in zip(*(line[1:] for line in lines), strict=True)]
    start = 0
    while start < len(widths):
        end = start + 1
        while end < len(widths) and first + sum(widths[start : end + 1]) <= WIDTH:
            end += 1
        if start:
            say()
        for line in aligned([[line[0], *line[1 + start : 1 + end]] for line in lines]):
            say(line)
        start = end


def _cut(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


# ---- Markdown ----


def print_markdown(compared: "pd.DataFrame") -> None:
    """Print all tables as results/README.md has them, with the charts that lie beside it."""
    compared = compared.assign(line=compared["label"])
    found = overall(compared)
    base = found.loc[found["machine"] == found["overall_baseline"], "label"].iloc[0]
    say("<!-- overview -->\n")
    _print_pipes(_narrow(overview_table(compared), found), escaped=True)
    say(f"\n{' '.join(OVERALL.split())}; {_escaped(base)} being 1; higher is better.")
    say("The other columns have the best figure of each test, and in brackets the speed:")
    say("; ".join(_escaped(line) for line in _units(compared)) + ".")
    say("\n<!-- end of the overview -->\n")
    _print_pipes([["machine", "figures"], *_kinds(compared)], numbers=False)
    for test in _tests(compared):
        title, what = map(_escaped, _heading(test))
        unit = _escaped(test["unit"].iloc[0])
        say(f"\n## {title}\n\n![{title}: {unit}]({test['chart'].iloc[0]}.png)\n\n{what}\n")
        _print_pipes(figures_table(test))
        say(f"\nSpeed, {_escaped(test['baseline'].iloc[0])} being 1; higher is better\n")
        _print_pipes(speeds_table(test))
    say("\n<!-- end -->")


def _units(compared: "pd.DataFrame") -> list[str]:
    """What the figures of the overview are: the most frequent unit once, any other one with its column."""
    columns = compared[compared["overview"].notna()].drop_duplicates("overview")
    units = columns["unit"] + ", " + columns["better"] + " is better"
    usual = units.mode()[0]
    others = units != usual
    return [usual, *(columns["overview"] + ": " + units)[others]]


def _kinds(compared: "pd.DataFrame") -> Lines:
    """For each machine the kinds of figures that there are of it."""
    said = compared["published"].map({True: "published, December 2023", False: "measured with these scripts"})
    said = said.where(compared["source"] != "older", "measured with older scripts")
    kinds = [", ".join([one, *marks]) for one, marks in zip(said, compared["marks"], strict=True)]
    machines = compared.assign(kind=kinds).groupby(["published", "machine_name", "machine_label", "machine"])
    return [[str(cells[2]), "; ".join(sorted(set(kind)))] for cells, kind in machines["kind"]]


def _narrow(overview: Lines, found: "pd.DataFrame") -> Lines:
    """The overview as Markdown: its many columns fit on a page if machines have short names and headings break."""
    short = found["machine_name"].where(~found["machine_name"].duplicated(keep=False), found["machine_label"])
    names = [label(*row) for row in zip(short, found["published"], found["marks"], strict=True)]
    headings = [re.sub(r"(?<=,) | (?=on )|(?<=:) ", "<br>", _escaped(heading)) for heading in overview[0]]
    lines = [[_escaped(name).replace(" (", "<br>("), *line[1:]] for name, line in zip(names, overview[1:], strict=True)]
    return [headings, *lines]


def _print_pipes(lines: Lines, numbers: bool = True, escaped: bool = False) -> None:
    for number, line in enumerate(lines):
        say("| " + " | ".join(cell if escaped else _escaped(cell) for cell in line) + " |")
        if number == 0:
            say("| --- |" + (" ---: |" if numbers else " --- |") * (len(line) - 1))


def _at_a_start(found: re.Match) -> str:
    """What would begin a heading or a list, if it stood at the start of a line."""
    return f"{found[0]}\\" if found[0].isdigit() else f"\\{found[0]}"


def _escaped(text: str) -> str:
    """`text`, which may come from anybody's CSV, so that Markdown reads no markup or address in it."""
    text = re.sub(r"([\\`*\[\]<>&|~$@]|:(?=//)|(?<=www)\.)", r"\\\1", text)
    text = re.sub(r"^([#+=-]|[0-9]+(?=[.)]( |$)))", _at_a_start, text)
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", text)  # an "_" inside a word stands for itself
