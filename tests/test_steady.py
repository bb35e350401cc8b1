"""The statistics of blocks, on made-up rates whose true figures are known. benchmarks/steady.py tries many more."""

import random
import statistics

import pytest

from speed_test import steady
from tests.made_series import noise, slowed, throttled

RUNS = 1000


def misses(n: int, r: float, deviation: float) -> tuple[int, int]:
    """Of made-up runs: how many intervals miss the true rate, 100, and how many runs are too few blocks."""
    generator = random.Random(f"{n} {r} {deviation}")
    missed = few = 0
    for _ in range(RUNS):
        median, half_width, _, _ = steady.interval(noise(generator, n, r, deviation))
        if half_width is None:
            few += 1
        else:
            missed += abs(median - 100) > half_width * median
    return missed, few


@pytest.mark.parametrize("deviation", [0.01, 0.03])
@pytest.mark.parametrize("r", [0, 0.6, 0.8])
@pytest.mark.parametrize("n", [10, 20, 60])
def test_the_interval_holds_the_true_rate(n, r, deviation):
    missed, few = misses(n, r, deviation)
    assert missed <= 0.07 * RUNS
    if r == 0:
        assert few <= 0.4 * RUNS


def test_the_interval_is_no_wider_than_it_must_be():
    generator = random.Random(1)
    widths = [steady.interval(noise(generator, 60, 0, 0.01)).half_width for _ in range(200)]
    # The standard error of a median is 1.25 deviations / sqrt(n), and 1.96 of these make 95%: 0.32%.
    assert 0.003 < statistics.median(widths) < 0.005
    alike = [steady.interval(noise(generator, 60, 0.6, 0.01)).half_width or 0 for _ in range(200)]
    assert statistics.median(alike) > 1.5 * statistics.median(widths)


def test_too_few_blocks_have_no_interval():
    assert steady.interval([100, 101, 99, 100, 102]) == (100, None, 5, pytest.approx(5, abs=3))
    up_and_down = [100 + place // 10 % 2 for place in range(60)]
    assert steady.interval(up_and_down).half_width is None
    assert steady.effective(up_and_down) < 6
    with pytest.raises(ValueError, match="no values"):
        steady.interval([])


def test_a_series_without_noise():
    assert steady.interval([100.0] * 10) == (100, 0, 10, 10)
    assert steady.interval([0.1 + 0.2] * 10).half_width == 0
    assert steady.autocorrelation([0.1] * 100) == 0


def test_the_order_statistics_are_those_of_the_tables():
    # Conover, Practical Nonparametric Statistics: for the median of n values, counted from 1, the r-th lowest.
    assert {n: steady._rank(n) + 1 for n in (6, 8, 9, 10, 15, 20, 25, 30)} == {
        **{6: 1, 8: 1, 9: 2, 10: 2, 15: 4, 20: 6, 25: 8, 30: 10}
    }
    assert abs(steady._rank(500) - steady._rank(501)) <= 2  # from there on by approximation


def test_autocorrelation():
    generator = random.Random(2)
    for r in (0, 0.6, 0.8):
        assert steady.autocorrelation(noise(generator, 5000, r)) == pytest.approx(r, abs=0.05)
        n = steady.effective(noise(generator, 5000, r)) / 5000
        assert n == pytest.approx((1 - r) / (1 + r), abs=0.05)
    in_turn = [100, 101] * 10
    assert steady.autocorrelation(in_turn) < 0
    assert steady.effective(in_turn) == 20
    assert steady.autocorrelation(list(range(60))) < 1
    assert steady.autocorrelation([1]) == steady.autocorrelation([]) == 0


def test_students_t():
    assert [steady.student(n) for n in (1, 2, 10)] == [12.706, 4.303, 2.228]
    assert steady.student(2.5) == pytest.approx((4.303 + 3.182) / 2)
    assert steady.student(20) == pytest.approx(2.086, rel=0.005)
    assert steady.student(10**6) == pytest.approx(1.96, rel=0.001)


def test_between_runs():
    assert steady.between_runs([]) is None
    assert steady.between_runs([100]) is None
    assert steady.between_runs([100, 101]) == pytest.approx(1 / 100.5)
    assert steady.between_runs([99, 100, 101]) == pytest.approx(4.303 * 0.01 / 3**0.5)
    # More runs that lie as far apart tell more.
    assert steady.between_runs([99, 100, 101] * 3) < steady.between_runs([99, 100, 101]) / 2


# ---- Drift ----


@pytest.mark.parametrize("deviation", [0.005, 0.01])
@pytest.mark.parametrize("n", [20, 40, 60])
def test_a_step_that_slows_down_is_found_at_its_place(n, deviation):
    generator = random.Random(n)
    for _ in range(20):
        drift = steady.drift(slowed(noise(generator, n, 0.3, deviation)))
        assert drift.sure
        assert drift.change == pytest.approx(-0.1, abs=4 * deviation)
        assert drift.at == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("deviation", [0.01, 0.03])
@pytest.mark.parametrize("n", [10, 20, 40, 60])
def test_an_even_series_does_not_drift(n, deviation):
    generator = random.Random(n)
    false = sum(steady.drift(noise(generator, n, 0.6, deviation)).sure for _ in range(300))
    assert false <= 0.05 * 300
    assert not any(steady.drift(noise(generator, n, 0, 0.003)).sure for _ in range(20))


@pytest.mark.parametrize("n", [20, 40, 60])
def test_a_slow_decline_is_a_drift(n):
    generator = random.Random(n)
    for _ in range(20):
        rates = noise(generator, n, 0.3, 0.005)
        drift = steady.drift([rate * (1 - 0.1 * place / n) for place, rate in enumerate(rates)])
        assert drift.sure
        assert drift.change == pytest.approx(-0.07, abs=0.02)


@pytest.mark.parametrize("n", [20, 40, 60])
def test_heating_up_is_a_drift(n):
    generator = random.Random(n)
    for _ in range(20):
        drift = steady.drift(throttled(noise(generator, n, 0.3, 0.005)))
        assert drift.sure
        assert drift.change == pytest.approx(-0.05, abs=0.02)
        assert 0.05 <= drift.at <= 0.4


@pytest.mark.parametrize("n", [20, 60])
def test_a_slow_first_block_hides_no_drift(n):
    generator = random.Random(n)
    for _ in range(20):
        rates = slowed(noise(generator, n, 0.3, 0.01))
        rates[0] /= 2
        drift = steady.drift(rates)
        assert drift.sure
        assert drift.at == pytest.approx(0.5, abs=0.05)


def test_getting_faster_is_a_drift():
    drift = steady.drift(slowed(noise(random.Random(1), 60), by=-0.1, at=0.25))
    assert drift.sure
    assert drift.change == pytest.approx(0.1, abs=0.03)
    assert drift.at == pytest.approx(0.25, abs=0.05)


@pytest.mark.parametrize("place", [0, 9, -1])
def test_an_outlier_is_no_drift(place):
    for n in (10, 20, 60):
        rates = noise(random.Random(n), n)
        rates[place] /= 2
        assert not steady.drift(rates).sure


def test_a_drift_is_over_one_percent():
    assert not steady.drift(slowed([100.0] * 60, by=0.009)).sure
    assert steady.drift(slowed([100.0] * 60, by=0.011)).sure
    assert steady.drift([100.0] * 60) == (0, pytest.approx(0.5, abs=0.5), False)


def test_too_few_for_a_drift():
    assert steady.drift(slowed([100.0] * 8)) is None
    assert steady.drift(slowed([100.0] * 9)) is not None


# ---- Outliers, merging ----


def test_outliers():
    rates = noise(random.Random(1), 30)
    assert steady.outliers(rates) == []
    rates[7] = 70
    assert steady.outliers(rates) == [7]
    assert steady.outliers([]) == []
    assert steady.outliers([99, 100, 101, 100 + 14.7]) == []
    assert steady.outliers([99, 100, 101, 99, 101, 100, 100 + 14.9]) == [6]


def test_merged_blocks_keep_samples_and_seconds():
    blocks = [(place, place / 10) for place in range(1, 62)]
    merged = steady.merged(blocks)
    assert len(merged) == 31
    assert merged[0] == (3, pytest.approx(0.3))
    assert merged[-1] == blocks[-1]
    assert sum(samples for samples, _ in merged) == sum(samples for samples, _ in blocks)
    assert sum(seconds for _, seconds in merged) == pytest.approx(sum(seconds for _, seconds in blocks))
    assert steady.merged(blocks[:60]) == blocks[:60]
    assert len(steady.merged(blocks, most=1)) == 1


# ---- Until it is sure ----


def test_looks():
    assert [steady.next_look(n) for n in (0, 9, 10, 11, 20, 39, 40)] == [10, 10, 20, 20, 40, 40, 80]


@pytest.mark.parametrize(
    ("half_widths", "why"),
    [
        ([], None),
        ([0.02], "sure"),
        ([0.021], None),
        ([None], None),
        ([0.08, 0.06, 0.04, 0.03], None),
        ([0.08, 0.06, 0.04, 0.02], "sure"),
        ([0.08, 0.08, 0.08, 0.08], "noise"),
        ([0.08, 0.06, 0.04, 0.07], None),  # one unlucky look
        ([0.03, 0.08, 0.06, 0.05], None),  # one lucky look, long ago
        ([0.04, 0.05, 0.06, 0.08], "noise"),
        ([None, None, None, None], "noise"),
        ([None, None, None, 0.1], None),
        ([0.1, 0.08, None, None], "noise"),
    ],
)
def test_when_to_stop(half_widths, why):
    assert steady.stop(half_widths, 0.02) == why


def ends(make, target=0.02, most=640):
    """How a run with made-up blocks ends under --until: why, after how many blocks, and whether it was right."""
    rates, half_widths, n = make(most), [], 0
    while (n := steady.next_look(n)) <= most:
        median, half_width, _, _ = steady.interval(rates[:n])
        half_widths.append(half_width)
        if why := steady.stop(half_widths, target):
            return why, n, why == "sure" and abs(median - 100) <= half_width * median
    return None, most, False


def test_until_on_noise_that_shrinks():
    generator = random.Random(3)
    calm = [ends(lambda n: noise(generator, n, 0, 0.03)) for _ in range(100)]
    assert all(why == "sure" for why, _, _ in calm)
    assert sum(right for _, _, right in calm) >= 93
    # A half-width of 2% of a deviation of 3% needs about (1.25 * 1.96 * 3 / 2)^2 = 14 independent blocks.
    assert 20 <= statistics.median(n for _, n, _ in calm) <= 40


def test_until_gives_up_on_noise_that_does_not_shrink():
    def wandering(n):
        rates, level = [], 100.0
        for _ in range(n):
            level *= 1 + generator.gauss(0, 0.03)
            rates.append(level)
        return rates

    generator = random.Random(4)
    found = [ends(wandering, target=0.005) for _ in range(50)]
    assert sum(why == "noise" for why, _, _ in found) >= 45
    assert statistics.median(n for _, n, _ in found) <= 160
