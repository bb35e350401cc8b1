"""--best: which combination of the switches is the fastest at a batch size, of those that train as float32 does.

Each combination trains in a process of its own: for a few seconds against the clock, and then STEPS steps from the same
start, whose losses are compared with float32's.

How far may they be off? Rounding differently is as good as starting from weights that are a little off, by the unit
roundoff of the type (backward error: N. Higham, Accuracy and Stability of Numerical Algorithms, chapter 1). Training
makes the difference grow, and how much depends on model, data and batch size. So it is measured: float32 trains TWINS
times more, from weights that are off by as much as each precision rounds. Adam's first steps go by the sign of a
gradient, so twins drift apart quickly, and then no further. A combination is right if its losses are off from float32's
by no more than TOLERANCE times what the twin is that is off the most. The distance between two series of losses is the
mean of their absolute differences. A run that does not learn at all has to be further off than that, or nothing was
shown: then more steps are tried, up to MOST_STEPS and for TWIN_SECONDS.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from speed_test import screen
from speed_test.switches import ROUNDOFF, Switches

STEPS, MOST_STEPS = 5, 40
TWINS = 3
TWIN_SECONDS = 30
TOLERANCE = 2
# Products of 16-bit numbers are added up in float32, whose own rounding errors grow with the square root of how many
# are added: 4,096 is about what a convolution of ResNet50 adds up (3 x 3 x 512).
LEAST_OFF = ROUNDOFF["float32"] * math.sqrt(4096)
# A gradient scaler skips a step whose float16 gradients overflow, and halves its scale, which begins at 2^16 (PyTorch)
# or 2^15 (Keras). The next loss is then the same, and is not counted.
MOST_SKIPPED = 24
# A combination whose steps take so many times as long as float32's is not tried any further.
FAR_TOO_SLOW = 4
TOO_SLOW = f"a step takes over {FAR_TOO_SLOW} times as long as float32's, so no more of it was tried"
AS_FAST = 0.98  # of the highest rate: a difference of less is noise
# Compiling takes up to a minute, and has never made up for so much.
WORTH_COMPILING = 0.5


class Reference(NamedTuple):
    """The losses of float32 over some steps, and how far off others may be at each precision."""

    losses: list[float]
    tolerances: dict[str, float]
    is_telling: bool  # whether a run that learns nothing would be found out


class Trial(NamedTuple):
    """What came out of a combination: `rate` in samples per second, `memory_gb` (peak), and `losses` of its first
    steps. `failure` says why it did not work."""

    switches: Switches
    rate: float = 0.0
    memory_gb: float | None = None
    losses: Sequence[float] = ()
    failure: str = ""


def off_by(precision: str) -> float:
    """How far the weights of a twin are off, relative to each, to stand for the rounding of a precision."""
    return max(ROUNDOFF[precision], LEAST_OFF)


def distance(losses: Sequence[float], others: Sequence[float]) -> float:
    """The mean absolute difference of two series of losses; infinite if a loss is not finite."""
    off = [abs(one - other) for one, other in zip(losses, others, strict=True)]
    return math.fsum(off) / len(off) if all(map(math.isfinite, off)) else math.inf


def reference(train: Callable[[int, float, int], list[float]], seconds: Callable[[], float]) -> Reference:
    """Train float32 and its twins. `train(steps, off, seed)` returns the losses of so many steps from weights that
    are off by `off`, and `seconds()` is the time on a clock."""
    begin = seconds()
    steps = STEPS
    while True:
        losses = train(steps, 0.0, 0)
        twins: dict[float, float] = {}
        for off in sorted({off_by(precision) for precision in ROUNDOFF}, reverse=True):
            twins[off] = max(distance(train(steps, off, seed), losses) for seed in range(1, TWINS + 1))
        tolerances = {precision: TOLERANCE * twins[off_by(precision)] for precision in ROUNDOFF}
        is_telling = distance(losses, [losses[0]] * steps) > max(tolerances.values())
        # Twice as many steps take twice as long.
        if is_telling or steps >= MOST_STEPS or 3 * (seconds() - begin) > TWIN_SECONDS:
            return Reference(losses, tolerances, is_telling)
        steps *= 2


def wrong(trial: Trial, known: Reference) -> str:
    """Why a combination does not train as float32 does, or ""."""
    off, most = distance(trial.losses, known.losses), known.tolerances[trial.switches.precision]
    if not math.isfinite(off):
        return "its loss is no number"
    return "" if off <= most else f"its losses are {off:.2g} off, where {most:.2g} is explained by rounding"


def worth_compiling(switches: Switches, trials: Sequence[Trial], known: Reference) -> bool:
    """Whether a combination is to be tried at all: compiling one that is wrong or far behind is not."""
    if not switches.compile:
        return True
    rates = {trial.switches: trial.rate for trial in _right(trials, known)}
    best = max(rates.values(), default=0.0)
    return rates.get(switches._replace(compile=False), -1.0) >= WORTH_COMPILING * best


def _right(trials: Sequence[Trial], known: Reference) -> list[Trial]:
    """Those that worked and train as float32 does."""
    return [trial for trial in trials if not trial.failure and not wrong(trial, known)]


def fastest(trials: Sequence[Trial], known: Reference) -> Trial:
    """The fastest trial of those that worked and train right; of those that are as fast as that but for noise, the
    first."""
    right = _right(trials, known)
    best = max(trial.rate for trial in right)
    return next(trial for trial in right if trial.rate >= AS_FAST * best)


def nothing_to_compare_with(default: Trial, known: Reference | None) -> str:
    """Why the default combination cannot judge the others, or ""."""
    return default.failure if known is None else wrong(default, known)


def table(trials: Sequence[Trial], known: Reference) -> list[tuple[str, ...]]:
    """A line for each combination, the default first: samples per second, gain, memory, and how far its loss is off."""
    base = trials[0].rate
    lines: list[tuple[str, ...]] = [("", "samples/s", "gain", "memory", "loss off by", "")]
    for trial in trials:
        if trial.failure:
            rate = (screen.number(trial.rate), f"{trial.rate / base:.2f}x") if trial.rate else ("", "")
            lines.append((trial.switches.words, *rate, "", "", "TOO SLOW" if trial.rate else "FAILED"))
            continue
        lines.append(
            (
                trial.switches.words,
                screen.number(trial.rate),
                f"{trial.rate / base:.2f}x",
                "" if trial.memory_gb is None else f"{trial.memory_gb:.1f} GB",
                "" if trial is trials[0] else f"{distance(trial.losses, known.losses):.2g}",
                "WRONG" if wrong(trial, known) else "",
            )
        )
    return lines


def sentences(trials: Sequence[Trial], known: Reference) -> list[str]:
    """What is to be said under the table."""
    steps = len(known.losses)
    found = []
    for trial in trials:
        if trial.failure:
            what = "is far too slow" if trial.rate else "failed"
            found.append(screen.one_line(f"{trial.switches.words} {what}: {trial.failure}", 300).rstrip(".") + ".")
        elif why := wrong(trial, known):
            found.append(f"{trial.switches.words} is wrong, not fast: {why}.")
    precisions = dict.fromkeys(trial.switches.precision for trial in trials)
    allowed = ", ".join(f"{known.tolerances[precision]:.2g} in {precision}" for precision in precisions)
    found.append(f"Loss off by: the mean difference from float32 over {steps} steps; rounding explains {allowed}.")
    if not known.is_telling:
        found.append(f"In {steps} steps this model learns too little to find out a step that does not train at all.")
    return found
