"""The clock: how an epoch is timed, inside the child process that trains it.

For every batch size: warm up, measure the compute limit, bring the model back to its start, and then
time each epoch between two readings of `time.perf_counter()`, both taken when the device has nothing
left to do.
"""

import math
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from speed_test.command_line import Options
from speed_test.experiment import Experiment
from speed_test.machine import GIB
from speed_test.report import working

# The first steps choose kernels, compile graphs and grow memory pools. From the fourth on, steps of ResNet50
# on a CPU were as fast as all later ones. A shape whose steps are slow, and so few, gets fewer than three.
WARMUP_STEPS = 3
WARMUP_SECONDS = 10

# The compute limit is the median of blocks of steps: long enough for one wait at the end of each not to
# matter, short enough for several.
COMPUTE_SECONDS = 2
BLOCK_SECONDS = 0.2

Batch = tuple  # of arrays or tensors, which all have the batch's samples along their first axis


class Clock:
    """Times epochs of one batch size, and sends a row for each.

    `backend` is the framework's module (`wait`, `peak_memory_gb`). `send(kind, content)` takes "rate"
    (samples per second of the compute limit) once, then "row" (a dict of columns) for every epoch, and
    returns when the row is safe; "say" (a line of text) any time.
    """

    def __init__(
        self, experiment: Experiment, options: Options, batch_size: int, backend, send: Callable[[str, object], None]
    ) -> None:
        self.experiment = experiment
        self.options = options
        self.batch_size = batch_size
        self.wait = lambda: backend.wait(options.device)
        self.same: dict[str, object] = {"batch_size": batch_size}  # columns that are the same in all rows
        self._peak_memory_gb = lambda: peak_memory_gb(backend, options.device)
        self._send = send

    def say(self, text: str) -> None:
        """Print a line for the user, in the parent and so in order."""
        self._send("say", text)

    def time_epochs(
        self,
        step: Callable,
        batches: Callable[[], Iterable[Batch]],
        samples: int,
        rewind: Callable[[], None],
        to_device: Callable[..., Batch] = lambda *batch: batch,
    ) -> None:
        """Warm up, then time `--epochs` epochs.

        `step(*batch)` trains on one batch and returns its mean loss, left on the device. `batches()` gives
        the batches of one epoch over `samples` samples; where they do not lie on the device,
        `to_device(*batch)` puts one there. `rewind()` undoes all training so far.

        Raises ValueError where the data are less than one batch, FloatingPointError where the loss of an
        epoch is not finite.
        """
        self.same["compiled"] = False
        self.get_ready(step, to_device(*next(iter(batches()))), samples, rewind)
        for number in range(1, self.options.epochs + 1):
            self.send_row(self.time_epoch(number, step, batches, samples, to_device))

    def get_ready(self, step: Callable, first: Batch, samples: int, rewind: Callable[[], None]) -> None:
        """All that comes before the first epoch: warm up, measure the compute limit, rewind.

        `first` is the first batch of an epoch over `samples` samples, on the device; the rest as for
        `time_epochs`.
        """
        if samples < self.batch_size:
            raise ValueError(f"the data have {samples:,} samples, fewer than a batch")
        self.same["warmup_seconds"] = self.warm_up(step, self.shapes(first, samples))
        self.same["compute_samples_per_second"] = self.compute_limit(step, first)
        rewind()
        self._send("rate", self.same["compute_samples_per_second"])

    def shapes(self, first: Batch, samples: int) -> list[Batch]:
        """A batch of every shape that the epoch will have: the full one, and the last, if that is smaller."""
        size = len(first[0])
        rest = samples % size
        full_steps = samples // size
        reaches_last = self.options.max_steps is None or self.options.max_steps > full_steps
        return [first, tuple(part[:rest] for part in first)] if rest and reaches_last else [first]

    def warm_up(self, step: Callable, batches: list[Batch]) -> float:
        """Train a few steps on each of `batches`; return how many seconds that took."""
        with working(f"batch size {self.batch_size}, warming up"):
            start = time.perf_counter()
            for batch in batches:
                since = time.perf_counter()
                for _ in range(WARMUP_STEPS):
                    step(*batch)
                    self.wait()
                    if time.perf_counter() - since > WARMUP_SECONDS:
                        break
            return time.perf_counter() - start

    def compute_limit(self, step: Callable, batch: Batch) -> float:
        """Samples per second of `step` on one batch that stays where it is: what loading can only take from."""
        with working(f"batch size {self.batch_size}, measuring the compute limit"):
            steps, rates = 1, []
            self.wait()
            begin = time.perf_counter()
            while not rates or time.perf_counter() - begin < COMPUTE_SECONDS:
                start = time.perf_counter()
                for _ in range(steps):
                    step(*batch)
                self.wait()
                seconds = time.perf_counter() - start
                if seconds < BLOCK_SECONDS and time.perf_counter() - begin < COMPUTE_SECONDS:
                    steps *= 2
                    rates.clear()
                else:
                    rates.append(steps * len(batch[0]) / seconds)
            return statistics.median(rates)

    def time_epoch(
        self,
        number: int,
        step: Callable,
        batches: Callable[[], Iterable[Batch]],
        samples: int,
        to_device: Callable[..., Batch] = lambda *batch: batch,
    ) -> dict:
        """Train one epoch, or as much of it as --max_steps and --time_limit allow; return its columns."""
        loss_sum = None
        with Epoch(self, number, samples) as epoch:
            epoch_batches = iter(batches())
            while not epoch.at_limit and (batch := epoch.next_batch(epoch_batches)):
                loss = step(*to_device(*batch))
                size = len(batch[0])
                # Summed where it lies: reading it here would make the device wait in every step.
                loss_sum = loss * size if loss_sum is None else loss_sum + loss * size
                epoch.count(size)
        return epoch.row(float(loss_sum) / epoch.samples)

    def send_row(self, row: dict) -> None:
        """Hand a row to the parent; return when it is safe."""
        self._send("row", {**row, "peak_memory_gb": self._peak_memory_gb()})


class Epoch:
    """One epoch on the clock, which runs from `start` to `stop` or inside of `with`; the device has nothing
    left to do at either end.

    `samples` are those trained so far; `at_limit` says that --max_steps or --time_limit is reached.
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
        self._started_at = datetime.now(UTC).isoformat(timespec="seconds")
        self._bar = self._progress_bar()
        self._clock.wait()
        self._start = time.perf_counter()
        self._stop_at = self._start + (self._clock.options.time_limit or math.inf)
        return self

    def stop(self) -> None:
        self._clock.wait()
        self._seconds = time.perf_counter() - self._start
        self._bar.close()

    def close(self) -> None:
        """Clear the screen of an epoch that came to a bad end."""
        self._bar.close()

    def next_batch(self, batches: Iterator[Batch]) -> Batch | None:
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
        self.at_limit = self._steps == self._clock.options.max_steps or time.perf_counter() >= self._stop_at

    def row(self, train_loss: float) -> dict:
        """The columns of this epoch, once it is over. Raises FloatingPointError where its loss is not finite."""
        if not math.isfinite(train_loss):
            raise FloatingPointError(f"the loss of epoch {self.number} is {train_loss}, so this was no training")
        whole = self._clock.experiment.samples
        return {
            **self._clock.same,
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
        """A bar on the terminal (none where there is no terminal), as long as what will be measured."""
        from tqdm import tqdm

        options = self._clock.options
        total = self._of
        if options.max_steps:
            total = min(total, options.max_steps * self._clock.batch_size)
        if options.time_limit:
            total = min(total, math.ceil(options.time_limit * self._clock.same["compute_samples_per_second"]))
        return tqdm(
            desc=f"batch size {self._clock.batch_size}, epoch {self.number} of {options.epochs}",
            total=total,
            unit=" samples",
            bar_format="{desc}: {percentage:3.0f}%|{bar}| {rate_fmt}, {remaining} left",
            mininterval=0.5,
            dynamic_ncols=True,
            leave=False,
            disable=None,
        )


def peak_memory_gb(backend, device: str) -> float | None:
    """The most memory used so far, in GB of 2^30 bytes: the GPU's as the framework counts it, or on a CPU
    the most that this process ever had in memory, data and framework included."""
    if device != "cpu":
        return backend.peak_memory_gb(device)
    if sys.platform == "linux":  # where getrusage() counts what the parent had in memory when it started us
        peak = re.search(r"^VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(), flags=re.MULTILINE)
        return int(peak[1]) * 1024 / GIB if peak else None
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset / GIB
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / GIB  # macOS counts bytes
