"""The verdict of the summary: what a machine is good for, what holds it back, and which machines it stands beside.

Each sentence is backed by figures or columns. Where they do not tell, there is no sentence.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from speed_test import advice, verdict
from speed_test.faults import Row, faults, hot
from speed_test.screen import count
from speed_test.suite.shown import times

if TYPE_CHECKING:
    from speed_test.suite.summary import Line

LEAST_TESTS = 3  # a mean over fewer says little of a machine
SURE = ("A", "B", "C")  # of a figure with grade D nobody knows how sure it is
SLOWED_DOWN = 0.02
MOST_CAUSES = 4


class Near(NamedTuple):
    """A published machine: its name, how many times as fast as this one it is (a geometric mean), and over how many
    tests."""

    name: str
    speed: float
    tests: int


class Work(NamedTuple):
    """The rows of one test that worked, by batch size, the best batch size, and those that were too large."""

    sizes: Mapping[float | None, Sequence[Row]]
    best: float | None
    too_large: Sequence[int]


# ---- What it is good for ----


def best_and_worst(tests: Iterable["Line"], baseline: str) -> str:
    """In which tests the machine stands best and worst against the baseline; "" if fewer than two tests tell.

    Only figures with a grade better than D count.
    """
    known = [line for line in tests if line.speed is not None]
    sure = [line for line in known if line.grade in SURE]
    if len(sure) < 2:
        return ""
    sure.sort(key=lambda line: line.speed or 0, reverse=True)
    first, last = sure[0], sure[-1]
    if _low(first) <= _high(last):
        return (
            f"Against the {baseline} no test stands out: its speed is {_times(last)} to {_times(first)} times the "
            f"baseline's in the {len(sure)} tests with a grade from A to C."
        )
    best = [line for line in sure[:2] if len(sure) >= 4 and _low(line) > _high(last)] or [first]
    said = " and ".join(f"{line.title} ({_times(line)} times its speed)" for line in best)
    of = "" if len(sure) == len(known) else f", in the {len(sure)} tests with a grade from A to C,"
    return f"Against the {baseline}{of} it does best in {said}, and worst in {last.title} ({_times(last)})."


def _width(line: "Line") -> float:
    """The half-width of a speed. That of a published figure is not known, so then it is that of our own."""
    return next((width for width in (line.speed_half_width, line.half_width) if width is not None), 0.0)


def _low(line: "Line") -> float:
    return (line.speed or 0) * (1 - _width(line))


def _high(line: "Line") -> float:
    return (line.speed or 0) * (1 + _width(line))


def _times(line: "Line") -> str:
    return times(line.speed or 0)


# ---- What holds it back ----


def held_back(works: Mapping[str, Work]) -> str:
    """What took from its speed, or kept it from larger batches: data, memory, heat, other programs, small batches.

    `works` has each test by its title. "" if no row tells anything of it.
    """
    causes = [*_data(works), *_memory(works), *_faults(works), *_heat(works), *_small_batches(works)]
    if causes:
        more = len(causes) - MOST_CAUSES
        rest = f"; and {more} more {'cause' if more == 1 else 'causes'}" if more > 0 else ""
        return f"What held it back: {'; '.join(causes[:MOST_CAUSES])}{rest}."
    knows = any(verdict.grade(rows).letter for work in works.values() for rows in work.sizes.values())
    return "Nothing that its rows record held it back." if knows else ""


def _in(titles: Sequence[str]) -> str:
    """ " in ResNet50 on CIFAR100, PyTorch and 2 other tests" """
    more = len(titles) - 1
    return f" in {titles[0]}" + (f" and {count(more, 'other test')}" if more else "")


def _data(works: Mapping[str, Work]) -> Iterable[str]:
    """Waiting for data, at the best batch size of each test."""
    lost = {title: advice.lost_to_data(work.sizes.get(work.best, ())) for title, work in works.items()}
    titles = sorted((title for title in lost if lost[title]), key=lambda title: -lost[title])
    if titles:
        yield f"waiting for data, {lost[titles[0]]:.0%} of the time{_in(titles)}"


def _memory(works: Mapping[str, Work]) -> Iterable[str]:
    """Batch sizes that did not fit."""
    titles = [title for title, work in works.items() if work.too_large]
    if titles:
        smallest = min(min(works[title].too_large) for title in titles)
        titles.sort(key=lambda title: min(works[title].too_large))
        yield f"memory: batch size {smallest} did not fit{_in(titles)}"


def _faults(works: Mapping[str, Work]) -> Iterable[str]:
    """What spoils a grade: swapping, battery, heat, other programs. The worst of each kind, the worst kinds first."""
    found = [
        (fault, title)
        for title, work in works.items()
        for fault in faults([row for rows in work.sizes.values() for row in rows])
        if fault.letter
    ]
    found.sort(key=lambda pair: (pair[0].letter, pair[0].size), reverse=True)
    for kind in dict.fromkeys(fault.kind for fault, _ in found):
        some = [(fault, title) for fault, title in found if fault.kind == kind]
        yield some[0][0].text + _in([title for _, title in some])


def _heat(works: Mapping[str, Work]) -> Iterable[str]:
    """A drift to lower speed while the machine was hot. Heat alone is no fault: see faults.hot."""
    drifts: dict[str, float] = {}
    for title, work in works.items():
        for rows in work.sizes.values():
            drift = verdict.grade(rows).drift or 0.0
            if drift < -SLOWED_DOWN and any(map(hot, rows)):
                drifts[title] = min(drift, drifts.get(title, 0.0))
    titles = sorted(drifts, key=lambda title: drifts[title])
    if titles:
        yield f"heat, which slowed it down by {-drifts[titles[0]]:.0%}{_in(titles)}"


def _small_batches(works: Mapping[str, Work]) -> Iterable[str]:
    """Batch sizes whose own compute limit is far below that of a larger one."""
    found = []
    for title, work in works.items():
        small, best = advice.small_batches(work.sizes)
        if small and best is not None:
            size = max(small, key=lambda size: small[size])
            found.append((small[size], f"batch size {size:.0f} is {small[size]:.0%} below that of {best:.0f}", title))
    if found:
        found.sort(reverse=True)
        yield f"small batches: the compute limit of {found[0][1]}{_in([title for *_, title in found])}"


# ---- Which machines it stands beside ----


def neighbours(published: Sequence[Near], sure: int) -> str:
    """Between which two published machines it stands, and which one is nearer.

    `sure` is how many tests have a grade from A to C. If they are too few, the sentence says only that.
    """
    if sure < LEAST_TESTS:
        have = {0: "No test has", 1: "1 test has"}.get(sure, f"{sure} tests have")
        return f"{have} a grade from A to C: {LEAST_TESTS} are needed to say which published machine it stands beside."
    known = [near for near in published if near.tests >= LEAST_TESTS]
    if not known:
        return (
            f"No published machine has figures in {LEAST_TESTS} of these tests, so none can be said to stand beside it."
        )
    nearest = min(known, key=_distance)
    slower = min((near for near in known if near.speed < 1), key=_distance, default=None)
    faster = min((near for near in known if near.speed >= 1), key=_distance, default=None)
    if slower and faster:
        return (
            f"Of the published machines it stands between {_said(slower)} and {_said(faster)}, nearer to the "
            f"{nearest.name}."
        )
    word = "faster" if faster else "slower"
    return f"Every published machine that can be compared is {word}; the nearest is {_said(nearest)}."


def _distance(near: Near) -> float:
    return abs(math.log(near.speed))


def _said(near: Near) -> str:
    """ "the Apple M3 (0.70 times as fast over 7 tests)" """
    return f"the {near.name} ({times(near.speed)} times as fast over {near.tests} tests)"
