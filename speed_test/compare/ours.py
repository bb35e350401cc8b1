"""The rows that the scripts of this repository write."""

import re
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path

from speed_test.compare.facts import DEFAULTS, KIND, TEST, Machine, Measurement, Row, facts_of
from speed_test.compare.known import GENERATION_FIGURE, LLAMA_2_7B, LLAMA_2_7B_PARAMETERS, TRAINING_FIGURE
from speed_test.compare.older import positive

Lines = list[tuple[int, list[str]]]  # number of a line, and its cells


def is_ours(columns: set[str]) -> bool:
    """Whether a file with these columns is one of our scripts'."""
    return {"machine", "status"} <= columns and (
        {"batch_size", "epoch_seconds", "experiment"} <= columns
        or {"question", "tokens_per_second", "model"} <= columns
        or {"experiment", "figure", "unit", "better"} <= columns
    )


def defaults(columns: set[str]) -> Row:
    """What rows of a file with these columns say without saying it, because they are older than the columns."""
    if "question" in columns:
        return {**DEFAULTS, "experiment": "llama2", **GENERATION_FIGURE}
    return {**DEFAULTS, **TRAINING_FIGURE}


def problem(cell: Row, columns: set[str]) -> str | None:
    """Why nothing can be made of a row, whatever its figure, or None. `cell` has the columns of TEST, with defaults."""
    if not cell["experiment"]:
        return "experiment is empty"
    if cell["better"] not in ("lower", "higher"):
        return f"better is {cell['better']!r}, neither lower nor higher"
    if cell["figure"] not in columns:
        return f"figure is {cell['figure']!r}, which is no column of the file"
    if not cell["unit"]:
        return "unit is empty"
    if cell.get("batch_size") and not re.fullmatch("0*[1-9][0-9]*", cell["batch_size"]):
        return f"batch_size is {cell['batch_size']!r}, no whole number above 0"
    return None


def measurements(path: Path, columns: list[str], rows: Lines, notes: list[str]) -> Iterator[Measurement]:
    """The measurements in `rows` of the file `path`. Adds to `notes` what is left out, a sentence for each."""
    unsaid = defaults(set(columns))
    told = (*TEST, *KIND, "machine", "chip", "cpu_cores", "gpu_cores", "memory_gb", "batch_size", "quantization")
    places = [columns.index(name) for name in (*told, "parameters", "status") if name in columns]
    facts_in = itemgetter(*places)
    # Almost all rows of a file have the same facts as one before.
    known: dict[tuple, tuple[str | None, tuple, str]] = {}
    machines: dict[str, Machine] = {}
    for number, row in rows:
        key = facts_in(row)
        if key not in known:
            cell = {**unsaid, **dict(zip(columns, row, strict=True))}
            machine = machines.setdefault(cell["machine"], _machine(cell))
            known[key] = (problem(cell, set(columns)), _facts(path, cell, set(columns), machine), cell["figure"])
        what, facts, figure = known[key]
        value = None
        if not what and facts[-1] == "ok":
            text = row[columns.index(figure)]
            try:
                value = positive(text)
            except ValueError:
                what = f"{figure} is {text!r}, no number above 0"
        if what:
            notes.append(f"line {number}: {what}")
        else:
            yield facts, value


def _facts(path: Path, cell: Row, columns: set[str], machine: Machine) -> tuple:
    group: int | str | None
    if "quantization" in columns:  # answers of a language model, which are compared by model
        group = _model(path, cell, named_by_file="figure" not in columns)
        cell["model"] = ""
    else:
        group = int(cell["batch_size"]) if cell.get("batch_size", "").isdecimal() else None
    return facts_of(cell, machine, group, cell["status"])


def _model(path: Path, cell: Row, named_by_file: bool) -> str:
    """What a model is called above its column: the name of its file, and the type of its weights.

    Older rows have an internal name in `model`, such as "Smollm2 135M 8k Lc100K Mix1 Ep2". The name of the file is
    then taken from the name of the CSV.
    """
    kind = cell.get("quantization", "")
    if (cell.get("parameters"), kind) == (LLAMA_2_7B_PARAMETERS, "Q4_0"):
        return LLAMA_2_7B
    name = cell["model"]
    if named_by_file and path.stem.startswith(f"{cell['machine']}_"):
        rest = path.stem.removeprefix(f"{cell['machine']}_")
        name = re.sub(r"(^|_)(synthetic_)?results(_\d+)?$", "", rest) or name
    if kind:
        name = re.sub(rf"[ ._-]{re.escape(kind)}$", "", name, flags=re.IGNORECASE)
    return f"{name} {kind}".strip() or "unknown model"


def _machine(cell: Row) -> Machine:
    kind = "CPU" if cell["device"] == "cpu" else "GPU"
    cores = cell.get(f"{kind.lower()}_cores", "")
    name = cell.get("chip") or cell["machine"].replace("_", " ")
    facts = [name]
    if cores and cell["device"] != "cuda":  # of NVIDIA's, multiprocessors are counted, which nobody buys by
        facts.append(f"{cores} {kind} cores")
    if cell.get("memory_gb"):
        facts.append(f"{cell['memory_gb']} GB")
    return Machine(cell["machine"], name, ", ".join(facts))
