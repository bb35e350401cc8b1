"""How sure a figure is: interval, autocorrelation, drift, outliers, and when to stop. Pure functions of numbers.

A series holds the rates of the blocks of a run in their order. Neighbouring blocks are alike (a clock that goes up
and down, a neighbour that comes and goes), so n of them tell less than n independent ones would: see `effective`.
How well all of this does on made-up noise: benchmarks/steady.py.
"""

import functools
import itertools
import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

CONFIDENCE = 0.95
Z = 1.96  # 95% of a normal distribution lie within so many standard deviations
# Student's t, 97.5%, for 1 to 10 degrees of freedom. Beyond: Z + 2.65 / degrees is right to half a percent.
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)

TOO_FEW = 6  # the fewest values of which lowest and highest hold the median with 95%: 1 - 2 / 2^6 is 97%
FIRST_LOOK = 10
FEWEST_FOR_DRIFT = 9  # three blocks a third
ROUNDING = 1e-12  # relative: what is nearer to 0 is not noise but the end of a float
SAME = 0.01  # a change within 1% is none: as in comparing two machines
NORMAL = 1.4826  # the median absolute deviation times this is the standard deviation of normal noise
SHRINKS = 0.8  # see `stop`
OUTLIER = 14.8  # median absolute deviations: about 10 standard deviations, as in hyperfine


class Interval(NamedTuple):
    """The median of a series and its 95% confidence interval, `median` * (1 -+ `half_width`).

    `half_width` is relative: 0.012 is 1.2%. It is None if the `n` values are worth fewer than 6 independent ones
    (`effective`).
    """

    median: float
    half_width: float | None
    n: int
    effective: float


def as_rate(figure: float, better: str) -> float:
    """A figure above 0 as a rate, of which the higher one is better: where "lower" is `better`, how often it fits into
    one of them."""
    return 1 / figure if better == "lower" else figure


class Drift(NamedTuple):
    """`change` is -0.09 if the last third is 9% slower than the first. It is `sure` if that is more than noise.
    `at`, from 0 to 1, is where in the series it sets in."""

    change: float
    at: float
    sure: bool


def autocorrelation(values: Sequence[float]) -> float:
    """How much alike neighbours are: the lag-1 autocorrelation r, plus (2 + 4r) / n. 0 if all values are the same;
    always below 1.

    In a short series r comes out too low by about (1 + 3r) / n to (1 + 4r) / n (Marriott and Pope, Kendall: Biometrika
    41, 1954). With the former added and no more, 8 to 9% of the intervals of 10 and 20 blocks whose true r was 0.8
    missed their median; with another (1 + r) / n it is 5 to 6%.
    """
    n = len(values)
    if n < 2:
        return 0.0
    mean = statistics.fmean(values)
    rest = [value - mean for value in values]
    if math.sqrt(_squares(rest) / n) <= ROUNDING * abs(mean):
        return 0.0
    r = _lag_1(rest)
    return min(r + (2 + 4 * r) / n, 0.99)


def _squares(rest: Sequence[float]) -> float:
    return math.fsum(value * value for value in rest)


def _lag_1(rest: Sequence[float]) -> float:
    """The lag-1 autocorrelation of values whose mean is 0 and that are not all 0."""
    return math.fsum(a * b for a, b in itertools.pairwise(rest)) / _squares(rest)


def effective(values: Sequence[float]) -> float:
    """How many independent values tell as much as these: n (1 - r) / (1 + r), and never more than n."""
    r = max(autocorrelation(values), 0.0)
    return len(values) * (1 - r) / (1 + r)


def interval(values: Sequence[float]) -> Interval:
    """The median with its 95% confidence interval by order statistics, widened by sqrt(n / effective), and by as much
    as Student's t is wider than the normal distribution for that few independent values.

    Raises ValueError if there are no values.
    """
    if not values:
        raise ValueError("no values to take a median of")
    n, median, worth = len(values), statistics.median(values), effective(values)
    if worth < TOO_FEW or median <= 0:
        return Interval(median, None, n, worth)
    ordered = sorted(values)
    rank = _rank(n)
    half = (ordered[n - 1 - rank] - ordered[rank]) / 2
    return Interval(median, half / median * math.sqrt(n / worth) * student(worth - 1) / Z, n, worth)


@functools.cache
def _rank(n: int) -> int:
    """Of `n` values in order (from 0), the number of the one at the lower end of the interval: the highest of which a
    binomial distribution says that it and its counterpart hold the median with 95% or more. `n` is 6 or more."""
    if n > 500:
        return max(math.floor((n - Z * math.sqrt(n)) / 2) - 1, 0)
    below, rank = 0, -1  # of the 2^n ways to lie above or below the median, those with `rank` or fewer below it
    while 2 * (below + math.comb(n, rank + 1)) <= (1 - CONFIDENCE) * 2**n:
        rank += 1
        below += math.comb(n, rank)
    return max(rank, 0)


def student(degrees: float) -> float:
    """The 97.5% point of Student's t, in standard errors; between whole degrees of freedom in a straight line."""
    if degrees > len(STUDENT):
        return Z + 2.65 / degrees
    low = max(math.floor(degrees), 1)
    above = STUDENT[min(low, len(STUDENT) - 1)]
    return STUDENT[low - 1] + max(degrees - low, 0) * (above - STUDENT[low - 1])


def between_runs(medians: Sequence[float]) -> float | None:
    """The spread of the medians of fresh processes, as a relative half-width: of three or more the 95% interval of
    their mean by Student's t; of two their difference, because t would be 6 times that. None for fewer than two."""
    k = len(medians)
    middle = statistics.median(medians) if k else 0
    if k < 2 or middle <= 0:
        return None
    if k == 2:
        return abs(medians[0] - medians[1]) / middle
    return student(k - 1) * statistics.stdev(medians) / math.sqrt(k) / middle


def drift(values: Sequence[float]) -> Drift | None:
    """How the speed changed from the first third of a series to the last. None for fewer than 9 values.

    It is sure if the change is over 1% and over 2.5 + 16 / sqrt(n) standard errors of the noise. Noise is what is left
    after taking away the series that goes only up, or only down, and fits best: else a drift would count as noise
    itself, be it a step, a line or a curve. That takes some of the noise with it, in a short series most, hence the
    16 / sqrt(n), found by trying; of even series with noise of r = 0.6 up to 3% are taken for drifting. Thirds are
    summed up by medians, and single outliers left out: a slow first block is no drift.
    """
    n = len(values)
    if n < FEWEST_FOR_DRIFT:
        return None
    third = n // 3
    first, last = statistics.median(values[:third]), statistics.median(values[-third:])
    if first <= 0:
        return None
    change = last / first - 1
    neighbours = NORMAL * statistics.median(abs(b - a) for a, b in itertools.pairwise(values)) / math.sqrt(2)
    cleaned = _without_outliers(values, 6 * neighbours)
    rest = _about_one_way(cleaned) if last > first else _about_one_way([-value for value in cleaned])
    noise = max(math.sqrt(_squares(rest) / (n - 3)), neighbours)
    r = max(_lag_1(rest), 0.0) if any(rest) else 0.0
    error = noise / first * math.sqrt(2 / (n / 3 * (1 - r) / (1 + r)))
    sure = abs(change) > max(SAME, (2.5 + 16 / math.sqrt(n)) * error)
    return Drift(change, _best_cut(cleaned) / n, sure)


def _without_outliers(values: Sequence[float], most: float) -> list[float]:
    """`values`, with the median of its neighbourhood, two values to each side, in place of each that is further than
    `most` from it (Hampel's filter)."""
    local = (statistics.median(values[max(place - 2, 0) : place + 3]) for place in range(len(values)))
    return [value if abs(value - middle) <= most else middle for value, middle in zip(values, local, strict=True)]


def _about_one_way(values: Sequence[float]) -> list[float]:
    """What is left of `values` without the series that never goes down and fits best (isotonic regression, by pooling
    adjacent violators)."""
    levels: list[tuple[float, int]] = []  # mean, and of how many
    for value in values:
        mean, count = value, 1
        while levels and levels[-1][0] >= mean:
            before, more = levels.pop()
            mean, count = (mean * count + before * more) / (count + more), count + more
        levels.append((mean, count))
    fitted = (mean for mean, count in levels for _ in range(count))
    return [value - fit for value, fit in zip(values, fitted, strict=True)]


def _best_cut(values: Sequence[float]) -> int:
    """Where to cut a series in two for its parts to differ least from their means."""
    n = len(values)
    total, left, best, cut = math.fsum(values), 0.0, -math.inf, 0
    for place in range(1, n):
        left += values[place - 1]
        explained = left * left / place + (total - left) ** 2 / (n - place)
        if explained > best:
            best, cut = explained, place
    return cut


def outliers(values: Sequence[float]) -> list[int]:
    """The places of the values that are over 14.8 median absolute deviations away from the median."""
    if not values:
        return []
    median = statistics.median(values)
    away = [abs(value - median) for value in values]
    most = OUTLIER * statistics.median(away)
    return [place for place, distance in enumerate(away) if distance > most] if most else []


def merged(blocks: list[tuple[int, float]], most: int = 60) -> list[tuple[int, float]]:
    """`blocks` (samples, seconds), with neighbours added up in pairs until there are at most `most` (1 or more)."""
    while len(blocks) > most:
        pairs = zip(blocks[::2], blocks[1::2], strict=False)
        alone = blocks[-1:] if len(blocks) % 2 else []
        blocks = [(a + b, s + t) for (a, s), (b, t) in pairs] + alone
    return blocks


def next_look(n: int) -> int:
    """The number of blocks at which to look next after `n`: 10, 20, 40, and so on.

    Looking after every block would stop at the first moment at which the noise happens to look small.
    """
    look = FIRST_LOOK
    while look <= n:
        look *= 2
    return look


def stop(half_widths: Sequence[float | None], target: float) -> str | None:
    """Whether to stop, after the looks so far: "sure" (the last half-width is within `target`), "noise" (it no longer
    shrinks), or None (go on). None among `half_widths` means too few blocks.

    Two looks further there are four times the blocks, so the half-width should be half as wide. It is noise if both
    of the last two looks are over 0.8 times the wider one of the two before: so no single look, unlucky now or lucky
    before, ends it. It is noise too if the fourth look has come, and neither of the last two has found an interval.
    """
    if not half_widths:
        return None
    last = half_widths[-1]
    if last is not None and last <= target:
        return "sure"
    if len(half_widths) < 4:
        return None
    *before, last_but_one, last_one = (math.inf if width is None else width for width in half_widths[-4:])
    now = min(last_but_one, last_one)
    return "noise" if now == math.inf or now > SHRINKS * max(before) else None
