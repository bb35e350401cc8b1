"""Grades and comparisons, and their borders. The faults: test_verdict_faults.py."""

import random
import statistics

import pytest

from speed_test import verdict
from tests.made_rows import letters, row, three_runs
from tests.made_series import noise, slowed

# ---- Grades ----


def test_a_b_and_their_reasons():
    assert letters(three_runs()) == ("A", "")
    assert letters(three_runs()[:2]) == ("B", "2 runs")
    assert letters(three_runs()[:1]) == ("B", "one run")


@pytest.mark.parametrize(("width", "letter"), [(0.0098, "A"), (0.0102, "B"), (0.0298, "B"), (0.0302, "C")])
def test_the_borders_of_the_half_width(width, letter):
    # Two calm runs, and a third one whose median is so far away that the spread of the three is `width`.
    away = width * 3**0.5 / 4.303 * 3**0.5
    rows = [row([100.0] * 60, run_id="1"), row([100.0] * 60, run_id="2"), row([100.0 * (1 + away)] * 60, run_id="3")]
    found = verdict.grade(rows)
    assert (found.letter, found.half_width) == (letter, pytest.approx(width, abs=1e-4))
    assert found.reason == ("" if letter == "A" else f"half-width {width:.1%}")
    assert found.runs == 3


def test_the_half_width_within_a_run():
    generator = random.Random(1)
    calm, loud = row(noise(generator, 60, 0, 0.01)), row(noise(generator, 60, 0, 0.1))
    assert verdict.grade([calm]).half_width == pytest.approx(0.004, abs=0.002)
    assert letters([loud])[0] == "C"
    assert letters([loud])[1].startswith("half-width 3.") or letters([loud])[1].startswith("half-width 4.")


def test_more_runs_and_epochs_shrink_the_half_width():
    generator = random.Random(2)
    rows = [row(noise(generator, 60, 0, 0.02), run_id=f"{place // 5}", epoch=place % 5 + 1) for place in range(45)]
    one, all_five, nine_runs = (verdict.grade(some).half_width for some in (rows[:1], rows[:5], rows))
    assert all_five == pytest.approx(one / 5**0.5, rel=0.5)
    assert nine_runs < all_five


def test_runs_that_lie_apart_are_no_noise_within_them():
    rows = [
        row([level * rate for rate in noise(random.Random(level), 60)], run_id=str(level)) for level in (1, 1.2, 1.4)
    ]
    found = verdict.grade(rows)
    assert (found.letter, found.drift) == ("C", 0)
    assert found.half_width == pytest.approx(4.303 * 0.2 / 3**0.5 / 1.2, rel=0.05)


@pytest.mark.parametrize(("by", "letter"), [(0.019, "A"), (0.021, "B"), (0.049, "B"), (0.051, "C")])
def test_the_borders_of_drift(by, letter):
    rows = [row(slowed([100.0] * 60, by), run_id=str(run)) for run in range(3)]
    found = verdict.grade(rows)
    assert (found.letter, found.drift) == (letter, pytest.approx(-by))
    assert found.half_width == pytest.approx(by / 2)
    if letter != "A":
        assert found.reason.startswith(f"slowed down by {by:.0%} after 30 s")


def test_a_drift_says_when_and_why():
    rates = slowed(noise(random.Random(1), 60, 0.3, 0.005), 0.09)
    columns = {"measured_seconds": 480}
    assert letters([row(rates, **columns)]) == ("C", "slowed down by 9% after 4 min")
    assert letters([row(rates, **columns, thermal_level="heavy")]) == ("C", "slowed down by 9% after 4 min: heat")
    reasons = letters([row(rates, **columns, throttle_reasons="SwThermal")])[1]
    assert reasons == "held back by heat (SwThermal); slowed down by 9% after 4 min: heat"
    assert letters([row(slowed(rates, -0.5), **columns, thermal_level="heavy")])[1].startswith("sped up by ")


def test_drift_over_the_epochs_of_a_run_and_not_from_run_to_run():
    fast, slow = [100.0] * 30, [90.0] * 30
    assert letters([row(fast, epoch=1), row(slow, epoch=2)]) == ("C", "slowed down by 10% after 30 s")
    assert verdict.grade([row(fast, run_id="1"), row(slow, run_id="2")]).drift == 0


def test_a_drift_counts_if_a_third_of_the_runs_have_one():
    runs = [row(slowed([100.0] * 60, 0.05 if run == 0 else 0), run_id=str(run)) for run in range(4)]
    assert verdict.grade(runs[:1]).drift == pytest.approx(-0.05)
    assert verdict.grade(runs[:3]).drift == pytest.approx(-0.05)
    assert verdict.grade(runs).drift == 0
    assert verdict.grade(runs).half_width == pytest.approx(0.02, abs=0.01)  # by the spread of the runs


def test_a_heavy_thermal_level_is_a_fault_only_with_a_drift():
    assert letters(three_runs(thermal_level="heavy")) == ("A", "")
    rows = [row(slowed([100.0] * 60, 0.03), run_id=str(run), thermal_level="heavy") for run in range(3)]
    assert letters(rows) == ("C", "slowed down by 3% after 30 s: heat")


def test_a_lower_compute_limit_after_the_last_epoch_is_a_drift():
    columns = {"compute_samples_per_second": 100.0}
    assert letters(three_runs(**columns, compute_samples_per_second_after=96.0)) == ("A", "")
    assert letters(three_runs(**columns, compute_samples_per_second_after=130.0)) == ("A", "")
    assert letters(three_runs(**columns, compute_samples_per_second_after=92.0)) == (
        "C",
        "8% slower after the last epoch than before the first",
    )


def test_too_few_blocks():
    assert letters([row([100.0, 101.0, 99.0, 100.0])]) == ("D", "4 blocks: too few to tell")
    assert letters([row([100.0])]) == ("D", "1 block: too few to tell")
    up_and_down = [100.0 + place // 10 % 2 for place in range(60)]
    letter, reason = letters([row(up_and_down)])
    assert (letter, reason[:29]) == ("D", "the speed wandered: 60 blocks")
    letter, with_its_cause = letters([row(up_and_down, other_load_percent=90.0, power="battery")])
    assert (letter, with_its_cause) == ("D", f"{reason}; other programs used 90% of a core for a time")
    # Few blocks a run are enough together.
    few = [row(noise(random.Random(run), 5), run_id=str(run)) for run in range(6)]
    assert letters(few)[0] in ("A", "B")
    assert letters(few[:1])[0] == "D"
    pairs = [row([100.0, 101.0], run_id=str(run)) for run in range(5)]
    assert letters(pairs[:4]) == ("D", "8 blocks: too few to tell")
    assert letters(pairs) == ("A", "")
    # Six runs of a single block each have no noise within, but a spread.
    assert letters([row([100.0 + run / 10], run_id=str(run)) for run in range(6)]) == ("A", "")
    assert letters([row([100.0 + run / 10], run_id=str(run)) for run in range(5)])[0] == "D"


def test_a_virtual_machine_has_a_b_at_best():
    reason = "a virtual machine: its host's other guests can't be seen"
    assert letters(three_runs(virtual="kvm")) == ("B", reason)
    assert letters(three_runs(virtual="kvm")[:1]) == ("B", f"one run; {reason}")


def test_rows_without_blocks():
    old = {"run": None, "block_samples_per_second": None}
    assert verdict.grade([]) == ("", "", None, None, 0)
    assert verdict.grade([row(**old)]).letter == ""
    assert verdict.grade([{"batch_size": "32", "epoch_seconds": "184.2", "status": "ok"}]).letter == ""


def test_answers_are_blocks():
    rates = noise(random.Random(1), 60)
    columns = {"figure": "tokens_per_second", "better": "higher", "block_samples_per_second": None, "batch_size": None}
    answers = [row(**columns, tokens_per_second=rate, total_time=10, measured_seconds=None) for rate in rates]
    assert verdict.series(answers) == [rates]
    assert letters(answers) == ("B", "one run")
    slower = [row(**columns, tokens_per_second=rate, total_time=10, measured_seconds=None) for rate in slowed(rates)]
    assert letters(slower)[1].startswith("slowed down by 10% after 5 min")


def test_series():
    two_runs = [row([1.0, 2.0], run_id="a"), row([5.0], run_id="b"), row([3.0, 4.0], run_id="a", epoch=2)]
    assert verdict.series(two_runs) == [[1, 2, 3, 4], [5]]
    assert verdict.series([row(block_samples_per_second="", epoch_seconds=4.0)]) == [[0.25]]
    assert verdict.series([row(block_samples_per_second="1 x", epoch_seconds=4.0)]) == [[0.25]]
    assert verdict.series([row(block_samples_per_second="1 -1", epoch_seconds=4.0)]) == [[0.25]]
    assert verdict.series([row(block_samples_per_second="", epoch_seconds=None)]) == []


# ---- Comparing ----


@pytest.mark.parametrize(
    ("ratio", "half", "other", "word"),
    [
        (1.10, 0.01, 0.01, "faster"),
        (0.90, 0.01, 0.01, "slower"),
        (1.00, 0.004, 0.003, "the same"),
        (1.00, 0.006, 0.007, "the same"),
        (1.00, 0.009, 0.009, "can't be told"),
        (1.05, 0.10, 0.01, "can't be told"),
        # At the borders: half-widths of 3 and 4% make one of 5%.
        (1.011 / 0.95, 0.03, 0.04, "faster"),
        (1.009 / 0.95, 0.03, 0.04, "can't be told"),
        (0.989 / 1.05, 0.03, 0.04, "slower"),
        (0.991 / 1.05, 0.03, 0.04, "can't be told"),
        (1.0, 0.0099, 0.0, "the same"),
        (1.0, 0.0101, 0.0, "can't be told"),
        (1.0101, 0.0, 0.0, "faster"),
        (1.0099, 0.0, 0.0, "the same"),
        (0.9901, 0.0, 0.0, "the same"),
        (0.9899, 0.0, 0.0, "slower"),
        (2.0, None, 0.01, "can't be told"),
        (2.0, 0.01, None, "can't be told"),
        (float("nan"), 0.01, 0.01, "can't be told"),
    ],
)
def test_compare(ratio, half, other, word):
    assert verdict.compare(ratio, half, other).word == word


def test_the_half_width_of_a_ratio():
    assert verdict.compare(2, 0.03, 0.04).half_width == pytest.approx(0.05)
    assert verdict.compare(2, None, 0.04).half_width is None


def test_published_figures_are_never_the_same():
    assert verdict.compare(1.001, None, 0.5, published=True) == (1.001, None, "faster", None)
    assert verdict.compare(0.999, 0.1, None, published=True).word == "slower"
    assert verdict.compare(1.0, 0.1, None, published=True).word == "can't be told"


@pytest.mark.parametrize("ratio", [1.03, 0.96, 1.0, 1.004])
@pytest.mark.parametrize("runs", [1, 3])
def test_more_runs_tell(ratio, runs):
    before = verdict.compare(ratio, 0.03, 0.01, runs)
    assert before.word == "can't be told"
    shrunk = (runs / (runs + before.more_runs)) ** 0.5
    assert verdict.compare(ratio, 0.03 * shrunk, 0.01 * shrunk).word != "can't be told"
    if before.more_runs > 1:
        one_less = (runs / (runs + before.more_runs - 1)) ** 0.5
        assert verdict.compare(ratio, 0.03 * one_less, 0.01 * one_less).word == "can't be told"


def test_when_not_even_many_runs_tell():
    assert verdict.compare(1.01, 0.03, 0.01).more_runs is None
    assert verdict.compare(1.0101, 0.5, 0.01).more_runs is None


def test_real_looking_machines():
    """Two machines, 2.5% apart, measured for a noisy minute each: one run can't tell, 20 can, by their grades."""

    def measured(level, runs):
        rows = []
        for run in range(runs):
            generator = random.Random(f"{level} {run}")
            shift = generator.gauss(1, 0.005)
            rates = [rate * level * shift for rate in noise(generator, 20, 0.3, 0.02)]
            rows.append(row(rates, run_id=str(run)))
        return statistics.median(map(statistics.median, verdict.series(rows))), verdict.grade(rows).half_width

    words = []
    for runs in (1, 20):
        (one, half), (two, other) = measured(1.025, runs), measured(1.0, runs)
        words.append(verdict.compare(one / two, half, other, runs).word)
    assert words == ["can't be told", "faster"]
