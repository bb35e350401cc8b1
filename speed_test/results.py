"""The CSV: its columns, its name, and how a row gets into it whole, once, and for good."""

import csv
import errno
import io
import itertools
import os
import re
from collections.abc import Iterable
from pathlib import Path

from speed_test.experiment import Experiment

# The first 33 are fixed: other programs read them by name and place.
FIXED = 33
COLUMNS = (
    "batch_size",
    "epoch",
    "epoch_seconds",
    "samples_per_second",
    "status",
    "data",
    "estimated",
    "measured_seconds",
    "measured_samples",
    "compute_samples_per_second",
    "data_wait_seconds",
    "warmup_seconds",
    "peak_memory_gb",
    "train_loss",
    "experiment",
    "framework",
    "framework_version",
    "model",
    "dataset",
    "input_size",
    "precision",
    "device",
    "machine",
    "chip",
    "cpu_cores",
    "gpu_cores",
    "memory_gb",
    "os",
    "python_version",
    "started_at",
    "run_id",
    "code_version",
    "error",
    "tf32",
    "compiled",
    "power",
)

# Of llama2_test.py, a row for each answer; the first 34 are fixed as well.
FIXED_OF_GENERATION = 34
GENERATION_COLUMNS = (
    "question",
    "question_iter",
    "total_time",
    "answer",
    "answer_char_len",
    "chars_per_second",
    "answer_token_len",
    "tokens_per_second",
    "prompt_tokens",
    "prompt_seconds",
    "prompt_tokens_per_second",
    "generation_seconds",
    "generation_tokens_per_second",
    "status",
    "data",
    "model",
    "quantization",
    "model_size_gb",
    "threads",
    "gpu_layers",
    "framework",
    "framework_version",
    "device",
    "machine",
    "chip",
    "cpu_cores",
    "gpu_cores",
    "memory_gb",
    "os",
    "python_version",
    "started_at",
    "run_id",
    "code_version",
    "error",
    "time_to_first_token",
    "engine_prompt_tokens_per_second",
    "engine_generation_tokens_per_second",
    "architecture",
    "parameters",
    "context",
    "flash_attention",
    "peak_memory_gb",
    "power",
)


def file_safe(text: str) -> str:
    """`text` with letters, digits, '.', '_' and '-' only: "Foo (R) 3/4" becomes "Foo_3_4"."""
    text = re.sub(r"\((R|TM|C)\)", " ", text, flags=re.IGNORECASE)
    text = re.sub(r"[^A-Za-z0-9.-]+", "_", text)[:100]
    return text.strip("._-") or "unknown"


def file_name(experiment: Experiment, machine: str, data: str) -> str:
    """`{machine}_{DATASET}_{model}_{input size}_{framework}[_synthetic]_results.csv`"""
    parts = [machine, experiment.dataset, experiment.model, experiment.input_size, experiment.framework]
    if data == "synthetic":
        parts.append("synthetic")
    return "_".join(map(str, parts)) + "_results.csv"


def _line(cells: Iterable) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()


class Results:
    """Appends rows to one CSV; what the disk refuses is kept, and tried again with the next row.

    Where `path` holds other columns already, the rows go beside it, to `..._2.csv` and so on, and
    `left_alone` names the file that was in the way.

    Raises OSError where a file of that name is there and cannot be read or written.
    """

    def __init__(self, path: Path, columns: tuple[str, ...] = COLUMNS) -> None:
        self.path = path
        self.columns = columns
        self.left_alone: Path | None = None
        self.written = 0
        self._pending: list[bytes] = []
        for number in itertools.count(2):
            if not self.path.exists() or self._is_ours():
                break
            self.left_alone = self.path
            self.path = path.with_stem(f"{path.stem}_{number}")

    def _is_ours(self) -> bool:
        header = _line(self.columns)
        with open(self.path, "r+b") as file:
            start = file.read(len(header) + 2)
        return start in (b"", header[:-1]) or start.startswith(header) or start.startswith(header[:-1] + b"\r\n")

    def append(self, row: dict) -> None:
        """Add a row (column -> value; what is missing or None stays empty, a float has 6 decimals).

        Raises OSError where the file cannot be written; the row then waits in `unwritten`.
        """
        unknown = row.keys() - set(self.columns)
        if unknown:
            raise KeyError(f"no such columns: {sorted(unknown)}")
        cells = [row.get(column) for column in self.columns]
        self._pending.append(_line([round(cell, 6) if isinstance(cell, float) else cell for cell in cells]))
        self.flush()

    def flush(self, patience: float = 3) -> None:
        """Write what waits, all of it or nothing, and wait until it is on the disk.

        Raises OSError where that cannot be done, or another program keeps the file locked for `patience` seconds.
        """
        if not self._pending:
            return
        import portalocker

        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # One unbuffered write under the lock, so that nobody ever sees or leaves half a row.
            with portalocker.Lock(self.path, "a+b", timeout=patience, check_interval=0.01, buffering=0) as file:
                self._write(file)
        except portalocker.exceptions.BaseLockException as error:
            raise OSError(errno.EAGAIN, "another program keeps the file locked", str(self.path)) from error
        self.written += len(self._pending)
        self._pending.clear()

    def _write(self, file: io.FileIO) -> None:
        size = file.seek(0, os.SEEK_END)
        text = b"".join(self._pending)
        if size == 0:
            text = _line(self.columns) + text
        else:
            file.seek(size - 1)
            if file.read(1) != b"\n":  # a row that a power cut tore: it must not swallow this one
                text = b"\n" + text
        try:
            if file.write(text) != len(text):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
            os.fsync(file.fileno())
        except OSError:
            file.truncate(size)
            raise

    @property
    def unwritten(self) -> str:
        """The rows that the disk has refused so far, as lines of CSV."""
        return b"".join(self._pending).decode()
