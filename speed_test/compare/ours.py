"""The rows that the scripts of this repository write."""

import re
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path

from speed_test.compare import told
from speed_test.compare.cells import (
    BATCH_SIZE,
    GLOBAL_BATCH_SIZE,
    PROCESSES,
    VERSION,
    clean,
    number,
    quoted,
    whole,
)
from speed_test.compare.facts import DEFAULTS, KIND, TEST, Machine, Measurement, Row, facts_of
from speed_test.compare.known import GENERATION_FIGURE, LLAMA_2_7B, LLAMA_2_7B_PARAMETERS, TRAINING_FIGURE

Lines = list[tuple[int, list[str]]]  # number of a line, and its cells

MACHINE = ("machine", "chip", "cpu_cores", "gpu_cores", "memory_gb")
# All columns that are read, as text. `source` isn't: nobody's figures become published ones by a column of that name.
OTHERS = ("batch_size", "global_batch_size", "quantization", "parameters", "status")
TOLD = {*TEST, *KIND, *MACHINE, *OTHERS} - {"source"}
# Whole numbers that a row may have, from ... to ...
WHOLE = {
    **{"batch_size": BATCH_SIZE, "measurement_version": VERSION},
    **{"num_processes": PROCESSES, "num_nodes": PROCESSES, "global_batch_size": GLOBAL_BATCH_SIZE},
}
# The columns that a file must have, because they are read and have been there from the beginning.
OF_ALL = ("machine", "status")
OF_TRAINING = (
    *("batch_size", "epoch_seconds", "experiment", "framework", "model", "dataset", "input_size"),
    *("precision", "data", "estimated", "device", *MACHINE),
)
OF_GENERATION = (
    *("question", "tokens_per_second", "answer_token_len", "model", "quantization", "data", "threads"),
    *("gpu_layers", "device", *MACHINE),
)
OF_OWN_COLUMNS = ("experiment", "figure", "unit", "better")
# What a file may hold; a script writes one test of one machine. More would take minutes, and nobody could read it.
MOST = {"tests": 20, "machines": 100, "kinds of figures": 200, "batch sizes and models": 10_000}


def is_ours(columns: set[str]) -> bool:
    """Whether a file with these columns is one of our scripts', though some may be missing."""
    return (
        {"batch_size", "epoch_seconds"} <= columns
        or ({"question", "tokens_per_second"} <= columns and bool({"machine", "status", "model"} & columns))
        or len(columns & {*OF_OWN_COLUMNS, *OF_ALL}) >= 4
    )


def missing(columns: set[str]) -> list[str]:
    """The columns that a file of ours with these columns lacks."""
    if {"batch_size", "epoch_seconds"} <= columns:
        needed: tuple[str, ...] = OF_TRAINING
    elif {"question", "tokens_per_second"} <= columns:
        needed = OF_GENERATION
    else:
        needed = OF_OWN_COLUMNS
    return [column for column in dict.fromkeys((*needed, *OF_ALL)) if column not in columns]


def defaults(columns: set[str]) -> Row:
    """What rows of a file with these columns say without saying it, because they are older than the columns."""
    if "question" in columns:
        return {**DEFAULTS, "experiment": "llama2", **GENERATION_FIGURE}
    return {**DEFAULTS, **TRAINING_FIGURE}


def cleaned(cell: Row) -> Row:
    """A row with its texts as they are shown, see cells.clean."""
    return {column: clean(text) for column, text in cell.items()}


def problem(cell: Row, columns: set[str]) -> str | None:
    """Why nothing can be made of a row, whatever its figure, or None. `cell` has the columns of TEST, with defaults."""
    for column in ("experiment", "machine"):
        if not cell[column]:
            return f"{column} is empty"
    if cell["better"] not in ("lower", "higher"):
        return f"better is {quoted(cell['better'])}, neither lower nor higher"
    if cell["figure"] not in columns:
        return f"figure is {quoted(cell['figure'])}, which is no column of the file"
    if not cell["unit"]:
        return "unit is empty"
    numbers: dict[str, int] = {}
    for column, limits in WHOLE.items():
        if cell.get(column):
            try:
                numbers[column] = whole(cell[column], limits)
            except ValueError as error:
                return f"{column} {error}"
    return _problem_of_switches(cell, numbers)


def _problem_of_switches(cell: Row, numbers: dict[str, int]) -> str | None:
    """The same of the columns that say how many processes did the work, and how images lay in memory."""
    if cell.get("channels_last"):
        try:
            told.true_or_false(cell["channels_last"])
        except ValueError as error:
            return f"channels_last {error}"
    size, processes, together = map(numbers.get, ("batch_size", "num_processes", "global_batch_size"))
    if size and processes and together and together != size * processes:
        return f"global_batch_size is '{together}', not batch_size times num_processes"
    if numbers.get("num_nodes", 1) > (processes or 1):
        return f"num_nodes is '{numbers['num_nodes']}', more than the processes"
    return None


def too_many(cell: Row, columns: set[str], seen: dict[str, set]) -> str | None:
    """Why a row would make its file hold too much (see MOST), or None. `seen` is what the rows before it hold."""
    model = "quantization" in columns  # then it is no part of the test
    test = tuple("" if model and column == "model" else cell[column] for column in TEST)
    own = {
        "tests": test,
        "machines": cell["machine"],
        "kinds of figures": (test, cell["machine"], *(cell[column] for column in KIND)),
        "batch sizes and models": tuple(cell.get(column) for column in ("batch_size", "model", "quantization")),
    }
    for things, one in own.items():
        if one not in seen[things] and len(seen[things]) == MOST[things]:
            return f"the file has {MOST[things]:,} {things} already, the most that are read"
    for things, one in own.items():
        seen[things].add(one)
    return None


def measurements(path: Path, columns: list[str], rows: Lines, notes: list[str]) -> Iterator[Measurement]:
    """The measurements in `rows` of the file `path`. Adds to `notes` what is left out, a sentence for each."""
    unsaid = defaults(set(columns))
    told_in = told.reader(columns)
    facts_in = itemgetter(*(place for place, column in enumerate(columns) if column in TOLD))
    # Almost all rows of a file have the same facts as one before.
    known: dict[tuple, tuple[str | None, tuple, str]] = {}
    machines: dict[str, Machine] = {}
    seen: dict[str, set] = {things: set() for things in MOST}
    for line, row in rows:
        key = facts_in(row)
        if key not in known:
            cell = {column: text for column, text in zip(columns, row, strict=True) if column in TOLD}
            cell = {**unsaid, **cleaned(cell)}
            what = problem(cell, set(columns)) or too_many(cell, set(columns), seen)
            machine = machines.setdefault(cell["machine"], _machine(cell))
            known[key] = (what, () if what else _facts(path, cell, set(columns), machine), cell["figure"])
        what, facts, figure = known[key]
        value = None
        if not what:
            try:
                if facts[-1] == "ok":
                    value = _figure(row[columns.index(figure)], figure)
                more = told_in(row)
            except ValueError as error:
                what = str(error)
        if what:
            notes.append(f"line {line}: {what}")
        else:
            yield Measurement(facts, value, more)


def _figure(text: str, column: str) -> float:
    try:
        return number(text, column)
    except ValueError as error:
        raise ValueError(f"{column} {error}") from None


def _facts(path: Path, cell: Row, columns: set[str], machine: Machine) -> tuple:
    group: int | str | None
    if "quantization" in columns:  # answers of a language model, which are compared by model
        group = _model(path, cell, named_by_file="figure" not in columns)
        cell["model"] = ""
    else:
        group = int(cell["batch_size"]) if cell.get("batch_size") else None
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
    return clean(f"{name} {kind}") or "unknown model"


def _machine(cell: Row) -> Machine:
    kind = "CPU" if cell["device"] == "cpu" else "GPU"
    cores = cell.get(f"{kind.lower()}_cores", "")
    name = cell.get("chip") or cell["machine"].replace("_", " ")
    facts = [name]
    if cores and cell["device"] != "cuda":  # of NVIDIA's, multiprocessors are counted, which nobody buys by
        facts.append(f"{cores} {kind} cores")
    if cell.get("memory_gb"):
        facts.append(f"{cell['memory_gb']} GB")
    # Without spaces, as our scripts write it: nobody is taken for a published machine ("published Apple M3").
    return Machine(cell["machine"].replace(" ", "_"), name, ", ".join(facts))
