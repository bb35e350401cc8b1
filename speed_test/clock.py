"""The clock: how work is timed, inside the child process that does it.

At each batch size: warm up, measure the compute limit, bring the model back to its start, and then time each epoch
between two readings of `time.perf_counter()`. Both are taken when the device has nothing left to do.
"""

import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from speed_test import screen
from speed_test.screen import progress_bar, working

if TYPE_CHECKING:
    from speed_test.command_line import Options
    from speed_test.experiment import Batch, Epochs, Experiment, Repeats
    from speed_test.frameworks.base import Framework

# The first steps choose kernels, compile graphs and grow memory pools. From the fourth on, steps of ResNet50
# on a CPU were as fast as all later ones. Where a step takes seconds, fewer than three have to do.
WARMUP_STEPS = 3
WARMUP_SECONDS = 10

# The compute limit is the median over blocks of steps. A block is long enough for the wait at its end not to matter,
# and short enough for several of them.
COMPUTE_SECONDS = 2
BLOCK_SECONDS = 0.2


class Clock:
    """Times the work of one batch size (None: of a test without batch sizes), and sends a row for each epoch or piece.

    `send(kind, content)` takes "rate" (samples per second of the compute limit) once, "row" (a dict of columns) for
    each row and returns when it is safe, and "say" (a line of text) at any time.
    """

    def __init__(
        self,
        experiment: "Experiment",
        options: "Options",
        batch_size: int | None,
        framework: "Framework",
        send: Callable[[str, object], None],
    ) -> None:
        self.experiment = experiment
        self.options = options
        self.batch_size = batch_size
        self.framework = framework
        # The columns that all rows of this batch size share.
        self.shared: dict[str, object] = {} if batch_size is None else {"batch_size": batch_size}
        self.rate: float | None = None  # the compute limit, once it is measured
        self._send = send
        # Shows the parent that work goes on; see child.Send.
        self.alive: Callable[[], None] = getattr(send, "alive", lambda: None)

    def wait(self) -> None:
        """Return once the device has done all that it was given."""
        self.framework.wait(self.options.device)

    def say(self, text: str) -> None:
        """Print a line for the user, in the parent and so in order."""
        self._send("say", text)

    def send_row(self, row: dict) -> None:
        """Hand a row to the parent; return when it is safe."""
        self._send("row", {**row, "peak_memory_gb": self.framework.peak_memory_gb(self.options.device)})

    # ---- Epochs ----

    def time_epochs(self, epochs: "Epochs") -> None:
        """Warm up, then time `--epochs` epochs.

        Raises ValueError if the data are less than one batch, FloatingPointError if the loss of an epoch is not
        finite.
        """
        self.shared["compiled"] = False
        first = epochs.to_device(*next(iter(epochs.batches())))
        self.get_ready(epochs.step, first, epochs.samples, epochs.rewind)
        for number in self.epoch_numbers():
            self.send_row(self.time_epoch(number, epochs))

    def epoch_numbers(self) -> list[int]:
        """The epochs to time, from 1: all of --epochs but those that --resume has found in the CSV."""
        done = {epoch for batch_size, epoch in self.options.done if batch_size == str(self.batch_size)}
        return [number for number in range(1, self.options.epochs + 1) if str(number) not in done]

    def get_ready(self, step: Callable[..., Any], first: "Batch", samples: int, rewind: Callable[[], None]) -> None:
        """Everything that comes before the first epoch: warm up, measure the compute limit, rewind.

        `first` is the first batch of an epoch over `samples` samples, on the device; the rest as in `Epochs`.
        """
        if samples < (self.batch_size or 1):
            raise ValueError(f"the data have {samples:,} samples, fewer than a batch")
        self.shared["warmup_seconds"] = self.warm_up(step, self.shapes(first, samples))
        self.rate = self.compute_limit(step, first)
        self.shared["compute_samples_per_second"] = self.rate
        rewind()
        self._send("rate", self.rate)

    def shapes(self, first: "Batch", samples: int) -> list["Batch"]:
        """A batch of every shape that the epoch will have: the full one, and the last one if that is smaller."""
        size = len(first[0])
        rest = samples % size
        full_steps = samples // size
        reaches_last = self.options.max_steps is None or self.options.max_steps > full_steps
        return [first, tuple(part[:rest] for part in first)] if rest and reaches_last else [first]

    def warm_up(self, step: Callable[..., Any], batches: list["Batch"]) -> float:
        """Train a few steps on each of `batches`; return how many seconds that took."""
        with working(f"batch size {self.batch_size}, warming up"):
            start = time.perf_counter()
            for batch in batches:
                since = time.perf_counter()
                for _ in range(WARMUP_STEPS):
                    step(*batch)
                    self.wait()
                    self.alive()
                    if time.perf_counter() - since > WARMUP_SECONDS:
                        break
            return time.perf_counter() - start

    def compute_limit(self, step: Callable[..., Any], batch: "Batch") -> float:
        """Samples per second of `step` on one batch that stays on the device: no epoch can be faster."""
        with working(f"batch size {self.batch_size}, measuring the compute limit"):
            steps = 1
            rates: list[float] = []
            self.wait()
            begin = time.perf_counter()
            while not rates or time.perf_counter() - begin < COMPUTE_SECONDS:
                start = time.perf_counter()
                for _ in range(steps):
                    step(*batch)
                self.wait()
                self.alive()
                seconds = time.perf_counter() - start
                if seconds < BLOCK_SECONDS and time.perf_counter() - begin < COMPUTE_SECONDS:
                    steps *= 2
                    rates.clear()
                else:
                    rates.append(steps * len(batch[0]) / seconds)
            return statistics.median(rates)

    def time_epoch(self, number: int, epochs: "Epochs") -> dict:
        """Train one epoch, or as much of it as --max_steps and --time_limit allow; return its columns."""
        loss_sum: Any = None
        with self.epoch(number, epochs.samples) as epoch:
            batches = iter(epochs.batches())
            while not epoch.at_limit and (batch := epoch.next_batch(batches)):
                loss = epochs.step(*epochs.to_device(*batch))
                size = len(batch[0])
                # Added up on the device: reading the loss here would make the device wait in every step.
                loss_sum = loss * size if loss_sum is None else loss_sum + loss * size
                epoch.count(size)
        return epoch.row(float(loss_sum) / epoch.samples)

    def epoch(self, number: int, samples: int) -> "Epoch":
        """Epoch `number` (from 1) over `samples` samples, not started yet."""
        return Epoch(self, number, samples)

    # ---- Repeats ----

    def time_repeats(self, repeats: "Repeats") -> None:
        """Warm up on the first item, then do and time the work of each."""
        warmup_seconds = self._warm_up_repeats(repeats)
        items = [
            (number, item) for number, item in enumerate(repeats.items, start=1) if not self._is_done(number, item)
        ]
        total = len(items) * repeats.yields
        with progress_bar(self.experiment.model, total, repeats.unit, repeats.quiet) as bar:
            for number, item in items:
                if repeats.rewind:
                    repeats.rewind()
                started_at = _now()
                yielded: list[Any] = []
                seconds: list[float] = []
                self.wait()
                start = time.perf_counter()
                for thing in _things(repeats.work, item):
                    seconds.append(time.perf_counter() - start)
                    yielded.append(thing)
                    bar.update()
                    self.alive()
                self.wait()
                seconds.append(time.perf_counter() - start)
                if repeats.row:
                    row = repeats.row(item, yielded, seconds)
                else:
                    row = self._row_of_a_piece(number, seconds[-1]) | {"warmup_seconds": warmup_seconds}
                row = {**self.shared, "status": "ok", "started_at": started_at, **row}
                self.send_row(row)
                self.say(repeats.line(row) if repeats.line else self._line(row, number, len(repeats.items)))

    def _is_done(self, number: int, item: Any) -> bool:
        """Whether --resume has found the row of an item: a tuple by its values, anything else by its number."""
        return (tuple(map(str, item)) if isinstance(item, tuple) else ("", str(number))) in self.options.done

    def _warm_up_repeats(self, repeats: "Repeats") -> float:
        with working("Warming up"):
            start = time.perf_counter()
            if repeats.rewind:
                repeats.rewind()
            for _ in itertools.islice(_things(repeats.work, repeats.items[0]), repeats.warm_up_yields):
                pass
            self.wait()
            return time.perf_counter() - start

    def _line(self, row: dict, number: int, pieces: int) -> str:
        figure = screen.number(row[self.experiment.figure])
        return f"{self.experiment.row_is} {number} of {pieces}: {figure} {self.experiment.unit}"

    def _row_of_a_piece(self, number: int, seconds: float) -> dict:
        samples = self.experiment.samples
        return {
            "epoch": number,
            "epoch_seconds": seconds,
            "samples_per_second": samples / seconds if samples else None,
            "estimated": False,
            "measured_seconds": seconds,
            "measured_samples": samples or None,
        }


def _things(work: Callable[[Any], Any], item: Any) -> Iterator[Any]:
    """What the work yields; of work that is no generator, its result."""
    result = work(item)
    if isinstance(result, Iterator):
        yield from result
    else:
        yield result


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


class Epoch:
    """One epoch on the clock, which runs from `start` to `stop`, or inside a `with`. The device has nothing left to
    do at either end.

    `samples` are those trained so far; `at_limit` is True once --max_steps or --time_limit is reached.
    """

    def __init__(self, clock: Clock, number: int, samples: int) -> None:
        self.number = number
        self.samples = 0
        self.at_limit = False
        self._clock = clock
        self._of = samples
        self._steps = 0
        self._waited = 0.0

    def __enter__(self) -> "Epoch":
        return self.start()

    def __exit__(self, failure: type[BaseException] | None, *_) -> None:
        self.close() if failure else self.stop()

    def start(self) -> "Epoch":
        """Show the progress bar, wait for the device and start the clock."""
        self._started_at = _now()
        self._bar = self._progress_bar()
        self._clock.wait()
        self._start = time.perf_counter()
        self._stop_at = self._start + (self._clock.options.time_limit or math.inf)
        return self

    def stop(self) -> None:
        """Wait for the device and stop the clock."""
        self._clock.wait()
        self._seconds = time.perf_counter() - self._start
        self._bar.close()

    def close(self) -> None:
        """Remove the progress bar of an epoch that failed."""
        self._bar.close()

    def next_batch(self, batches: Iterator["Batch"]) -> "Batch | None":
        """The next batch, None after the last; the time this takes is time spent waiting for data."""
        asked = time.perf_counter()
        batch = next(batches, None)
        self._waited += time.perf_counter() - asked
        return batch

    def count(self, size: int) -> None:
        """Count a batch of `size` samples that was given to the device."""
        self.samples += size
        self._steps += 1
        self._bar.update(size)
        self._clock.alive()
        self.at_limit = self._steps == self._clock.options.max_steps or time.perf_counter() >= self._stop_at

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
        }

    def _progress_bar(self):
        """As long as what will be measured."""
        clock, total = self._clock, self._of
        if clock.options.max_steps:
            total = min(total, clock.options.max_steps * (clock.batch_size or 1))
        if clock.options.time_limit and clock.rate:
            total = min(total, math.ceil(clock.options.time_limit * clock.rate))
        name = f"batch size {clock.batch_size}, epoch {self.number} of {clock.options.epochs}"
        return progress_bar(name, total, "samples")
