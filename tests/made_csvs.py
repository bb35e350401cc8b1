"""CSVs for the tests of comparing (rows as our scripts write them, files of the older ones), and comparing them."""

import contextlib
import csv
import io
import json
import subprocess
import sys
from random import Random
from unittest import mock

import compare_results
from speed_test.compare import read, table
from speed_test.results import COLUMNS, GENERATION_COLUMNS

HOME = "NVIDIA_GeForce_RTX_4090_24GB_Memory"


def training_row(**cells):
    row = dict.fromkeys(COLUMNS, "")
    row |= {"batch_size": 32, "epoch": 1, "epoch_seconds": 60.0, "samples_per_second": 833.3, "status": "ok"}
    row |= {"data": "real", "estimated": "False", "measured_seconds": 60.0, "measured_samples": 50_000}
    row |= {"compute_samples_per_second": 900.0, "data_wait_seconds": 0.1, "train_loss": 4.1}
    row |= {"experiment": "pytorch_cifar100", "framework": "pytorch", "framework_version": "2.15.0"}
    row |= {"model": "resnet50", "dataset": "CIFAR100", "input_size": 32, "tf32": "False", "compiled": "False"}
    row |= {"measurement_version": 1, "figure": "epoch_seconds", "unit": "seconds per epoch", "better": "lower"}
    row |= {"precision": "float32", "device": "cuda", "machine": HOME, "chip": "NVIDIA GeForce RTX 4090"}
    row |= {"memory_gb": 24, "os": "Linux", "python_version": "3.12.1", "started_at": "2026-11-24T00:00:00+00:00"}
    return row | {"run_id": "0123456789ab"} | cells


def noise(rate, number, half_width=0.002, drift=0.0, seed=0):
    """Made-up rates of blocks as a cell holds them: even, but for a little noise, and `drift` from half of them on."""
    random = Random(seed)
    rates = [rate * (1 + random.uniform(-2, 2) * half_width) for _ in range(number)]
    return " ".join(f"{one * (1 + drift * (place >= number / 2)):.5g}" for place, one in enumerate(rates))


def runs(rates, epochs=2, blocks=30, half_width=0.002, drift=0.0, samples=50_000, **cells):
    """The rows of a run for each of `rates` (samples per second), as today's scripts write them."""
    made = []
    for run, rate in enumerate(rates, start=1):
        for epoch in range(1, epochs + 1):
            own = {"run": run, "run_id": f"{run:012x}", "epoch": epoch, "power": "mains", "low_power_mode": "False"}
            own |= {"epoch_seconds": samples / rate, "measured_seconds": samples / rate, "samples_per_second": rate}
            own["block_samples_per_second"] = noise(rate, blocks, half_width, drift, seed=100 * run + epoch)
            made.append(training_row(**own | cells))
    return made


def write(path, rows, columns=COLUMNS):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def ours(folder, machine=HOME, chip="NVIDIA GeForce RTX 4090", seconds=(60.0, 61.0, 59.5), **cells):
    synthetic = "_synthetic" if cells.get("data") == "synthetic" else ""
    path = folder / "results" / "results_pytorch_cv" / f"{machine}_CIFAR100_resnet50_32_pytorch{synthetic}_results.csv"
    rows = [
        training_row(epoch=number, epoch_seconds=one, machine=machine, chip=chip, **cells)
        for number, one in enumerate(seconds, start=1)
    ]
    return write(path, rows)


def older(folder, name, text, encoding="utf-8"):
    path = folder / "results" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


def generation_row(**cells):
    row = dict.fromkeys(GENERATION_COLUMNS, "")
    row |= {"question": "Why?", "question_iter": 1, "total_time": 10.0, "answer": "So,\nit is.", "status": "ok"}
    row |= {"answer_token_len": 500, "tokens_per_second": 50.0, "data": "real", "model": "LLaMA v2"}
    row |= {
        "quantization": "Q4_0",
        "parameters": 6738415616,
        "device": "mps",
        "machine": "Apple_M4",
        "chip": "Apple M4",
    }
    row |= {"gpu_cores": 10, "memory_gb": 16, "threads": 4, "gpu_layers": 33, "context": 2048}
    row |= {"experiment": "llama2", "framework": "llamacpp", "measurement_version": 1, "figure": "tokens_per_second"}
    row |= {"unit": "tokens per second (answer by total time)", "better": "higher"}
    return row | cells


def compare(*arguments, cwd, draws=False):
    """What `python compare_results.py ARGUMENTS` prints in the folder `cwd`; charts are drawn only if it `draws`.

    Runs in this process, so that pandas is imported once for all tests.
    """
    streams = {name: io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for name in ("stdout", "stderr")}
    with (
        contextlib.chdir(cwd),
        mock.patch.multiple(sys, argv=["compare_results.py", *arguments], **streams),
        contextlib.nullcontext() if draws else mock.patch.object(compare_results, "draw_charts"),
    ):
        try:
            compare_results.main()
        except SystemExit as end:
            status = end.code
    texts = []
    for stream in streams.values():
        stream.flush()
        texts.append(stream.buffer.getvalue().decode())
    return subprocess.CompletedProcess(arguments, status, *texts)


def records(folder, *arguments):
    """The records of all CSVs below `folder`, from --format=json."""
    done = compare("--format=json", *arguments, cwd=folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def cells_of(path):
    """The cells of one CSV, and what of it is left out."""
    measurements, notes = read.read(path)
    return table.cells(read.frame(measurements)), notes
