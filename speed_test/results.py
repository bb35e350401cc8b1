"""The CSV: its columns, and how a row is appended to it.

Appends each row atomically, exactly once, and flushes it to disk.
"""

import csv
import errno
import io
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO

# Goes up when figures stop being comparable with earlier ones; CHANGES.md says why. A reader never pools two versions,
# and rows without this column are version 1.
MEASUREMENT_VERSION = 1

# Which test a row belongs to. Two rows that differ here are never in one table.
TEST = ("experiment", "framework", "model", "dataset", "input_size", "figure", "unit", "better")
# Settings that change how much work a figure stands for, or how it is done. Add new ones here.
SWITCHES = (
    *("precision", "tf32", "compiled", "channels_last", "num_processes", "num_nodes"),
    *("threads", "gpu_layers", "answer_token_len", "context", "data_checksum"),
)
# What rows mean that do not say it, because they are older than the column, or of a test without the switch.
USUAL = {"precision": "float32", "channels_last": "False", "num_processes": "1", "num_nodes": "1"}
# Which machine it is, more finely than by its name: two hosts of a cloud may both call their processor "AMD EPYC".
HOST = ("cpu_model", "virtual")
# What these columns may say, from good to bad.
LEVELS = {
    "power": ("mains", "battery"),
    "thermal_level": ("nominal", "moderate", "heavy", "trapping", "sleeping"),
    "memory_pressure": ("normal", "warning", "critical"),
}

_MACHINE_AND_RUN = {
    "framework": "pytorch, tensorflow or llamacpp",
    "framework_version": "version of the framework",
    "device": "mps (Apple GPU), cuda (NVIDIA GPU) or cpu",
    "machine": "chip, memory and cores, as in the name of the file",
    "chip": "the GPU's name on an NVIDIA machine, else the processor's",
    "cpu_cores": "physical CPU cores that the process may use",
    "gpu_cores": "GPU cores; on NVIDIA GPUs streaming multiprocessors",
    "memory_gb": "memory of the machine, or of the GPU where it has its own, rounded up to the size it is sold with",
    "os": "operating system",
    "python_version": "version of Python",
    "started_at": "when the epoch, or the answer, began (UTC, ISO 8601)",
    "run_id": "the same in all rows of one run",
    "code_version": "commit of this repository, with -dirty if a file was changed",
    "error": "why it did not work, if it did not",
}

# What these columns say is fixed in every schema.
_COMPARED = {
    "measurement_version": "how it was measured: rows of two versions are never pooled (CHANGES.md)",
    "figure": "the column that machines are compared by",
    "unit": "unit of that column",
    "better": "lower or higher: which of two figures is the better one",
}

# How sure a figure is: the machine more finely, and its state. Of the state the worst of the epoch, or answer.
_TRUST = {
    "run": "number of the repetition (--runs), from 1",
    "cpu_model": "the processor more finely: family, model and stepping, or part number, and cache",
    "virtual": "the hypervisor, on a virtual machine",
    "low_power_mode": "True if the system saves power at the cost of speed",
    "thermal_level": "of a Mac: nominal, moderate, heavy, trapping or sleeping",
    "throttle_reasons": "why the GPU or the processor ran slower than it can, as the driver or the system says",
    "other_load_percent": "CPU time of all other processes; 100 is one core",
    "busiest_other_process": "the one that took the most, if that was a third of a core or more",
    "gpu_other_load_percent": "use of the GPU by others, while the test itself did not use it",
    "swap_growth_gb": "how much more memory was swapped out than before",
    "memory_pressure": "normal, warning or critical",
    "cpu_pressure_percent": "on Linux: share of the time in which some process waited for a CPU, this test's included",
    "cpu_stolen_percent": "share of the CPU time that the host of a virtual machine gave to others",
    "cpu_governor": "on Linux: what sets the clock of the processor",
    "emulated": "True if Python was built for another kind of processor (Rosetta)",
    "gpu_temperature_c": "highest temperature of an NVIDIA GPU, in degrees Celsius",
    "gpu_clock_mhz": "lowest clock of an NVIDIA GPU that was seen while it worked",
    "gpu_power_limit_w": "power limit of an NVIDIA GPU, in watts",
    "energy_joules": "energy that the GPU or the processor took, where it can be read",
    "suspended_seconds": "seconds in which the machine slept or the process was stopped",
    "cpu_fallback": "operators that ran on the CPU because the GPU does not have them",
}

# Of the training tests, one row for each epoch: column -> what it says. Other programs read the first 33 by name
# and place.
FIXED = 33
TRAINING = {
    "batch_size": "samples in a training step",
    "epoch": "number of the epoch at this batch size, from 1",
    "epoch_seconds": "seconds that the whole epoch took, or would have taken",
    "samples_per_second": "samples trained per second, over measured_seconds",
    "status": "ok, out_of_memory, failed, or skipped because it would not fit into memory or --budget",
    "data": "real or synthetic",
    "estimated": "True if only a part of the epoch was measured",
    "measured_seconds": "seconds that were really measured",
    "measured_samples": "samples trained in that time",
    "compute_samples_per_second": "compute limit: the same step on one batch that lies on the device already",
    "data_wait_seconds": "the part of measured_seconds in which the training waited for its next batch",
    "warmup_seconds": "seconds of warm-up before the first epoch",
    "peak_memory_gb": "peak memory so far: of tensors on a GPU (empty: TensorFlow on a Mac), on a CPU of the process",
    "train_loss": "mean loss over the samples of the epoch",
    "experiment": "which speed test, such as pytorch_cifar100",
    "framework": _MACHINE_AND_RUN["framework"],
    "framework_version": _MACHINE_AND_RUN["framework_version"],
    "model": "what was trained",
    "dataset": "on which data set",
    "input_size": "pixels along a side of an image, or tokens of a text",
    "precision": "type of the numbers that the model computes with",
    **{column: text for column, text in _MACHINE_AND_RUN.items() if not column.startswith("framework")},
    "tf32": "True if the GPU has TensorFloat-32 and convolutions or matrix products may use it",
    "compiled": "True if the training step was compiled as a whole (Keras does that, by XLA, on NVIDIA GPUs)",
    "power": "mains or battery, on a machine with a battery",
    **_COMPARED,
    "other_sweeps": "how many other sweeps of these scripts ran on the machine",
    "data_checksum": "mismatch if the real data are not the published files, as their checksum says",
    "block_samples_per_second": "samples per second in each block of about a second, in their order; 60 at most",
    "compute_samples_per_second_after": "the compute limit once more after the last epoch, in the row of that epoch",
    "channels_last": "True with --channels_last: colours of a pixel lie side by side in memory; TensorFlow's always do",
    "compile_seconds": "the part of warmup_seconds that compiling took",
    "num_processes": "processes that trained together; samples_per_second is of all of them",
    "num_nodes": "machines that they ran on",
    "global_batch_size": "samples in a step of all processes: batch_size is of one",
    "gflop_per_sample": "floating-point operations of a training step for each sample, in billions",
    "tflops": "trillions of floating-point operations a second that this comes to",
    "matmul_tflops": "the same of a large matrix product in the same precision, in all processes: the device's ceiling",
    "matmul_share": "tflops as a part of matmul_tflops",
    **_TRUST,
}
COLUMNS = tuple(TRAINING)

# Of llama2_test.py, one row for each answer. The first 34 are fixed.
FIXED_OF_GENERATION = 34
GENERATION = {
    "question": "what was asked",
    "question_iter": "how many times it has been asked, from 1",
    "total_time": "seconds from the prompt to the last token",
    "answer": "the text",
    "answer_char_len": "characters of the text",
    "chars_per_second": "characters of the text per second of total_time",
    "answer_token_len": "tokens of the answer",
    "tokens_per_second": "tokens of the answer per second of total_time, as a person waits for it",
    "prompt_tokens": "tokens of the prompt, chat template included",
    "prompt_seconds": "seconds to read the prompt",
    "prompt_tokens_per_second": "tokens of the prompt read per second",
    "generation_seconds": "seconds from the first token, which comes with the prompt, to the last",
    "generation_tokens_per_second": "tokens written per second in that time",
    "status": "ok, out_of_memory or failed",
    "data": "real, or synthetic for random weights",
    "model": "name of the model's file, without the type of its weights",
    "quantization": "type of the weights, as llama.cpp names it",
    "model_size_gb": "size of the weights",
    "threads": "CPU threads",
    "gpu_layers": "layers that ran on the GPU, the output counted as one",
    **_MACHINE_AND_RUN,
    "time_to_first_token": "seconds from the prompt to the first token",
    "engine_prompt_tokens_per_second": "the rate of the prompt as llama.cpp counts it itself",
    "engine_generation_tokens_per_second": "the rate of generation as llama.cpp counts it: without Python and sampling",
    "architecture": "the model's family, as its file says",
    "parameters": "number of weights",
    "context": "tokens of context",
    "flash_attention": "enabled or disabled: what llama.cpp decided itself",
    "peak_memory_gb": "peak memory of the process; empty on a GPU",
    "power": TRAINING["power"],
    "experiment": "which speed test: llama2",
    **_COMPARED,
    "other_sweeps": TRAINING["other_sweeps"],
    **_TRUST,
    "memory_gb_per_second": "billions of bytes a second that a large copy or a large read moves: the memory's ceiling",
    "memory_share": "bytes of weights read a second while generating, as a part of memory_gb_per_second",
}
GENERATION_COLUMNS = tuple(GENERATION)


def cell_text(value: object) -> str:
    """A value as it stands in the CSV: None is empty, and a float has 6 decimals."""
    return "" if value is None else str(round(value, 6) if isinstance(value, float) else value)


def _line(cells: Iterable) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()


class Results:
    """Appends rows to one CSV. A row that the disk refuses is kept, and tried again with the next one.

    If `path` holds other columns, now or later, the rows go to a file beside it, `..._2.csv` and so on, and
    `left_alone` names the files that were left as they are, the `first` of which has the name that was asked for.

    Raises OSError if a file of that name exists and cannot be read or written.
    """

    def __init__(self, path: Path, columns: tuple[str, ...] = COLUMNS) -> None:
        self.path = path
        self.columns = columns
        self._not_here = {*COLUMNS, *GENERATION_COLUMNS}.difference(columns)
        self.left_alone: list[Path] = []
        self._header = _line(columns)
        self.first = path
        self._pending: list[bytes] = []
        self._written: dict[Path, list[bytes]] = {}
        while os.path.lexists(self.path):
            if not self.path.is_symlink():  # which would lead into a file somewhere else
                with open(self.path, "r+b") as file:
                    if self._has_our_columns(file):
                        return
            self._go_on_beside()

    def fitting(self, columns: Mapping[str, object]) -> dict[str, object]:
        """`columns` without those of our usual ones that this CSV does not have: a test may have its own schema."""
        return {column: value for column, value in columns.items() if column not in self._not_here}

    def append(self, row: dict) -> None:
        """Add a row (column -> value; what is missing or None stays empty, a float has 6 decimals).

        Raises OSError if the file cannot be written; the row then waits in `unwritten`.
        """
        unknown = row.keys() - set(self.columns)
        if unknown:
            raise KeyError(f"no such columns: {sorted(unknown)}")
        self._pending.append(_line(cell_text(row.get(column)) for column in self.columns))
        self.flush()

    def flush(self, patience: float = 3) -> None:
        """Write all waiting rows or none of them, and return when they are on the disk.

        Raises OSError if that cannot be done, or if another program keeps the file locked for `patience` seconds.
        """
        if self._pending:
            self._append(self._pending, patience)
            self._pending = []

    def restore(self, patience: float = 3) -> int:
        """Write again what somebody has removed from the files since; return how many rows that were.

        Raises OSError if it cannot be written; those rows then wait in `unwritten`.
        """
        lost = [line for path, lines in self._written.items() for line in _missing(path, lines)]
        if lost:
            for lines in self._written.values():
                lines[:] = [line for line in lines if line not in lost]
            self._pending = [*lost, *self._pending]
            self.flush(patience)
        return len(lost)

    @property
    def written(self) -> dict[Path, int]:
        """The files that rows of this run are in, and how many."""
        return {path: len(lines) for path, lines in self._written.items() if lines}

    @property
    def unwritten(self) -> str:
        """The rows that the disk has refused so far, as lines of CSV."""
        return b"".join(self._pending).decode()

    def _append(self, lines: list[bytes], patience: float) -> None:
        import portalocker

        while True:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self.path.is_symlink():
                self._go_on_beside()
                continue
            try:
                # One unbuffered write under the lock: nobody ever sees half a row.
                with portalocker.Lock(self.path, "a+b", timeout=patience, check_interval=0.01, buffering=0) as file:
                    if not _is_still(self.path, file):  # removed or replaced while this process waited for the lock
                        continue
                    if self._has_our_columns(file):
                        self._write(file, lines)
                        self._written.setdefault(self.path, []).extend(lines)
                        return
            except portalocker.exceptions.BaseLockException as error:
                raise OSError(errno.EAGAIN, "another program keeps the file locked", str(self.path)) from error
            self._go_on_beside()

    def _go_on_beside(self) -> None:
        self.left_alone.append(self.path)
        self.path = self.first.with_stem(f"{self.first.stem}_{len(self.left_alone) + 1}")

    def _has_our_columns(self, file: IO[bytes]) -> bool:
        """Whether a file is empty or begins with the header, with any end of line or none."""
        file.seek(0)
        start = file.read(len(self._header) + 2)
        header = self._header[:-1]
        return start in (b"", header) or start.startswith((self._header, header + b"\r\n"))

    def _write(self, file: IO[bytes], lines: list[bytes]) -> None:
        size = file.seek(0, os.SEEK_END)
        text = (_end_of_torn_row(file) if size else self._header) + b"".join(lines)
        try:
            if file.write(text) != len(text):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
            os.fsync(file.fileno())
        except OSError:
            file.truncate(size)
            raise


def _is_still(path: Path, file: IO[bytes]) -> bool:
    """Whether `path` is the file that was opened there. Windows does not let anybody remove an open file."""
    try:
        return os.name == "nt" or os.path.samestat(os.stat(path), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _end_of_torn_row(file: IO[bytes]) -> bytes:
    """What ends the last row of a file if a power cut has torn it: a newline, and before it a quote if the row ends
    inside a quoted cell, which may hold newlines of its own. Empty for a row that is complete."""
    file.seek(0)
    quotes, last = 0, b""
    while block := file.read(2**20):
        quotes += block.count(b'"')
        last = block[-1:]
    if quotes % 2:
        return b'"\n'
    return b"" if last == b"\n" else b"\n"


# Of a CSV that is read; it may be a stranger's.
LARGEST = 50 * 2**20  # bytes: more than 50,000 rows with all their blocks
MOST_ROWS = 200_000

# Begins the warning after which the rows are printed that the disk has refused; run_all.py looks for it.
UNWRITTEN = "these rows could not be written"


def _missing(path: Path, lines: list[bytes]) -> list[bytes]:
    """Those of `lines`, which were appended to `path` in this order, that are no longer in it. Another program may have
    saved it with other ends of lines."""
    try:
        content = path.read_bytes().replace(b"\r\n", b"\n")
    except OSError:
        return list(lines)
    missing, position = [], 0
    for line in lines:
        found = content.find(line, position)
        if found < 0:
            missing.append(line)
        else:
            position = found + len(line)
    return missing
