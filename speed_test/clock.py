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
from collections.abc import Callable, Iterable
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
        self._wait = lambda: backend.wait(options.device)
        self._peak_memory_gb = lambda: peak_memory_gb(backend, options.device)
        self._send = send
        self._to_device: Callable[..., Batch] = lambda *batch: batch

    def say(self, text: str) -> None:
        """Print a line for the user, in the parent and so in order."""
        self._send("say", text)

    def time_epochs(
        self,
        step: Callable,
        batches: Callable[[], Iterable[Batch]],
        samples: int,
        rewind: Callable[[], None],
        to_device: Callable[..., Batch] | None = None,
    ) -> None:
        """Warm up, then time `--epochs` epochs.

        `step(*batch)` trains on one batch and returns its mean loss, left on the device. `batches()` gives
        the batches of one epoch over `samples` samples; where they do not lie on the device,
        `to_device(*batch)` puts one there. `rewind()` undoes all training so far.

        Raises ValueError where the data are less than one batch, FloatingPointError where the loss of an
        epoch is not finite.
        """
        if samples < self.batch_size:
            raise ValueError(f"the data have {samples:,} samples, fewer than a batch")
        if to_device:
            self._to_device = to_device
        first = self._to_device(*next(iter(batches())))
        warmup_seconds = self.warm_up(step, self._shapes(first, samples))
        compute_rate = self.compute_limit(step, first)
        rewind()
        self._send("rate", compute_rate)
        for epoch in range(1, self.options.epochs + 1):
            row = self.time_epoch(epoch, step, batches, samples, compute_rate)
            row["warmup_seconds"] = warmup_seconds
            self._send("row", row)

    def _shapes(self, first: Batch, samples: int) -> list[Batch]:
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
                    self._wait()
                    if time.perf_counter() - since > WARMUP_SECONDS:
                        break
            return time.perf_counter() - start

    def compute_limit(self, step: Callable, batch: Batch) -> float:
        """Samples per second of `step` on one batch that stays where it is: what loading can only take from."""
        with working(f"batch size {self.batch_size}, measuring the compute limit"):
            steps, rates = 1, []
            self._wait()
            begin = time.perf_counter()
            while not rates or time.perf_counter() - begin < COMPUTE_SECONDS:
                start = time.perf_counter()
                for _ in range(steps):
                    step(*batch)
                self._wait()
                seconds = time.perf_counter() - start
                if seconds < BLOCK_SECONDS and time.perf_counter() - begin < COMPUTE_SECONDS:
                    steps *= 2
                    rates.clear()
                else:
                    rates.append(steps * len(batch[0]) / seconds)
            return statistics.median(rates)

    def time_epoch(
        self, epoch: int, step: Callable, batches: Callable[[], Iterable[Batch]], samples: int, compute_rate: float
    ) -> dict:
        """Train one epoch, or as much of it as --max_steps and --time_limit allow; return its columns."""
        options = self.options
        started_at = datetime.now(UTC).isoformat(timespec="seconds")
        loss_sum, seen, steps, waited = None, 0, 0, 0.0
        with self._progress_bar(epoch, samples, compute_rate) as bar:
            self._wait()
            start = time.perf_counter()
            stop_at = start + (options.time_limit or math.inf)
            epoch_batches = iter(batches())
            while True:
                asked = time.perf_counter()
                batch = next(epoch_batches, None)
                waited += time.perf_counter() - asked
                if batch is None:
                    break
                loss = step(*self._to_device(*batch))
                size = len(batch[0])
                # Summed where it lies: reading it here would make the device wait in every step.
                loss_sum = loss * size if loss_sum is None else loss_sum + loss * size
                seen += size
                steps += 1
                bar.update(size)
                if steps == options.max_steps or time.perf_counter() >= stop_at:
                    break
            self._wait()
            seconds = time.perf_counter() - start
        train_loss = float(loss_sum) / seen
        if not math.isfinite(train_loss):
            raise FloatingPointError(f"the loss of epoch {epoch} is {train_loss}, so this was no training")
        whole = self.experiment.samples
        return {
            "batch_size": self.batch_size,
            "epoch": epoch,
            "epoch_seconds": seconds * whole / seen,
            "samples_per_second": seen / seconds,
            "status": "ok",
            "estimated": seen != whole,
            "measured_seconds": seconds,
            "measured_samples": seen,
            "compute_samples_per_second": compute_rate,
            "data_wait_seconds": waited,
            "peak_memory_gb": self._peak_memory_gb(),
            "train_loss": train_loss,
            "started_at": started_at,
        }

    def _progress_bar(self, epoch: int, samples: int, compute_rate: float):
        """A bar on the terminal (none where there is no terminal), as long as what will be measured."""
        from tqdm import tqdm

        total = samples
        if self.options.max_steps:
            total = min(total, self.options.max_steps * self.batch_size)
        if self.options.time_limit:
            total = min(total, math.ceil(self.options.time_limit * compute_rate))
        return tqdm(
            desc=f"batch size {self.batch_size}, epoch {epoch} of {self.options.epochs}",
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
