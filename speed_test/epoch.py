"""One epoch on the clock: its blocks, what it waited for, and its row."""

import itertools
import math
import signal
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from speed_test import steady
from speed_test.screen import progress_bar

if TYPE_CHECKING:
    from speed_test.clock import Clock
    from speed_test.experiment import Batch

# An epoch is cut into blocks of about a second: the waits for the device at their borders are meant to take less than a
# thousandth of the time. A longer epoch has longer blocks, so that there are no more than this.
BLOCK_SECONDS = 1.0
MOST_BLOCKS = 60

# A gap between two steps is a stop if it is ten times as long as a step, and no shorter than this. After the signal
# with which Unix continues a stopped process, twice a step will do.
STOP_SECONDS = 0.5
STOP_STEPS, STOP_STEPS_CONTINUED = 10, 2
FEWEST_GAPS = 10


def now_in_utc() -> str:
    """As it stands in a row."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def notice_stops() -> None:
    """Count how often this process is continued after a stop. To be called in its main thread; Unix only."""
    if hasattr(signal, "SIGCONT"):
        signal.signal(signal.SIGCONT, _count_stop)


_stops = 0


def _count_stop(*_) -> None:
    global _stops
    _stops += 1


def stops() -> int:
    """How often this process was continued after a stop, since `notice_stops`."""
    return _stops


def stopped_seconds(times: Sequence[float], after_signal: bool) -> float:
    """How long the process was stopped between `times`, the seconds at which things came that take about equally long.

    `after_signal`: it was continued by a signal in that time.
    """
    gaps = [after - before for before, after in itertools.pairwise(times)]
    if not after_signal and len(gaps) < FEWEST_GAPS:  # they may be phases of different lengths
        return 0.0
    usual = statistics.median(gaps) if gaps else 0.0
    longest = max(STOP_SECONDS, usual * (STOP_STEPS_CONTINUED if after_signal else STOP_STEPS))
    return math.fsum(gap - usual for gap in gaps if gap > longest)


class Blocks:
    """The blocks of an epoch, and the stops in it. `wait()` returns once the device has nothing left to do."""

    def __init__(self, wait: Callable[[], None]) -> None:
        self._wait = wait
        self._blocks: list[tuple[int, float]] = []  # samples and seconds
        self._length = BLOCK_SECONDS
        self._samples = 0
        self._steps = 0
        self._at_border = 0  # samples
        self._gaps: list[tuple[float, float, bool]] = []  # seconds, those of waiting for data, after a signal
        self._stops = _stops

    def start(self, now: float) -> None:
        self._border = self._counted = now
        self._waited = 0.0

    def count(self, size: int, waited: float) -> float:
        """Count a step on `size` samples; return the time. `waited` are the seconds of waiting for data so far."""
        self._samples += size
        self._steps += 1
        now = time.perf_counter()
        self._note_gap(now, waited)
        if now - self._border >= self._length:
            self._wait()
            now = time.perf_counter()
            if self._stops != _stops:  # else a device that has much left to do explains the wait
                self._note_gap(now, waited)
            self._end_block(now)
        self._counted, self._waited = now, waited
        return now

    def _note_gap(self, now: float, waited: float) -> None:
        if now - self._counted > STOP_SECONDS:
            self._gaps.append((now - self._counted, waited - self._waited, self._stops != _stops))
            self._counted, self._waited, self._stops = now, waited, _stops

    def _end_block(self, now: float) -> None:
        self._blocks.append((self._samples - self._at_border, now - self._border))
        self._at_border, self._border = self._samples, now
        if len(self._blocks) == 2 * MOST_BLOCKS:
            self._blocks = steady.merged(self._blocks, MOST_BLOCKS)
            self._length *= 2

    def stop(self, now: float) -> None:
        """End the last block. If it is too short to be one, it becomes a part of the one before."""
        if self._stops != _stops:
            self._note_gap(now, self._waited)
        if self._samples > self._at_border:
            self._end_block(now)
        if len(self._blocks) > 1 and self._blocks[-1][1] < self._length / 2:
            (samples, seconds), (more, longer) = self._blocks[-2:]
            self._blocks[-2:] = [(samples + more, seconds + longer)]
        self._blocks = steady.merged(self._blocks, MOST_BLOCKS)

    @property
    def rates(self) -> list[float]:
        """Samples per second of each block."""
        return [samples / seconds for samples, seconds in self._blocks]

    @property
    def stopped_seconds(self) -> float:
        """How long the process was stopped (SIGSTOP, Ctrl-Z, a debugger), as far as gaps between steps tell it."""
        step = statistics.median(seconds / samples for samples, seconds in self._blocks) * self._samples / self._steps
        stopped = 0.0
        for gap, waited, continued in self._gaps:
            if continued and gap > STOP_STEPS_CONTINUED * step:
                stopped += gap - step
            elif gap - waited > STOP_STEPS * step:
                stopped += gap - waited - step
        return stopped


class Epoch:
    """One epoch on the clock, which runs from `start` to `stop`, or inside a `with`. The device has nothing left to
    do at either end.

    `samples` are those trained so far, by this process; `at_limit` is True once --max_steps or --time_limit is reached.
    `rates` are the samples per second of its blocks, once it is over. `add_up` makes both those of all processes that
    train together.
    """

    def __init__(self, clock: "Clock", number: int, samples: int) -> None:
        self.number = number
        self.samples = 0
        self.at_limit = False
        self._clock = clock
        self._of = samples
        self._steps = 0
        self._waited = 0.0
        self._group = clock.group
        self._parts = 1.0  # all samples, as a multiple of this process's own
        self._blocks = Blocks(clock.wait)

    def __enter__(self) -> "Epoch":
        return self.start()

    def __exit__(self, failure: type[BaseException] | None, *_) -> None:
        self.close() if failure else self.stop()

    def start(self) -> "Epoch":
        """Show the progress bar, wait for the device and start the clock."""
        self._clock.begin()
        self._started_at = now_in_utc()
        self._bar = self._progress_bar()
        self._group.meet()  # rank 0 looked at its machine
        self._group.start_epoch(self._of, self._clock.batch_size or 1)
        self._clock.wait()
        self._group.wait()
        self._start = time.perf_counter()
        self._blocks.start(self._start)
        self._stop_at = self._start + (self._clock.options.time_limit or math.inf)
        return self

    def stop(self) -> None:
        """Wait for the device and stop the clock."""
        self._clock.wait()
        self._group.wait()
        end = time.perf_counter()
        self._seconds = end - self._start
        self._blocks.stop(end)
        self._group.end_epoch()
        self._bar.close()

    def add_up(self) -> None:
        """Once it is over, count the samples of all processes. Their shares of each step are known to differ by one
        sample at most, so this process's blocks stand for all."""
        own, self.samples = self.samples, int(self._group.total(self.samples))
        self._parts = self.samples / own

    @property
    def rates(self) -> list[float]:
        return [rate * self._parts for rate in self._blocks.rates]

    def close(self) -> None:
        """Remove the progress bar of an epoch that failed."""
        self._bar.close()

    def next_batch(self, batches: Iterator["Batch"]) -> "Batch | None":
        """The next batch, None after the last; the time this takes is time spent waiting for data."""
        self._group.next_step(self._steps)
        asked = time.perf_counter()
        batch = next(batches, None)
        self._waited += time.perf_counter() - asked
        return batch

    def count(self, size: int) -> None:
        """Count a batch of `size` samples that was given to the device."""
        self.samples += size
        self._steps += 1
        now = self._blocks.count(size, self._waited)
        self._bar.update(size * self._group.size)
        self._clock.alive()
        self.at_limit = self._steps == self._clock.options.max_steps
        if self._clock.options.time_limit:
            self.at_limit = self._group.agreed_later(now >= self._stop_at) or self.at_limit

    def row(self, train_loss: float) -> dict:
        """The columns of this epoch, once it is over. Raises FloatingPointError if its loss is not finite."""
        if not math.isfinite(train_loss):
            raise FloatingPointError(f"the loss of epoch {self.number} is {train_loss}, so this was no training")
        whole = self._clock.experiment.samples
        return {
            **self._clock.shared,
            "epoch": self.number,
            "epoch_seconds": self._seconds * whole / self.samples,
            "samples_per_second": self.samples / self._seconds,
            "status": "ok",
            "estimated": self.samples != whole,
            "measured_seconds": self._seconds,
            "measured_samples": self.samples,
            "data_wait_seconds": self._waited,
            "train_loss": train_loss,
            "started_at": self._started_at,
            "block_samples_per_second": " ".join(f"{rate:.5g}" for rate in self.rates),
            "suspended_seconds": self._blocks.stopped_seconds,
        }

    def _progress_bar(self):
        """As long as what will be measured."""
        clock, total = self._clock, self._of
        if clock.options.max_steps:
            total = min(total, clock.options.max_steps * (clock.batch_size or 1) * clock.processes)
        if clock.options.time_limit and clock.rate:
            total = min(total, math.ceil(clock.options.time_limit * clock.rate))
        name = f"batch size {clock.batch_size}, epoch {self.number} of {clock.options.epochs}"
        return progress_bar(name, total, "samples")
