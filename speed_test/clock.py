"""The clock: how work is timed, inside the child process that does it.

At each batch size: warm up, measure the compute limit, bring the model back to its start, and then time each epoch
between two readings of `time.perf_counter()`. Both are taken when the device has nothing left to do.
"""

import math
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from speed_test import switches
from speed_test.budget import Costs
from speed_test.epoch import Epoch
from speed_test.experiment import TrainingStep
from speed_test.group import Group
from speed_test.pace import Pace
from speed_test.pieces import time_repeats
from speed_test.screen import working
from speed_test.trial import try_out
from speed_test.until import Until

if TYPE_CHECKING:
    from speed_test.command_line import Options
    from speed_test.experiment import Batch, Epochs, Experiment
    from speed_test.frameworks.base import Framework

# The first steps choose kernels, compile graphs and grow memory pools. From the fourth on, steps of ResNet50
# on a CPU were as fast as all later ones. Where a step takes seconds, fewer than three have to do.
WARMUP_STEPS = 3
WARMUP_SECONDS = 10

# The compute limit is the median over blocks of steps. A block is long enough for the wait at its end not to matter,
# and short enough for several of them. Five are measured even if a step takes seconds; where it takes over a minute,
# as many as fit into five.
COMPUTE_SECONDS = 2
COMPUTE_BLOCKS = 5
COMPUTE_MOST_SECONDS = 300
BLOCK_SECONDS = 0.2
BUDGET_BLOCKS = 2  # with --budget: where a step takes seconds, the epochs need the time more


def costs() -> Costs:
    """What comes before the first epoch, for --budget."""
    return Costs(WARMUP_STEPS, WARMUP_SECONDS, BUDGET_BLOCKS, COMPUTE_SECONDS)


class Clock:
    """Times the work of one batch size (None: of a test without batch sizes), and sends a row for each epoch or piece.

    `send(kind, content)` takes "rate" (samples per second of the compute limit) once, "begin" before each epoch or
    piece, "row" (a dict of columns) after it, and "say" (a line of text) at any time. It returns when the parent has
    dealt with it. The last row of a batch size comes as "held", and as soon as the rest of its columns is known, these
    come as "rest". With --budget, "plan" (a dict) follows "rate".
    """

    time_repeats = time_repeats

    def __init__(
        self,
        experiment: "Experiment",
        options: "Options",
        batch_size: int | None,
        framework: "Framework",
        send: Callable[[str, object], None],
        group: Group | None = None,
    ) -> None:
        self.group = group or Group()
        self.experiment = experiment
        self.options = options
        self.batch_size = batch_size
        self.framework = framework
        # The columns that all rows of this batch size share.
        self.shared: dict[str, object] = {}
        if batch_size is not None:
            self.shared |= {"batch_size": batch_size, "global_batch_size": batch_size * self.group.size}
            self.shared |= switches.columns(experiment.switches, options, experiment.precision)
        self.processes = self.group.size  # that train together
        self.rate: float | None = None  # the compute limit, once it is measured
        self.compile_seconds = 0.0
        self._measure_limit: Callable[[], float] | None = None
        self.until = Until(options.until, experiment.row_is, batch_size)
        for rates in options.done_rates:
            self.until.enough(rates, is_last=False)
        self.pace = Pace(options.share, costs()) if options.share else None
        self.send = send
        # Shows the parent that work goes on; see child.Send.
        self.alive: Callable[[], None] = getattr(send, "alive", lambda: None)

    def wait(self) -> None:
        """Return once the device has done all that it was given."""
        self.framework.wait(self.options.device)

    def say(self, text: str) -> None:
        """Print a line for the user, in the parent and so in order."""
        self.send("say", text)

    def begin(self) -> None:
        """Let the parent look at the machine, before an epoch or piece of work; return when it has."""
        self.send("begin", None)

    def send_row(self, row: dict, is_last: bool = False) -> None:
        """Hand a row to the parent; return when it is safe. Columns of the last one may follow, see `finish`."""
        facts = {
            **self._roofline(row),
            "peak_memory_gb": self.group.highest(self.framework.peak_memory_gb(self.options.device)),
            "cpu_fallback": self.framework.cpu_fallback(),
        }
        self.send("held" if is_last else "row", {**row, **facts})

    def _roofline(self, row: dict) -> dict[str, float | None]:
        """How near a row is to what the device can do at all."""
        rate, gflop, ceiling = (
            row.get(column) for column in ("samples_per_second", "gflop_per_sample", "matmul_tflops")
        )
        if not rate or not gflop:
            return {}
        tflops = rate * gflop / 1000
        # More than the ceiling cannot be: other programs took the device while that was measured.
        return {"tflops": tflops, "matmul_share": tflops / ceiling if ceiling and tflops <= ceiling else None}

    def finish(self, once_more: bool) -> None:
        """Measure the compute limit `once_more`, after the last epoch: a machine that has slowed down shows. That
        trains the model further, so it is left out if the model is to be used afterwards."""
        self.group.meet()  # rank 0's last row was dealt with
        if self.pace and not self.pace.has_time_for_limit:
            once_more = False
        after = self._measure_limit() if self._measure_limit and once_more else None
        self.send("rest", {} if after is None else {"compute_samples_per_second_after": after})

    # ---- Epochs ----

    def time_epochs(self, epochs: "Epochs") -> None:
        """Warm up, then time `--epochs` epochs.

        Raises ValueError if the data are less than one batch, FloatingPointError if the loss of an epoch is not
        finite.
        """
        self.get_ready(self.step_of(epochs))
        for number in self.epoch_numbers():
            if not self.time_epoch(number, epochs):
                break

    def step_of(self, epochs: "Epochs") -> TrainingStep:
        """The step of `epochs` on its own."""
        self.shared["compiled"] = self.options.compile
        first = epochs.to_device(*next(iter(epochs.batches())))
        return TrainingStep(
            run=epochs.step,
            loss=lambda *batch: float(epochs.step(*batch)),
            first=first,
            samples=epochs.samples,
            rewind=epochs.rewind,
            flop=partial(self.framework.count_flop, epochs.step, first),
        )

    def epoch_numbers(self) -> list[int]:
        """The epochs to time, from 1: all of --epochs but those that --resume has found in the CSV."""
        done = {epoch for batch_size, epoch in self.options.done if batch_size == str(self.batch_size)}
        return [number for number in range(1, self.options.epochs + 1) if str(number) not in done]

    def share_out(self, processes: int, nodes: int = 1) -> None:
        """Note how many processes train together, each with the batch size, and on how many machines."""
        self.processes = processes
        self.shared |= {
            "num_processes": processes,
            "num_nodes": nodes,
            "global_batch_size": self.batch_size and self.batch_size * processes,
        }

    def get_ready(self, step: TrainingStep) -> None:
        """Everything that comes before the first epoch: warm up, measure the compute limit, rewind."""
        if step.samples < (self.batch_size or 1) * self.processes:
            raise ValueError(f"the data have {step.samples:,} samples, fewer than a batch")
        self.group.meet()  # one may have read its data much later
        if self.options.trial is not None:
            return try_out(self, step, self.options.trial)
        shapes = self.shapes(step.first, step.samples)
        warmup_seconds = self.warm_up(step.run, shapes[:1] if self.pace else shapes)
        self._measure_limit = partial(self.compute_limit, step.run, step.first)
        start = time.perf_counter()
        self.rate = self._measure_limit()
        limit_seconds = time.perf_counter() - start
        if self.pace and self.pace.may_reach_end(step.samples / self.rate):
            warmup_seconds += self.warm_up(step.run, shapes[1:])
        self.shared["warmup_seconds"] = warmup_seconds
        self.shared["compute_samples_per_second"] = self.rate
        self.count_operations(step)  # after the warm-up, which would lack what the first use of the framework takes
        step.rewind()
        self.send("rate", self.rate)
        if self.pace:
            self.options = self.pace.plan_epochs(
                self.options, self.rate, len(step.first[0]), step.samples, warmup_seconds, limit_seconds
            )
            self.send("plan", {"epochs": self.options.epochs, "overhead": self.pace.overhead})

    def count_operations(self, step: TrainingStep) -> None:
        """Note how many floating-point operations a sample takes."""
        flop = step.flop()
        self.shared["gflop_per_sample"] = flop and flop / len(step.first[0]) / 1e9

    def shapes(self, first: "Batch", samples: int) -> list["Batch"]:
        """A batch of every shape that the epoch will have: the full one, and the last one if that is smaller; with
        several processes, which share the rest, the last two."""
        size = len(first[0])
        if self.group.size > 1:
            sizes = self.group.own_sizes(samples, size)
            # All ranks have to take the same steps, so this does not ask whether the own share is a smaller one.
            shared = list(enumerate(sizes))[-2:] if samples % (size * self.group.size) else []
            reached = [own for step, own in shared if self.options.max_steps is None or step < self.options.max_steps]
            return [first, *(tuple(part[:own] for part in first) for own in reached)]
        rest = samples % size
        full_steps = samples // size
        reaches_last = self.options.max_steps is None or self.options.max_steps > full_steps
        return [first, tuple(part[:rest] for part in first)] if rest and reaches_last else [first]

    def warm_up(self, step: Callable[..., Any], batches: list["Batch"]) -> float:
        """Train a few steps on each of `batches`; return how many seconds that took.

        Compiling happens in the first step on each shape. How much longer that takes than the last one on this shape
        is taken for the time of compiling.
        """
        compiling = 0.0
        with working(f"batch size {self.batch_size}, warming up"):
            start = time.perf_counter()
            for batch in batches:
                since = last = time.perf_counter()
                seconds: list[float] = []
                for _ in range(WARMUP_STEPS):
                    step(*batch)
                    self.wait()
                    self.alive()
                    seconds.append(time.perf_counter() - last)
                    last += seconds[-1]
                    # After a step that was compiled there has to be one that only trains.
                    one_more = self.shared.get("compiled") and len(seconds) == 1
                    if self.pace and not self.rate:
                        one_more = self.pace.needs_another_step(seconds) or one_more
                    if self.group.agreed(last - since > WARMUP_SECONDS and not one_more):
                        break
                compiling += seconds[0] - seconds[-1]
            if self.shared.get("compiled"):
                self.compile_seconds += max(compiling, 0.0)
                self.shared["compile_seconds"] = self.compile_seconds
            return time.perf_counter() - start

    def compute_limit(self, step: Callable[..., Any], batch: "Batch") -> float:
        """Samples per second of `step` on one batch that stays on the device: no epoch can be faster."""
        most = self.pace.seconds_for_limit if self.pace else math.inf
        with working(f"batch size {self.batch_size}, measuring the compute limit"):
            steps = 1
            rates: list[float] = []

            def enough() -> float:
                wanted = COMPUTE_SECONDS if len(rates) >= COMPUTE_BLOCKS else COMPUTE_MOST_SECONDS
                return min(wanted, most) if rates else wanted

            self.wait()
            begin = time.perf_counter()
            while self.group.agreed(time.perf_counter() - begin < enough()):
                start = time.perf_counter()
                for _ in range(steps):
                    step(*batch)
                self.wait()
                self.alive()
                seconds = time.perf_counter() - start
                is_short = seconds < BLOCK_SECONDS and time.perf_counter() - begin < COMPUTE_SECONDS
                if self.group.agreed(is_short):
                    steps *= 2
                    rates.clear()
                else:
                    rates.append(steps * len(batch[0]) * self.group.size / seconds)
            return statistics.median(rates)

    def time_epoch(self, number: int, epochs: "Epochs") -> bool:
        """Train one epoch, or as much of it as --max_steps and --time_limit allow, and send its row.

        Returns whether another one is to follow.
        """
        loss_sum: Any = None
        with self.epoch(number, epochs.samples) as epoch:
            batches = iter(epochs.batches())
            while not epoch.at_limit and (batch := epoch.next_batch(batches)):
                loss = epochs.step(*epochs.to_device(*batch))
                size = len(batch[0])
                # Added up on the device: reading the loss here would make the device wait in every step.
                loss_sum = loss * size if loss_sum is None else loss_sum + loss * size
                epoch.count(size)
        epoch.add_up()
        return self.end_epoch(epoch, self.group.total(float(loss_sum)) / epoch.samples)

    def end_epoch(self, epoch: Epoch, train_loss: float) -> bool:
        """Send the row of an epoch that is over; return whether another one is to follow."""
        row = epoch.row(train_loss)
        is_last = epoch.number == self.epoch_numbers()[-1]
        # Without --budget it is worth a line that the last epoch was not enough.
        why = self.until.enough(epoch.rates, is_last and not self.pace)
        if self.pace and not why:
            is_whole, rate = not row["estimated"], row["samples_per_second"]
            self.options, is_last, why = self.pace.plan_next(self.options, is_whole, rate)
        is_last = self.group.agreed(is_last or bool(why))
        self.send_row(row, is_last)
        if why:
            self.say(why)
        return not is_last

    def epoch(self, number: int, samples: int) -> Epoch:
        """Epoch `number` (from 1) over `samples` samples, not started yet."""
        return Epoch(self, number, samples)
