"""The summary as text: for the terminal, and as Markdown to paste into an issue or a forum."""

import shutil
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

from speed_test.compare.markdown import escaped, pipes
from speed_test.compare.shown import percent, ratio
from speed_test.compare.tables import LETTERS
from speed_test.compare.text import GRADES, UNTOLD, WIDTH
from speed_test.screen import aligned

if TYPE_CHECKING:
    from speed_test.suite.summary import Line, Summary

PROJECT = "ML Speed Test"
COMMAND = "uv run run_all.py"
HEADING = ("test", "batch", "figure", "", "grade", "speed")
NARROWEST = 60  # of a terminal: in less the table would be no table
MOST_LINES = 4  # of a title, or a reason
NO_VERDICT = "The figures are too few, or too unsure, for a verdict."


# ---- What both say ----


def cells(line: "Line") -> list[str]:
    """A line of the table; of a test without figure only the title is one."""
    width = percent(line.half_width) if line.half_width is not None else ""
    star = "*" if "estimated" in line.marks else ""
    return [line.title, line.group, line.text + star, width, line.grade, line.speed_text]


def why(line: "Line") -> str:
    """Why a test has no figure: "left out: it needs 8 GB of memory"."""
    return ": ".join(filter(None, [line.status, line.reason]))


def notes(summary: "Summary") -> Iterator[str]:
    """What stands below the table: units, the baseline, and what is special about figures."""
    done = [line for line in summary.tests if line.figure is not None]
    if not done:
        return
    yield f"Figures: {'; '.join(units(done))}"
    if summary.baseline and any(line.speed is not None for line in done):
        yield f"Speed: times that of the {summary.baseline}"
    if any(line.speed_text.endswith("?") for line in done):
        yield UNTOLD
    if any(line.grade for line in done):
        yield GRADES
    if any("estimated" in line.marks for line in done):
        yield f"* {LETTERS['estimated']}"
    for mark in dict.fromkeys(mark for line in done for mark in line.marks if mark != "estimated"):
        titles = [line.title for line in done if mark in line.marks]
        yield f"{'All figures' if len(titles) == len(done) else '; '.join(titles)}: {LETTERS.get(mark, mark)}"
    for line in done:
        if line.status != "measured":
            yield f"{line.title}: {why(line)}"


def units(done: Iterable["Line"]) -> list[str]:
    """What the figures are: the most frequent unit once, any other one with its test."""
    said = {line.title: f"{line.unit}, {line.better} is better" for line in done}
    usual = max(said.values(), key=list(said.values()).count)
    return [usual, *(f"{title}: {unit}" for title, unit in said.items() if unit != usual)]


def overall(summary: "Summary") -> str:
    """The line over all tests, or "" if there is none."""
    if summary.overall is None:
        return ""
    unsure = sum(line.grade == "D" and line.speed is not None for line in summary.tests)
    tests = summary.overall_tests
    mean = f"the geometric mean of the {tests} tests" if tests > 1 else "in the one test"
    return (
        f"Overall: {times(summary.overall)} times the speed of the {summary.baseline}, {mean} that both have"
        + (f"; {unsure} of the figures {'has' if unsure == 1 else 'have'} grade D" if unsure else "")
        + "."
    )


def times(speed: float) -> str:
    """How many times as fast: "0.013", "0.43", "15.5", "1,240". As in the other tables, but never with fewer than two
    digits, because a slow machine would have "0.01" everywhere."""
    if speed < 0.0995:
        return f"{speed:#.2g}"
    return ratio(speed) if speed < 99.95 else f"{speed:,.0f}"


def machine(summary: "Summary") -> str:
    return ", ".join(filter(None, [summary.name, summary.facts]))


def software(summary: "Summary", zone: str = " (UTC)") -> str:
    """ "2026-11-24 (UTC), PyTorch 2.14.1, TensorFlow 2.21.0" """
    return ", ".join(filter(None, [summary.date and f"{summary.date}{zone}", *summary.versions]))


def verdict(summary: "Summary") -> tuple[str, ...]:
    return summary.verdict or ((NO_VERDICT,) if any(line.figure is not None for line in summary.tests) else ())


# ---- The terminal ----


def lines(summary: "Summary", width: int | None) -> list[str]:
    """What is printed, at most `width` columns wide (None: as wide as the terminal, at most WIDTH)."""
    width = max(NARROWEST, min(WIDTH, width or shutil.get_terminal_size().columns))
    parts = [
        [*_wrapped(machine(summary), width), *_wrapped(software(summary), width)],
        _table(summary.tests, width),
        [line for note in notes(summary) for line in _wrapped(note, width)],
        _wrapped(overall(summary), width),
        [line for sentence in verdict(summary) for line in _wrapped(sentence, width, indent="  ")],
    ]
    found: list[str] = []
    for part in filter(None, parts):
        found += [*([""] if found else []), *part]
    return found


def _wrapped(text: str, width: int, most_lines: int | None = None, indent: str = "") -> list[str]:
    """A text on as many lines as it needs, at most `most_lines`; `indent` stands before all but the first."""
    options = {"max_lines": most_lines, "placeholder": "…", "subsequent_indent": indent, "break_on_hyphens": False}
    return textwrap.wrap(text, width, **options)  # type: ignore[arg-type]


def _table(tests: Sequence["Line"], width: int) -> list[str]:
    """The table. A long title goes on below; the reason of a test without figure stands in place of its figures."""
    figures = [cells(line)[1:] for line in tests if line.figure is not None]
    heading, *rows = aligned([HEADING[1:], *figures], left=(2, 3)) if figures else [""]
    room = width - 2 - max(map(len, [heading, *rows])) if figures else width // 2
    first = min(room, max((len(line.title) for line in tests), default=room))
    found, left = [f"{HEADING[0].ljust(first)}  {heading}".rstrip()], iter(rows)
    for line in tests:
        title = _wrapped(line.title, first, MOST_LINES)
        right = [next(left)] if line.figure is not None else _wrapped(why(line), width - first - 2, MOST_LINES)
        found += [f"{one.ljust(first)}  {other}".rstrip() for one, other in zip_longest(title, right, fillvalue="")]
    return found


# ---- Markdown ----


def markdown(summary: "Summary", options: str) -> str:
    """The summary to paste into an issue or a forum. Nothing in it, whoever wrote it, is markup or an address.

    `options` are those of the command that has measured it; they are ours.
    """
    table = [["test", "batch size", "figure", "grade", "speed"]]
    for line in summary.tests:
        title, group, figure, width, grade, speed = cells(line)
        row = [title, group, f"{figure} {width}".rstrip(), grade, speed]
        table.append(row if line.figure is not None else [title, "", why(line), "", ""])
    parts = [
        f"## {PROJECT}: {escaped(summary.name)}",
        *(escaped(text) for text in (machine(summary), software(summary))),
        "\n".join(pipes(table)),
        f"**{escaped(overall(summary))}**" if summary.overall is not None else "",
        _listed(verdict(summary)),
        _listed(notes(summary)),
        f"Measured with `{f'{COMMAND} {options}'.rstrip()}`.",
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _listed(texts: Iterable[str]) -> str:
    return "\n".join(f"- {escaped(text)}" for text in texts)
