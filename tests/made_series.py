"""Made-up rates of blocks, around 100 samples per second."""

import math
import random


def noise(generator: random.Random, n: int, r: float = 0.0, deviation: float = 0.01) -> list[float]:
    """`n` rates with normal noise of the relative standard `deviation` and the lag-1 autocorrelation `r`."""
    rates, value = [], generator.gauss()
    for _ in range(n):
        rates.append(100 * (1 + deviation * value))
        value = r * value + math.sqrt(1 - r * r) * generator.gauss()
    return rates


def slowed(rates: list[float], by: float = 0.1, at: float = 0.5) -> list[float]:
    """`rates`, slower `by` that much from the place `at` (0 to 1) on."""
    return [rate * (1 - by if place >= at * len(rates) else 1) for place, rate in enumerate(rates)]


def throttled(rates: list[float], by: float = 0.1, within: float = 0.2) -> list[float]:
    """`rates`, slower and slower as a machine that heats up, in the end `by` that much; two thirds of it `within` that
    part of the series."""
    n = len(rates)
    return [rate * (1 - by * (1 - math.exp(-place / n / within))) for place, rate in enumerate(rates)]
