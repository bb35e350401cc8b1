"""How the time is shared out: pure functions of seconds.

Each test gets an equal share of what is left. What one leaves over, the next ones share. A test takes longer than the
budget that it is given: its process starts, its data are read again, and it ends at the border of a step. How much
longer, the tests before it tell.
"""

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from speed_test import screen

FIRST_OVERHEAD = 10.0  # seconds, until a test has shown its own
MOST_OVERHEAD = 60.0  # what is more than that was a test that hung
LEAST = 15.0  # seconds a test, overhead included: in less, hardly anything can be measured
LEAST_BUDGET = 5.0  # seconds that a test is given at least
KEPT = 0.1  # of the budget: a suite that differs less has kept it
MARGIN = (120.0, 1.0)  # seconds, and times its budget, that a test may take longer before it is ended


class Spent(NamedTuple):
    """What a test was given (seconds; None: as much as it wanted) and took, all of it."""

    name: str
    given: float | None
    took: float


def time_text(seconds: float) -> str:
    """ "90 s", "12 min": finer than screen.duration, because a suite may have two minutes."""
    return f"{seconds:.0f} s" if seconds < 600 else screen.duration(seconds)


def overhead(spent: Sequence[Spent]) -> float:
    """The seconds that the next test will take beyond its budget. A test that ended early does not tell."""
    beyond = [one.took - one.given for one in spent if one.given is not None and one.took > one.given]
    return min(statistics.median(beyond), MOST_OVERHEAD) if beyond else FIRST_OVERHEAD


def budget_of_next(left: float, tests: int, spent: Sequence[Spent]) -> float:
    """The budget in whole seconds for the next of `tests` that are still to do in `left` seconds."""
    return float(max(LEAST_BUDGET, round(left / tests - overhead(spent))))


def least(tests: int) -> float:
    """The seconds below which so many tests cannot be run."""
    return tests * LEAST


def is_too_long(given: float, took: float) -> bool:
    """Whether a test that was given so many seconds hangs, and has to be ended."""
    seconds, times = MARGIN
    return took > given + max(seconds, times * given)


def explained(budget: float, spent: Sequence[Spent]) -> str:
    """Why a suite has not kept its budget, in one sentence; "" if it has, to 10%."""
    took = sum(one.took for one in spent)
    if abs(took - budget) <= KEPT * budget:
        return ""
    what = f"It took {time_text(took)}; the budget was {time_text(budget)}"
    if took < budget and all(one.given is None or one.took < one.given + MOST_OVERHEAD for one in spent):
        return f"{what}: every test had measured all that it measures, or had ended."
    if took < budget:
        return f"{what}: what was left was too little for another test."
    late = max(spent, key=lambda one: one.took - (one.given or one.took))
    return f"{what}: {late.name} could not stop in time, and took {time_text(late.took)}."
