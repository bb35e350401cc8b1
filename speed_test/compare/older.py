"""The files of the older scripts (https://github.com/mrdbourke/mac-ml-speed-test), which this project continues.

They hold one mean for each batch size (`batch_size,avg_time_per_epoch`), the metrics of Hugging Face's Trainer over
all epochs, or a row for each answer of Llama 2. Which machine and which test they are of, only their names say.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from speed_test.compare.cells import BATCH_SIZE, clean, number, whole
from speed_test.compare.facts import DEFAULTS, Machine, Measurement, Row, facts_of
from speed_test.compare.known import KNOWN, LLAMA_2_7B, TRAINING_FIGURE, columns_of

# A row -> the columns of its test, its machine, its group and its value, None if it failed. Raises ValueError for a
# row without numbers where they belong.
Reader = Callable[[Row], tuple[Row, str, int | str, float | None]]

NAME = re.compile(
    r"(?P<machine>.+?)_(?P<dataset>CIFAR100?|FOOD101|IMDB)_(?P<model>[^_]+)_(?P<input_size>[0-9]{1,9})"
    r"(_(?P<framework>pytorch|tensorflow))?",
    re.IGNORECASE | re.ASCII,  # else letters of other alphabets would match too: a Turkish i in IMDB
)
# Machine and model may both have "_" in them, the model only in its type: "Apple_M3_llama-2-7b-chat.Q4_0.gguf_results".
MODEL = re.compile(
    r"(?P<machine>.+)_(?P<model>[^_]+[.-](I?Q\d(_[A-Z0-9]+)*|B?F16|F32))(\.gguf)?(_results)?$",
    re.IGNORECASE | re.ASCII,
)


def measurements(
    path: Path, columns: list[str], rows: list[tuple[int, list[str]]], notes: list[str]
) -> Iterator[Measurement]:
    """The measurements in `rows` (numbers and cells of lines) of the file `path`. Adds to `notes` what is left out.

    Raises ValueError for a file that is not one of the older scripts'. Its text completes "it ...".
    """
    read = _reader(path, set(columns))
    for line, row in rows:
        try:
            test, name, group, value = read(dict(zip(columns, row, strict=True)))
        except ValueError:
            notes.append(f"line {line} has no numbers where they belong")
            continue
        cell = {**DEFAULTS, **test, "source": "older", "measurement_version": ""}
        facts = facts_of(cell, Machine(f"older {name}", name, name), group, "ok" if value else "failed")
        yield Measurement(facts, value)


def _reader(path: Path, columns: set[str]) -> Reader:
    """What reads the rows of `path`, a file with these columns.

    Raises ValueError for a file that is not one of the older scripts'. Its text completes "it ...".
    """
    if {"batch_size", "avg_time_per_epoch"} <= columns:
        return _training(path, lambda row: number(row["avg_time_per_epoch"], "avg_time_per_epoch"))
    if {"batch_size", "train_runtime", "epoch"} <= columns:
        return _training(path, lambda row: _per_epoch(row["train_runtime"], row["epoch"]))
    if {"question", "tokens_per_second"} <= columns:
        return _generation(path)
    raise ValueError("has columns of neither these nor the older scripts")


def _per_epoch(seconds: str, epochs: str) -> float:
    mean = number(seconds, "train_runtime") / number(epochs, "epoch")
    return number(repr(mean), "train_runtime")  # raises ValueError if that is out of range


def _machine(name: str) -> str:
    return clean(name.replace("_", " ")) or "unknown machine"


def _training(path: Path, seconds: Callable[[Row], float]) -> Reader:
    found = NAME.match(path.stem)
    if not found:
        raise ValueError("is of the older scripts, and its name says neither machine nor experiment")
    framework = found["framework"] or ("tensorflow" if found["model"] == "SmallTransformer" else "pytorch")
    # CIFAR100's files were named after CIFAR10 at times.
    dataset = "CIFAR100" if found["dataset"].upper().startswith("CIFAR") else found["dataset"].upper()
    experiment = f"{framework}_{dataset}".lower()
    known = KNOWN[experiment]
    if (found["model"].lower(), found["input_size"]) == (known.model.lower(), known.input_size):
        test = columns_of(experiment)
    else:
        test = {"experiment": experiment, "framework": framework.lower(), "model": clean(found["model"])}
        test |= {"dataset": dataset, "input_size": found["input_size"], **TRAINING_FIGURE}
    machine = _machine(found["machine"])

    def read(row: Row) -> tuple[Row, str, int | str, float | None]:
        batch_size = whole(row["batch_size"].removesuffix(".0"), BATCH_SIZE)  # pandas writes 32.0 beside empty cells
        return test, machine, batch_size, None if "FAILED" in row.values() else seconds(row)

    return read


def _generation(path: Path) -> Reader:
    found = MODEL.match(path.stem)
    if not found:
        raise ValueError("is of the older scripts, and its name says neither machine nor model")
    machine, model = _machine(found["machine"]), clean(found["model"])
    model = LLAMA_2_7B if model.lower() == "llama-2-7b-chat.q4_0" else model
    test = columns_of("llama2")

    def read(row: Row) -> tuple[Row, str, int | str, float | None]:
        rate = None if "FAILED" in row.values() else number(row["tokens_per_second"], "tokens_per_second")
        return test, machine, model, rate

    return read
