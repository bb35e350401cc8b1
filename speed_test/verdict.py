"""Rows -> how much a figure is worth: its half-width, its grade, and what comes out when two are compared."""

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from speed_test import screen, steady
from speed_test.faults import LOADS, Row, faults, hot, number, spoils, text

__all__ = ["Compared", "Grade", "compare", "grade", "series", "spoils"]

# (runs, half-width, drift) that a grade asks for.
A = (3, 0.01, 0.02)
B = (1, 0.03, 0.05)
SAME = steady.SAME
MOST_RUNS = 100  # more are not proposed
LOWEST, HIGHEST = 1e-9, 1e12  # of any rate, in samples, epochs or tokens per second: others were not measured


class Grade(NamedTuple):
    """`letter` is A, B, C or D, or "" for rows without blocks and for none. `reason` says what keeps the figure from
    the next better grade, the worst first, and what else was running if its blocks tell too little. `half_width` and
    `drift` are relative, None where unknown; `drift` is that of the run that changed most, 0 if none did."""

    letter: str
    reason: str
    half_width: float | None
    drift: float | None
    runs: int


class Compared(NamedTuple):
    """`ratio` is how many times as fast the first of two is, `half_width` relative to it (None: unknown), and `word`
    "faster", "slower", "the same" or "can't be told". In the last case `more_runs` of both might tell (None: not
    even many would)."""

    ratio: float
    half_width: float | None
    word: str
    more_runs: int | None


# ---- A run's blocks ----


class _Run(NamedTuple):
    rows: list[Row]
    rates: list[float]
    seconds: list[float]  # of each block
    drift: steady.Drift | None


def series(rows: Sequence[Row]) -> list[list[float]]:
    """The rates of the blocks of each run, in their order. A row without blocks is one block, whose rate is the figure
    (or 1 / figure where lower is better)."""
    found = ([rate for row in some for rate in _blocks(row)] for some in _by_run(rows))
    return [rates for rates in found if rates]


def _by_run(rows: Sequence[Row]) -> Iterable[list[Row]]:
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        found.setdefault((text(row, "run_id"), text(row, "run")), []).append(row)
    return found.values()


def _runs(rows: Sequence[Row]) -> list[_Run]:
    runs = []
    for some in _by_run(rows):
        rates, seconds = [], []
        for row in some:
            blocks = _blocks(row)
            rates += blocks
            measured = number(row, "measured_seconds") or number(row, "total_time") or 0
            seconds += [measured / len(blocks)] * len(blocks) if blocks else []
        if rates:
            runs.append(_Run(some, rates, seconds, steady.drift(rates)))
    return runs


def _drifting(runs: Sequence[_Run]) -> list[_Run]:
    """The runs that drift, the worst first. None if they are less than a third: among many runs, one has a false
    alarm, or bad luck, sooner or later, and the spread between runs tells of that."""
    found = [run for run in runs if run.drift and run.drift.sure]
    return sorted(found, key=_change, reverse=True) if 3 * len(found) >= len(runs) else []


def _change(run: _Run) -> float:
    return abs(run.drift.change) if run.drift else 0.0


def _blocks(row: Row) -> list[float]:
    """The rates of a row's blocks; empty if it has no usable figure either."""
    try:
        rates = [float(rate) for rate in text(row, "block_samples_per_second").split()]
    except ValueError:
        rates = []
    if rates and all(LOWEST < rate < HIGHEST for rate in rates):
        return rates
    one = rate_of(row)
    return [one] if one else []


def rate_of(row: Row) -> float | None:
    """A row's figure as a rate, so that higher is better; None if it has none."""
    figure = number(row, text(row, "figure") or "epoch_seconds")
    if figure is None or figure <= 0:
        return None
    rate = steady.as_rate(figure, text(row, "better") or "lower")
    return rate if LOWEST < rate < HIGHEST else None


def _half_width(runs: Sequence[_Run], drifting: Sequence[_Run]) -> tuple[float | None, int, float]:
    """The half-width, the number of blocks, and how many independent ones they are worth.

    Within the runs it is that of all blocks together, each divided by the median of its run (of a run that drifts, by
    that of its level), so that more runs shrink it as more blocks do. A median that was taken away costs a block. If
    the runs' medians lie further apart than that, their spread is the half-width; six runs need no more than that. The
    figure of a run that drifts depends on when one looks: half of the drift is the least that it can be off.
    """
    parts: list[list[float]] = []
    for run in runs:
        cut = round(run.drift.at * len(run.rates)) if run.drift and run.drift.sure else 0
        parts += [_about_one(part) for part in (run.rates[:cut], run.rates[cut:]) if part]
    together = steady.interval([rate for part in parts for rate in part])
    worth = together.effective * (together.n - len(parts) + 1) / together.n
    widths = [steady.between_runs([statistics.median(run.rates) for run in runs])]
    widths += [_change(run) / 2 for run in drifting[:1]]
    if together.half_width is not None and worth >= steady.TOO_FEW:
        widths.append(together.half_width)
    elif len(runs) < steady.TOO_FEW and not drifting:
        return None, together.n, worth
    return max(width for width in widths if width is not None), together.n, worth


def _about_one(rates: Sequence[float]) -> list[float]:
    median = statistics.median(rates)
    return [rate / median for rate in rates]


# ---- Grades ----


def grade(rows: Sequence[Row]) -> Grade:
    """How much the figure of these rows is worth: the ok rows of one machine, one experiment and one batch size (or
    of one generation test), all of one kind, of any number of runs."""
    runs = _runs(rows) if any(text(row, "run") or text(row, "block_samples_per_second") for row in rows) else []
    if not runs:
        return Grade("", "", None, None, 0)
    drifting = _drifting(runs)
    worst = drifting[0] if drifting else None
    drift = worst.drift.change if worst and worst.drift else 0.0 if any(run.drift for run in runs) else None
    half_width, blocks, worth = _half_width(runs, drifting)
    wrong = faults(rows)
    limit = _change_of_limit(rows)
    d = [fault.text for fault in wrong if fault.letter == "D"]
    if half_width is None:
        # Blocks that wander have a cause, and it is mostly this.
        d += [_too_few(blocks, worth), *(fault.text for fault in wrong if fault.kind in LOADS)]
    c = [fault.text for fault in wrong if fault.letter == "C"]
    if d:
        return Grade("D", _joined(d), half_width, drift, len(runs))
    # Heavy is normal on a Mac without a fan, as long as it goes on at its speed.
    heavy = any(text(row, "thermal_level") == "heavy" for row in rows) and (drift or 0) < 0
    c += _misses((*B[:2], A[2]) if heavy else B, len(runs), half_width, worst, limit)
    if c:
        return Grade("C", _joined(c), half_width, drift, len(runs))
    b = _misses(A, len(runs), half_width, worst, limit)
    if any(text(row, "virtual") for row in rows):
        b.append("a virtual machine: its host's other guests can't be seen")
    return Grade("B" if b else "A", _joined(b), half_width, drift, len(runs))


def _too_few(blocks: int, worth: float) -> str:
    if blocks < 2 * steady.TOO_FEW:
        return f"{screen.count(blocks, 'block')}: too few to tell"
    return f"the speed wandered: {blocks} blocks tell as much as {max(int(worth), 2)} steady ones, too few"


def _misses(
    wanted: tuple[int, float, float],
    runs: int,
    half_width: float | None,
    worst: _Run | None,
    limit: float,
) -> list[str]:
    """What is not good enough for a grade, in words. `worst` is the run that drifts most, if any does."""
    least_runs, widest, most = wanted
    found = []
    drift = _change(worst) if worst else 0.0
    if worst and drift > most:
        found.append(_drift_in_words(worst))
    elif limit < -B[2]:
        found.append(f"{-limit:.0%} slower after the last epoch than before the first")
    # Half of a drift is in the half-width; it is not said twice.
    if half_width is not None and half_width > max(widest, 0.5001 * drift):
        found.append(f"half-width {half_width:.1%}")
    if runs < least_runs:
        found.append("one run" if runs == 1 else f"{runs} runs")
    return found


def _drift_in_words(run: _Run) -> str:
    """ "slowed down by 9% after 4 min: heat" """
    assert run.drift
    change, at = run.drift.change, round(run.drift.at * len(run.seconds))
    seconds = math.fsum(run.seconds[:at])
    after = f" after {screen.duration(seconds)}" if seconds else ""
    heat = ": heat" if change < 0 and any(map(hot, run.rows)) else ""
    return f"{'slowed down' if change < 0 else 'sped up'} by {abs(change):.0%}{after}{heat}"


def _change_of_limit(rows: Sequence[Row]) -> float:
    """How the compute limit changed from before the first epoch to after the last; the median of the runs."""
    changes = []
    for row in rows:
        before, after = number(row, "compute_samples_per_second"), number(row, "compute_samples_per_second_after")
        if before and after:
            changes.append(after / before - 1)
    return statistics.median(changes) if changes else 0.0


def _joined(reasons: list[str], most: int = 2) -> str:
    more = len(reasons) - most
    return "; ".join(reasons[:most]) + (f"; and {screen.count(more, 'more reason')}" if more > 0 else "")


# ---- Comparing ----


def compare(ratio: float, half: float | None, other: float | None, runs: int = 1, published: bool = False) -> Compared:
    """What two figures say of each other: the first one is `ratio` times as fast, and `half` and `other` are their
    half-widths. `runs` is the lower number of runs of the two, `published` whether one of them is a published figure,
    which has no interval and is never called the same."""
    if published:
        word = "faster" if ratio > 1 else "slower" if ratio < 1 else "can't be told"
        return Compared(ratio, None, word, None)
    if half is None or other is None or not ratio > 0:
        return Compared(ratio, None, "can't be told", None)
    width = math.hypot(half, other)
    low, high = ratio * (1 - width), ratio * (1 + width)
    if low > 1 + SAME:
        return Compared(ratio, width, "faster", None)
    if high < 1 - SAME:
        return Compared(ratio, width, "slower", None)
    if low >= 1 - SAME and high <= 1 + SAME:
        return Compared(ratio, width, "the same", None)
    return Compared(ratio, width, "can't be told", _more_runs(ratio, width, runs))


def _more_runs(ratio: float, width: float, runs: int) -> int | None:
    """How many more runs might make it clear: half-widths shrink like 1 / sqrt(runs)."""
    if ratio > 1 + SAME:
        wanted = 1 - (1 + SAME) / ratio
    elif ratio < 1 - SAME:
        wanted = (1 - SAME) / ratio - 1
    else:
        wanted = min(1 - (1 - SAME) / ratio, (1 + SAME) / ratio - 1)
    if wanted <= 0:
        return None
    more = math.floor(runs * (width / wanted) ** 2) + 1 - runs
    return max(more, 1) if more <= MOST_RUNS else None
