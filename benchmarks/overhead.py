"""What the harness costs, measured: run it before and after you change speed_test/.

    python benchmarks/overhead.py
    python benchmarks/overhead.py --rounds=9 --batch_size=64

(a) a warm epoch of the script, through the clock, against a bare loop of the same step on one batch
(b) the loader alone, with no training
(c) how long --help takes
(d) the epoch that --time_limit=20 estimates against the whole epoch

Everything runs interleaved, in one process, on the script's own `train`; what is printed are medians and
ratios, for on a busy machine no single figure is worth much. It takes about 6 minutes on 2 CPU cores.
"""

import argparse
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import pytorch_test_computer_vision_cifar100 as script  # noqa: E402
from speed_test import pytorch  # noqa: E402
from speed_test.clock import Clock  # noqa: E402
from speed_test.command_line import Options  # noqa: E402

STEPS = 24  # of a round of (a): some seconds on a CPU
HELP_RUNS = 11
ESTIMATE_SECONDS = 20


class Bench(Clock):
    """A clock that has what the script hands to the real one: step, batches, device."""

    def time_epochs(self, step, batches, samples, rewind) -> None:
        first = next(iter(batches()))
        self.warm_up(step, self._shapes(first, samples))
        self.measure(step, batches, samples, first)

    def epoch(self, step, batches, samples: int, **limits) -> dict:
        """The real clock's epoch under `limits`, such as max_steps."""
        limited = Clock(self.experiment, self.options.but(**limits), self.batch_size, pytorch, self._send)
        return limited.time_epoch(1, step, batches, samples, compute_rate=1.0)


class WarmEpoch(Bench):
    """(a)"""

    rounds = 0

    def measure(self, step, batches, samples: int, first: tuple) -> None:
        self.clocked, self.bare = [], []
        for number in range(self.rounds):
            # First and second in turn, so that neither always has the cooler or the quieter machine.
            for run in (self._clocked, self._bare) if number % 2 else (self._bare, self._clocked):
                run(step, batches, samples, first)

    def _clocked(self, step, batches, samples: int, first: tuple) -> None:
        self.clocked.append(self.epoch(step, batches, samples, max_steps=STEPS)["samples_per_second"])

    def _bare(self, step, batches, samples: int, first: tuple) -> None:
        self._wait()
        start = time.perf_counter()
        for _ in range(STEPS):
            step(*first)
        self._wait()
        self.bare.append(STEPS * self.batch_size / (time.perf_counter() - start))


class LoaderAlone(Bench):
    """(b)"""

    def measure(self, step, batches, samples: int, first: tuple) -> None:
        self.rates = []
        for _ in range(5):
            self._wait()
            start = time.perf_counter()
            for _batch in batches():
                pass
            self._wait()
            self.rates.append(samples / (time.perf_counter() - start))


class Estimate(Bench):
    """(d)"""

    rounds = 0

    def measure(self, step, batches, samples: int, first: tuple) -> None:
        self.whole, self.estimated = [], []
        for _ in range(self.rounds):
            self.estimated.append(self.epoch(step, batches, samples, time_limit=ESTIMATE_SECONDS)["epoch_seconds"])
            self.whole.append(self.epoch(step, batches, samples)["epoch_seconds"])


def run(clock: type[Bench], batch_size: int, samples: int, rounds: int = 0) -> Bench:
    """Let the script's own `train` run under `clock`, on a stand-in of `samples` images."""
    experiment = replace(script.EXPERIMENT, samples=samples)
    device = pytorch.describe_device("auto").type
    options = Options(epochs=1, data="synthetic", max_steps=None, time_limit=None, device=device)
    bench = clock(experiment, options, batch_size, pytorch, lambda kind, content: None)
    bench.rounds = rounds
    script.EXPERIMENT = experiment
    script.train(batch_size, options, bench)
    return bench


def help_seconds() -> list[float]:
    seconds = []
    for _ in range(HELP_RUNS):
        start = time.perf_counter()
        subprocess.run([sys.executable, script.__file__, "--help"], stdout=subprocess.DEVNULL, check=True)
        seconds.append(time.perf_counter() - start)
    return seconds


def spread(values: list[float], unit: str, digits: int = 0) -> str:
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:,.{digits}f} {unit} ({low:,.{digits}f} to {high:,.{digits}f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="of (a); (d) has a third of them (default: %(default)s)")
    parser.add_argument("--batch_size", type=int, default=32, help="of (a) and (d) (default: %(default)s)")
    parser.add_argument("--samples", type=int, default=8_000, help="of the whole epoch in (d) (default: %(default)s)")
    options = parser.parse_args()

    warm = run(WarmEpoch, options.batch_size, 50_000, options.rounds)
    loaders = {size: run(LoaderAlone, size, 50_000).rates for size in (16, 1024)}
    helps = help_seconds()
    estimate = run(Estimate, options.batch_size, options.samples, max(1, options.rounds // 3))

    ratio = statistics.median(warm.clocked) / statistics.median(warm.bare)
    off = statistics.median(estimate.estimated) / statistics.median(estimate.whole) - 1
    print(f"{script.EXPERIMENT.model}, {script.EXPERIMENT.dataset}, batch size {options.batch_size}: median (lowest to")
    print("highest); ratios are of medians\n")
    print(f"(a) warm epoch      {spread(warm.clocked, 'samples/s')}, {len(warm.clocked)} rounds of {STEPS} steps")
    print(f"    bare loop       {spread(warm.bare, 'samples/s')}")
    print(f"    ratio           {ratio:.3f}   (wanted: 0.97 or more)")
    for size, rates in loaders.items():
        print(f"(b) loader alone    {spread(rates, 'samples/s')} at batch size {size}")
    print("                    (wanted: 300,000 or more)")
    print(f"(c) --help          {spread(helps, 's', 3)}   (wanted: under 0.3)")
    print(f"(d) whole epoch     {spread(estimate.whole, 's', 1)}, {options.samples:,} images")
    print(f"    estimate        {spread(estimate.estimated, 's', 1)} from --time_limit={ESTIMATE_SECONDS}")
    print(f"    off by          {off:+.1%}   (wanted: within 5%)")


if __name__ == "__main__":
    main()
