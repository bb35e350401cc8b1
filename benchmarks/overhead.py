"""What the harness costs, measured: run it before and after you change speed_test/.

    python benchmarks/overhead.py
    python benchmarks/overhead.py nlp --rounds=5

For each script (cifar100, food101, nlp; all of them by default):
(a) a warm epoch of the script, through the clock, against a bare loop of the same step on one batch
and then
(b) cifar100: the loader alone, with no training; food101: its decoder against PIL's
(c) cifar100: how long --help takes
(d) cifar100: the epoch that --time_limit=20 estimates against the whole epoch

Each comparison runs interleaved, in one process, on the script's own `train`; what is printed are medians and
ratios, for on a busy machine no single figure is worth much. All of it takes about 10 minutes on 2 CPU cores.
"""

import argparse
import importlib
import io
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from speed_test import pytorch  # noqa: E402
from speed_test.clock import Clock  # noqa: E402
from speed_test.command_line import Options  # noqa: E402

SCRIPTS = {
    "cifar100": "pytorch_test_computer_vision_cifar100",
    "food101": "pytorch_test_computer_vision_food101",
    "nlp": "pytorch_test_nlp",
}
# Batch size and steps of a round of (a): some seconds on a CPU.
ROUND = {"cifar100": (32, 24), "food101": (32, 40), "nlp": (2, 4)}

# On a CPU, decoding takes its time from the training on the same cores, as it does in a real epoch. What the
# harness adds shows only where it does not: beside a step that waits, as long as a laptop's GPU takes for it.
SLOW_STEP_SECONDS = 0.3

HELP_RUNS = 11
ESTIMATE_SECONDS = 20
ESTIMATE_SAMPLES = 8_000


class Bench(Clock):
    """A clock that has what the script hands to the real one: step, batches, device."""

    def time_epochs(self, step, batches, samples, rewind, to_device=None) -> None:
        if to_device:
            self._to_device = to_device
        first = self._to_device(*next(iter(batches())))
        step = self.prepare(step)
        self.warm_up(step, self._shapes(first, samples))
        self.measure(step, batches, samples, first)

    def prepare(self, step):
        return step

    def epoch(self, step, batches, samples: int, **limits) -> dict:
        """The real clock's epoch under `limits`, such as max_steps."""
        limited = Clock(self.experiment, self.options.but(**limits), self.batch_size, pytorch, self._send)
        limited._to_device = self._to_device
        return limited.time_epoch(1, step, batches, samples, compute_rate=1.0)


class WarmEpoch(Bench):
    """(a)"""

    rounds, steps = 0, 0

    def measure(self, step, batches, samples: int, first: tuple) -> None:
        self.clocked, self.bare, self.waits = [], [], []
        for number in range(self.rounds):
            # First and second in turn, so that neither always has the cooler or the quieter machine.
            for run in (self._clocked, self._bare) if number % 2 else (self._bare, self._clocked):
                run(step, batches, samples, first)

    def _clocked(self, step, batches, samples: int, first: tuple) -> None:
        row = self.epoch(step, batches, samples, max_steps=self.steps)
        self.clocked.append(row["samples_per_second"])
        self.waits.append(row["data_wait_seconds"] / row["measured_seconds"])

    def _bare(self, step, batches, samples: int, first: tuple) -> None:
        self._wait()
        start = time.perf_counter()
        for _ in range(self.steps):
            step(*first)
        self._wait()
        self.bare.append(self.steps * self.batch_size / (time.perf_counter() - start))


class WarmEpochOfWaiting(WarmEpoch):
    """(a), for a script whose loader would compete with a real step"""

    def prepare(self, step):
        import torch

        loss = torch.tensor(1.0)

        def waiting_step(*batch):
            time.sleep(SLOW_STEP_SECONDS)
            return loss

        return waiting_step


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


def run(name: str, clock: type[Bench], batch_size: int, rounds: int, samples: int | None = None, steps: int = 0):
    """Let the `train` of script `name` run under `clock`, on a stand-in of `samples` (default: all)."""
    script = importlib.import_module(SCRIPTS[name])
    whole = script.EXPERIMENT
    script.EXPERIMENT = replace(whole, samples=samples or whole.samples)
    device = pytorch.describe_device("auto").type
    options = Options(
        epochs=1, data="synthetic", max_steps=None, time_limit=None, device=device, num_workers=None, evaluate=False
    )
    bench = clock(script.EXPERIMENT, options, batch_size, pytorch, lambda kind, content: None)
    bench.rounds, bench.steps = rounds, steps
    script.train(batch_size, options, bench)
    script.EXPERIMENT = whole
    return bench


def help_seconds() -> list[float]:
    script, seconds = ROOT / f"{SCRIPTS['cifar100']}.py", []
    for _ in range(HELP_RUNS):
        start = time.perf_counter()
        subprocess.run([sys.executable, script, "--help"], stdout=subprocess.DEVNULL, check=True)
        seconds.append(time.perf_counter() - start)
    return seconds


def decode_rates(rounds: int) -> tuple[list[float], list[float]]:
    """Images per second on one core: the script's decoder, and PIL's with torchvision's usual transforms."""
    import PIL.Image
    import torch
    from torchvision.transforms import Compose, Resize, ToTensor

    script = importlib.import_module(SCRIPTS["food101"])
    transform = Compose([Resize((script.IMAGE_SIZE, script.IMAGE_SIZE)), ToTensor()])
    jpegs = [sample["image"]["bytes"] for sample in script.synthetic_jpegs()[:200]]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a loader process

    def rate(decode) -> float:
        start = time.perf_counter()
        for jpeg in jpegs:
            decode(jpeg)
        return len(jpegs) / (time.perf_counter() - start)

    def ours(jpeg: bytes) -> None:
        script.decode(jpeg, "")

    def pil(jpeg: bytes) -> None:
        transform(PIL.Image.open(io.BytesIO(jpeg)).convert("RGB"))

    rates = [(rate(ours), rate(pil)) for _ in range(rounds + 1)][1:]
    torch.set_num_threads(threads)
    return [first for first, _ in rates], [second for _, second in rates]


def spread(values: list[float], unit: str, digits: int = 0) -> str:
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:,.{digits}f} {unit} ({low:,.{digits}f} to {high:,.{digits}f})"


def show_warm_epoch(name: str, rounds: int) -> None:
    batch_size, steps = ROUND[name]
    clock = WarmEpochOfWaiting if name == "food101" else WarmEpoch
    warm = run(name, clock, batch_size, rounds, steps=steps)
    ratio = statistics.median(warm.clocked) / statistics.median(warm.bare)
    step = f"a step that waits {SLOW_STEP_SECONDS} s" if name == "food101" else "its own step"
    print(f"\n{name}: batch size {batch_size}, {rounds} rounds of {steps} steps, {step}")
    print(f"(a) warm epoch      {spread(warm.clocked, 'samples/s', 1)}")
    print(f"    bare loop       {spread(warm.bare, 'samples/s', 1)}")
    print(f"    ratio           {ratio:.3f}   (wanted: 0.97 or more)")
    print(f"    waits for data  {statistics.median(warm.waits):.1%} of the epoch", flush=True)


def show_cifar100(rounds: int) -> None:
    for size in (16, 1024):
        rates = run("cifar100", LoaderAlone, size, rounds).rates
        print(f"(b) loader alone    {spread(rates, 'samples/s')} at batch size {size}")
    print("                    (wanted: 300,000 or more)")
    print(f"(c) --help          {spread(help_seconds(), 's', 3)}   (wanted: under 0.3)", flush=True)
    estimate = run("cifar100", Estimate, ROUND["cifar100"][0], max(1, rounds // 3), ESTIMATE_SAMPLES)
    off = statistics.median(estimate.estimated) / statistics.median(estimate.whole) - 1
    print(f"(d) whole epoch     {spread(estimate.whole, 's', 1)}, {ESTIMATE_SAMPLES:,} images")
    print(f"    estimate        {spread(estimate.estimated, 's', 1)} from --time_limit={ESTIMATE_SECONDS}")
    print(f"    off by          {off:+.1%}   (wanted: within 5%)", flush=True)


def show_food101(rounds: int) -> None:
    ours, pil = decode_rates(rounds)
    print(f"(b) decoder         {spread(ours, 'images/s')} on one core")
    print(f"    PIL             {spread(pil, 'images/s')}")
    print(f"    ratio           {statistics.median(ours) / statistics.median(pil):.2f}   (wanted: 1.5 or more)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scripts", nargs="*", metavar="SCRIPT", help="cifar100, food101, nlp (default: all)")
    parser.add_argument("--rounds", type=int, default=9, help="of each comparison (default: %(default)s)")
    options = parser.parse_args()
    for name in options.scripts or SCRIPTS:
        if name not in SCRIPTS:
            parser.error(f"there is no {name!r}; there are {', '.join(SCRIPTS)}")

    print("median (lowest to highest); ratios are of medians")
    for name in options.scripts or SCRIPTS:
        show_warm_epoch(name, options.rounds)
        if name == "cifar100":
            show_cifar100(options.rounds)
        if name == "food101":
            show_food101(options.rounds)


if __name__ == "__main__":
    main()
