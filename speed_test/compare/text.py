"""The tables, for the terminal and as Markdown."""

import re
import shutil
import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING

from speed_test.compare import notes
from speed_test.compare.markdown import escaped, pipes
from speed_test.compare.speeds import overall
from speed_test.compare.table import label
from speed_test.compare.tables import (
    LETTERS,
    SCALING,
    Lines,
    amount,
    figures_table,
    heading,
    names,
    overview_table,
    per_joule_table,
    scaling_table,
    speeds_table,
    tests,
)
from speed_test.screen import aligned, say

if TYPE_CHECKING:
    import pandas as pd

WIDTH = 80  # columns of a terminal, if it isn't narrower
WIDEST_NAME = 40  # a longer name of a machine goes on below, on MOST_LINES lines; the other outputs have it whole
MOST_LINES = 4
OVERALL = (
    "Speed over all tests: the geometric mean of the speeds at each test's best batch size, over the tests that the "
    "machine and the baseline both completed"
)
GRADES = "A to D: how sure a figure is, A the surest; ±: its 95% interval. See docs/trust.md."
SAME = "same: within 1% of the baseline"
UNTOLD = "?: it can't be told yet whether it is faster or slower"


# ---- The terminal ----


def print_text(compared: "pd.DataFrame") -> None:
    """Print all tables, none wider than a terminal where it can be helped."""
    compared = compared.assign(line=names(compared))
    found = overall(compared)
    found["line"] = names(found.assign(name=found["machine_label"]))
    _print_overall(found)
    _print_overview(compared, found)
    for test in tests(compared):
        _print_test(test)
    say()
    for warning in notes.warnings(compared):
        _say(f"WARNING: {warning}")
    said = {mark for marks in compared["marks"] for mark in marks}
    if compared["published"].any():
        said.add("published")
    for mark, what in LETTERS.items():
        if mark in said:
            _say(f"({mark[0]}) {what}")
    for text in _legend(compared):
        _say(text)


def _legend(compared: "pd.DataFrame") -> Iterable[str]:
    if (compared["grade"] != "").any():
        yield GRADES
    if (compared["compared"] == "the same").any():
        yield SAME
    if ((compared["compared"] == "can't be told") & compared["speed_half_width"].notna()).any():
        yield UNTOLD


def _print_test(test: "pd.DataFrame") -> None:
    say()
    for line in heading(test):
        _say(line)
    say()
    _print_aligned(figures_table(test))
    reasons = notes.reasons(test)
    if reasons:
        say()
    for grade, reason in reasons:
        _say(f"{grade or ' '}  {reason}", indent=3)
    base = test.loc[test["series"] == test["baseline_series"], "line"].iloc[0]
    say()
    _say(f"speed, {base} being 1; higher is better")
    say()
    _print_aligned(speeds_table(test))
    untold = notes.untold(test)
    if untold:
        say()
    for line in untold:
        _say(f"?  {line}", indent=3)
    if lines := scaling_table(test):
        say()
        _say(SCALING)
        say()
        _print_aligned(lines)
    if lines := per_joule_table(test):
        say(f"\n{amount(test)} per joule; higher is better\n")
        _print_aligned(lines)


def _print_overall(found: "pd.DataFrame") -> None:
    base = found.loc[found["machine"] == found["overall_baseline"], "line"].iloc[0]
    _say(f"{OVERALL}; {base} being 1; higher is better")
    say()
    _print_aligned([["", "speed", "tests"], *found[["line", "text", "tests"]].astype(str).to_numpy().tolist()])


def _print_overview(compared: "pd.DataFrame", found: "pd.DataFrame") -> None:
    """Figures, and below them speeds: side by side they would be too wide."""
    figures, speeds = (overview_table(compared, values) for values in ("overview_figure", "overview_speed_text"))
    columns = figures[0][3:]
    say()
    _say("Best figure of each test, and below it the speed against the baseline")
    say()
    for place, column in enumerate(columns, start=1):
        first = compared[compared["overview"] == column].iloc[0]
        unit = f"{first['unit']}, {first['better']} is better"
        line = f"  {place}  {column}: {unit}"
        for text in [line] if len(line) <= _width() else [f"  {place}  {column}:", f"     {unit}"]:
            _say(text, indent=5)
    say()
    short = found["machine_name"].where(~found["machine_name"].duplicated(keep=False), found["machine_label"])
    table = [["", *map(str, range(1, len(columns) + 1))]]
    for name, figure, speed in zip(names(found.assign(name=short)), figures[1:], speeds[1:], strict=True):
        both = [f"{one}\n{times}".rstrip() for one, times in zip(figure[3:], speed[3:], strict=True)]
        table += [[name, *both]]
    _print_aligned(table)


def _width() -> int:
    return max(40, min(WIDTH, shutil.get_terminal_size().columns))


def _say(text: str, indent: int = 0) -> None:
    """Print a text on as many lines as it needs."""
    for line in textwrap.wrap(text, _width(), subsequent_indent=" " * indent, break_on_hyphens=False) or [""]:
        say(line)


def _print_aligned(lines: Lines) -> None:
    """Print a table in as many parts, one below the other, as it needs to fit into the terminal.

    A cell may have two lines.
    """
    lines = [lower for line in lines for lower in _lines_of([_broken(line[0]), *line[1:]])]
    first = max(len(line[0]) for line in lines)
    widths = [2 + max(map(len, column)) for column in zip(*(line[1:] for line in lines), strict=True)]
    start = 0
    while start < len(widths):
        end = start + 1
        while end < len(widths) and first + sum(widths[start : end + 1]) <= _width():
            end += 1
        if start:
            say()
        for line in aligned([[line[0], *line[1 + start : 1 + end]] for line in lines]):
            if line:  # the second line of a row that has its half-widths in another part
                say(line)
        start = end


def _lines_of(cells: list[str]) -> Lines:
    """A line of a table as the lines that it takes on the screen."""
    parts = [cell.split("\n") for cell in cells]
    height = max(map(len, parts))
    return [[part[place] if place < len(part) else "" for part in parts] for place in range(height)]


def _broken(name: str) -> str:
    """A machine's name on as many lines as it needs, so that there is room for figures beside it."""
    start, _, marks = name.partition(" (")
    width = min(WIDEST_NAME, _width() // 2)
    parts = [start, f"  ({marks}"] if marks and len(name) > width else [name]
    found = [
        line
        for part in parts
        for line in textwrap.wrap(part, width, subsequent_indent="   ", max_lines=MOST_LINES, placeholder="…")
    ]
    return "\n".join(found)


# ---- Markdown ----


def print_markdown(compared: "pd.DataFrame") -> None:
    """Print all tables as results/README.md has them, with the charts that lie beside it."""
    compared = compared.assign(line=compared["label"])
    found = overall(compared)
    base = found.loc[found["machine"] == found["overall_baseline"], "label"].iloc[0]
    say("<!-- overview -->\n")
    _print_pipes(_narrow(overview_table(compared), found), is_escaped=True)
    say(f"\n{OVERALL}; {escaped(base)} being 1; higher is better.")
    say("The other columns have the best figure of each test, and in brackets the speed:")
    say("; ".join(escaped(line) for line in _units(compared)) + ".")
    say("\n<!-- end of the overview -->\n")
    _print_pipes([["machine", "figures"], *_kinds(compared)], numbers=False)
    _print_list([*(f"Warning: {warning}" for warning in notes.warnings(compared)), *_legend(compared)])
    for test in tests(compared):
        title, what = map(escaped, heading(test))
        unit = escaped(test["unit"].iloc[0])
        say(f"\n## {title}\n\n![{title}: {unit}]({test['chart'].iloc[0]}.png)\n\n{what}\n")
        _print_pipes(figures_table(test))
        _print_list(f"{grade}: {reason}" for grade, reason in notes.reasons(test) if grade)
        say(f"\nSpeed, {escaped(test['baseline'].iloc[0])} being 1; higher is better\n")
        _print_pipes(speeds_table(test))
        _print_list(f"? {line}" for line in notes.untold(test))
        if lines := scaling_table(test):
            say(f"\n{SCALING[0].upper()}{SCALING[1:]}\n")
            _print_pipes(lines)
        if lines := per_joule_table(test):
            say(f"\n{amount(test).capitalize()} per joule; higher is better\n")
            _print_pipes(lines)
    say("\n<!-- end -->")


def _print_list(lines: Iterable[str]) -> None:
    for place, line in enumerate(lines):
        say(("" if place else "\n") + f"- {escaped(line)}")


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
    headings = [re.sub(r"(?<=,) | (?=on )|(?<=:) ", "<br>", escaped(heading)) for heading in overview[0]]
    lines = [[escaped(name).replace(" (", "<br>("), *line[1:]] for name, line in zip(names, overview[1:], strict=True)]
    return [headings, *lines]


def _print_pipes(lines: Lines, numbers: bool = True, is_escaped: bool = False) -> None:
    for line in pipes(lines, numbers, is_escaped):
        say(line)
