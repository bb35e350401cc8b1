"""The CSV: its columns, and how a row is appended to it.

Appends each row atomically, exactly once, and flushes it to disk.
"""

import csv
import errno
import io
import itertools
import os
from collections.abc import Iterable
from pathlib import Path
from typing import IO

# Goes up when figures stop being comparable with earlier ones; CHANGES.md says why. A reader never pools two versions,
# and rows without this column are version 1.
MEASUREMENT_VERSION = 1

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

# Of the training tests, one row for each epoch: column -> what it says. Other programs read the first 33 by name
# and place.
FIXED = 33
TRAINING = {
    "batch_size": "samples in a training step",
    "epoch": "number of the epoch at this batch size, from 1",
    "epoch_seconds": "seconds that the whole epoch took, or would have taken",
    "samples_per_second": "samples trained per second, over measured_seconds",
    "status": "ok, out_of_memory, failed, or skipped because a smaller batch size ran out of memory",
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
}
GENERATION_COLUMNS = tuple(GENERATION)


def _line(cells: Iterable) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()


class Results:
    """Appends rows to one CSV. A row that the disk refuses is kept, and tried again with the next one.

    If `path` already holds other columns, the rows go to a file beside it, `..._2.csv` and so on, and `left_alone`
    names the file that was left as it is.

    Raises OSError if a file of that name exists and cannot be read or written.
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

        Raises OSError if the file cannot be written; the row then waits in `unwritten`.
        """
        unknown = row.keys() - set(self.columns)
        if unknown:
            raise KeyError(f"no such columns: {sorted(unknown)}")
        cells = [row.get(column) for column in self.columns]
        self._pending.append(_line([round(cell, 6) if isinstance(cell, float) else cell for cell in cells]))
        self.flush()

    def flush(self, patience: float = 3) -> None:
        """Write all waiting rows or none of them, and return when they are on the disk.

        Raises OSError if that cannot be done, or if another program keeps the file locked for `patience` seconds.
        """
        if not self._pending:
            return
        import portalocker

        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # One unbuffered write under the lock: nobody ever sees half a row.
            with portalocker.Lock(self.path, "a+b", timeout=patience, check_interval=0.01, buffering=0) as file:
                self._write(file)
        except portalocker.exceptions.BaseLockException as error:
            raise OSError(errno.EAGAIN, "another program keeps the file locked", str(self.path)) from error
        self.written += len(self._pending)
        self._pending.clear()

    def _write(self, file: IO[bytes]) -> None:
        size = file.seek(0, os.SEEK_END)
        text = b"".join(self._pending)
        if size == 0:
            text = _line(self.columns) + text
        else:
            file.seek(size - 1)
            if file.read(1) != b"\n":  # a power cut has torn the last row: keep it apart from this one
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
