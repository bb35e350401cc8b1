"""How the suite shares out its time: pure functions, tried on 1,000 made-up machines."""

import random

import pytest

from speed_test.suite import shares
from speed_test.suite.shares import Spent

TESTS = 7
# Seconds on a machine of speed 1, one of 2 CPU cores: a whole measurement of each test, its longest step (a batch of
# the largest size, and what cannot be stopped in its warm-up), and what starting and preparing it take.
WHOLE = (3000, 90000, 90000, 3000, 80000, 1500, 6000)
STEP = (3, 6, 15, 3, 6, 1, 10)
START = (6, 8, 9, 14, 16, 13, 5)


def run(budget: float, speed: float, dice: random.Random) -> list[Spent]:
    """What the tests are given and take on a machine that is `speed` times as fast."""
    spent: list[Spent] = []
    for number in range(TESTS):
        left = budget - sum(one.took for one in spent)
        if left < shares.LEAST:
            continue
        given = shares.budget_of_next(left, TESTS - number, spent)
        # A processor's speed hardly changes how fast Python starts.
        start = START[number] * dice.uniform(0.7, 1.5) * min(max(1 / speed, 0.3), 5)
        work = min(WHOLE[number] / speed, given + dice.uniform(0, STEP[number] / speed))
        spent.append(Spent(str(number), given, start + work))
    return spent


@pytest.mark.parametrize("budget", [600, 1200, 1800, 5400])
def test_the_budget_is_kept_or_the_plan_says_why_not(budget):
    dice = random.Random(budget)
    kept = 0
    for _ in range(250):
        speed = 10 ** dice.uniform(-2, 3)
        spent = run(budget, speed, dice)
        took, why = sum(one.took for one in spent), shares.explained(budget, spent)
        assert bool(why) == (abs(took - budget) > 0.1 * budget)
        kept += not why
        if took > 1.1 * budget:  # only steps that take longer than a tenth of a share do that
            assert "could not stop in time" in why
            assert speed < 0.5
        elif why:
            assert all(one.took < one.given + 60 for one in spent)
            assert "had measured all" in why
            assert speed > 5
    assert kept > 100, "hardly any machine has kept the budget"


def test_what_a_test_leaves_over_goes_to_the_next_ones():
    assert shares.budget_of_next(700, 7, []) == 90
    early = [Spent("a", 90.0, 30.0)]
    assert shares.budget_of_next(670, 6, early) == round(670 / 6 - 10)
    assert shares.budget_of_next(100, 1, early) == 90


def test_what_a_test_takes_beyond_its_budget_is_learnt():
    late = [Spent("a", 90.0, 120.0), Spent("b", 80.0, 100.0), Spent("c", 90.0, 20.0)]
    assert shares.overhead(late) == 25
    assert shares.budget_of_next(100, 1, late) == 75
    assert shares.budget_of_next(20, 1, late) == shares.LEAST_BUDGET


def test_only_a_test_that_hangs_is_ended():
    assert not shares.is_too_long(10, 125)
    assert shares.is_too_long(10, 131)
    assert not shares.is_too_long(600, 1190)
    assert shares.is_too_long(600, 1201)


def test_who_was_late_is_named():
    spent = [Spent("a", 100.0, 105.0), Spent("llama2", 100.0, 295.0)]
    assert shares.explained(300, spent) == (
        "It took 400 s; the budget was 300 s: llama2 could not stop in time, and took 295 s."
    )
