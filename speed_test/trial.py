"""--best, in the child: the speed of one combination of the switches, and its losses."""

import time
from typing import TYPE_CHECKING

from speed_test import best, switches

if TYPE_CHECKING:
    from speed_test.clock import Clock
    from speed_test.experiment import TrainingStep


def try_out(clock: "Clock", step: "TrainingStep", steps: int) -> None:
    """For --best: send a Trial of the switches, and with `steps` 0 the Reference that others are compared with."""
    how = switches.of(clock.options)
    clock.warm_up(step.run, [step.first])
    if clock.options.trial_seconds and (rate := _rate_if_far_too_slow(clock, step)):
        return clock.send("trial", best.Trial(how, rate, failure=best.TOO_SLOW))
    rate = clock.compute_limit(step.run, step.first)
    memory_gb = clock.framework.peak_memory_gb(clock.options.device)

    def train(steps: int, off: float, seed: int) -> list[float]:
        if off:
            step.rewind.perturbed(off, seed)  # type: ignore[attr-defined]
        else:
            step.rewind()
        losses: list[float] = []
        skipped = 0 if clock.options.precision == "float16" else best.MOST_SKIPPED
        while len(losses) < steps:
            loss = step.loss(*step.first)
            clock.alive()
            if losses and loss == losses[-1] and skipped < best.MOST_SKIPPED:
                skipped += 1
            else:
                losses.append(loss)
        return losses

    known = None if steps else best.reference(train, time.perf_counter)
    losses = known.losses if known else train(steps, 0.0, 0)
    clock.send("reference", known)
    clock.send("trial", best.Trial(how, rate, memory_gb, losses))


def _rate_if_far_too_slow(clock: "Clock", step: "TrainingStep") -> float | None:
    """Samples per second of one step, if that takes far longer than a step of float32 does."""
    start = time.perf_counter()
    step.run(*step.first)
    clock.wait()
    seconds = time.perf_counter() - start
    return len(step.first[0]) / seconds if seconds > best.FAR_TOO_SLOW * clock.options.trial_seconds else None
