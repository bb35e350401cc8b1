"""How far the statistics of speed_test/steady.py can be trusted, on made-up noise whose true figures are known.

    python benchmarks/steady.py
    python benchmarks/steady.py --runs=10000 --seed=2

Prints how often the interval holds the true rate, how often a drift is found and how often one is found where there is
none, and how --until ends. Noise is normal; r is its lag-1 autocorrelation. It takes ten seconds.
"""

import argparse
import random
import statistics
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from speed_test import steady  # noqa: E402
from speed_test.screen import aligned, say  # noqa: E402
from tests.made_series import noise, slowed, throttled  # noqa: E402

NOISES = (0, 0.6, 0.8)
MOST_BLOCKS = 640


def generator(seed: int, *words: object) -> random.Random:
    return random.Random(f"{seed} {words}")


def show(title: str, lines: list[tuple[str, ...]]) -> None:
    say(f"\n{title}")
    for line in aligned(lines, left=()):
        say(f"  {line}")


def coverage(runs: int, seed: int) -> None:
    lines: list[tuple[str, ...]] = [("blocks", "r", "noise", "holds", "too few", "holds, if told", "half-width")]
    for n in (10, 20, 60):
        for r in NOISES:
            for deviation in (0.01, 0.03):
                source, widths, missed = generator(seed, n, r, deviation), [], 0
                for _ in range(runs):
                    median, width, _, _ = steady.interval(noise(source, n, r, deviation))
                    if width is not None:
                        widths.append(width)
                        missed += abs(median - 100) > width * median
                told = len(widths)
                shares = (1 - missed / runs, 1 - told / runs, 1 - missed / max(told, 1))
                width = f"{statistics.median(widths):.1%}" if widths else ""
                lines.append((str(n), str(r), f"{deviation:.0%}", *(f"{share:.1%}" for share in shares), width))
    show("95% interval of the median: holds the true rate (or says that there are too few blocks)", lines)


def drift(runs: int, seed: int) -> None:
    lines: list[tuple[str, ...]] = [
        ("blocks", "r", "noise", "false alarms", "step: found", "and placed", "curve: found")
    ]
    for n in (10, 20, 40, 60):
        for r in NOISES:
            for deviation in (0.005, 0.01, 0.03):
                source = generator(seed, n, r, deviation)
                false = found = placed = curved = 0
                for _ in range(runs):
                    even = noise(source, n, r, deviation)
                    false += sure(steady.drift(even))
                    changed = steady.drift(slowed(even))
                    found += sure(changed)
                    placed += changed is not None and abs(changed.at - 0.5) <= 0.05
                    curved += sure(steady.drift(throttled(even)))
                shares = (false / runs, found / runs, placed / runs, curved / runs)
                lines.append((str(n), str(r), f"{deviation:.1%}", *(f"{share:.1%}" for share in shares)))
    show(
        "Drift: an even series, one that is 10% slower in its second half, and one that falls by 10% in a curve", lines
    )


def sure(found: steady.Drift | None) -> bool:
    return found is not None and found.sure


def wandering(source: random.Random, n: int) -> list[float]:
    """Noise of 1% whose level wanders by 1% a block, and so does not shrink."""
    rates, level = [], 100.0
    for rate in noise(source, n):
        level *= 1 + source.gauss(0, 0.01)
        rates.append(rate * level / 100)
    return rates


NOISE_OF_UNTIL: dict[str, Callable[[random.Random, int], list[float]]] = {
    "1%": lambda source, n: noise(source, n, 0, 0.01),
    "3%": lambda source, n: noise(source, n, 0, 0.03),
    "3%, r = 0.6": lambda source, n: noise(source, n, 0.6, 0.03),
    "5%, r = 0.8": lambda source, n: noise(source, n, 0.8, 0.05),
    "wandering": wandering,
}


def until(runs: int, seed: int) -> None:
    lines: list[tuple[str, ...]] = [("noise", "--until", "sure", "noise", "neither", "blocks", "sure and right")]
    for name, make in NOISE_OF_UNTIL.items():
        for target in (0.02, 0.005):
            source = generator(seed, name, target)
            ends = [one_until(make(source, MOST_BLOCKS), target) for _ in range(runs)]
            why = Counter(end[0] for end in ends)
            right = sum(end[2] for end in ends) / (why["sure"] or 1)
            shares = [f"{why[word] / runs:.0%}" for word in ("sure", "noise", None)]
            blocks = f"{statistics.median(end[1] for end in ends):.0f}"
            lines.append((name, f"{target:.1%}", *shares, blocks, f"{right:.0%}" if why["sure"] else ""))
    show(f"--until: why it ends, after how many blocks (median; {MOST_BLOCKS} at most)", lines)


def one_until(rates: list[float], target: float) -> tuple[str | None, int, bool]:
    """Why a run ends, after how many blocks, and whether its interval holds the true rate."""
    half_widths: list[float | None] = []
    n = steady.next_look(0)
    while n <= len(rates):
        median, width, _, _ = steady.interval(rates[:n])
        half_widths.append(width)
        if why := steady.stop(half_widths, target):
            return why, n, why == "sure" and width is not None and abs(median - 100) <= width * median
        n = steady.next_look(n)
    return None, len(rates), False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000, help="made-up runs of each kind (default: 1000)")
    parser.add_argument("--seed", type=int, default=1, help="of the random numbers (default: 1)")
    options = parser.parse_args()
    coverage(options.runs, options.seed)
    drift(options.runs, options.seed)
    until(max(options.runs // 4, 1), options.seed)


if __name__ == "__main__":
    main()
