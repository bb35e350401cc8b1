"""Whether a CSV is fit to be contributed: it has to be as a script wrote it, and nothing of it may be left out.

At least as strict as the reader: what that leaves out, cuts or cleans is named here.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from speed_test.compare import told
from speed_test.compare.cells import LONGEST, PLAIN, VERSION, clean, is_formula, number, number_from_0, quoted
from speed_test.compare.facts import Row
from speed_test.compare.files import Unreadable, content
from speed_test.compare.ours import MOST, cleaned, defaults, is_ours, missing, problem, too_many
from speed_test.results import COLUMNS, FIXED, FIXED_OF_GENERATION, GENERATION_COLUMNS, MEASUREMENT_VERSION

SCHEMAS = (COLUMNS[:FIXED], GENERATION_COLUMNS[:FIXED_OF_GENERATION])
NEVER_EMPTY = ("machine", "framework_version", "os", "python_version", "started_at", "run_id")
ABOVE_ZERO = (
    *("batch_size", "epoch", "epoch_seconds", "samples_per_second", "measured_seconds", "measured_samples"),
    *("compute_samples_per_second", "total_time", "answer_token_len", "tokens_per_second", "prompt_tokens"),
    *("prompt_seconds", "generation_seconds", "generation_tokens_per_second"),
)
# Where there is something in these, it is a number, and 0 is one.
FROM_ZERO = (
    *("data_wait_seconds", "warmup_seconds", "peak_memory_gb", "cpu_cores", "gpu_cores", "memory_gb"),
    *("model_size_gb", "parameters", "chars_per_second", "prompt_tokens_per_second", "time_to_first_token"),
)
# What a model writes may hold anything; nothing shows it. A cell of blocks is long.
FREE = ("question", "answer", "block_samples_per_second")
LONGEST_ERROR = 1000

Wrong = tuple[str, str]  # a column, and what is wrong with its cell: "is 'x', no number above 0"


def problems(path: Path) -> Iterator[str]:
    """What is wrong with a CSV as an addition to results/, a sentence for each."""
    try:
        text, columns, lines = content(path)
    except Unreadable as error:
        yield str(error)
        return
    rows = [row for _, row in lines]
    if not _has_a_schema(columns, rows):
        lacking = missing(set(columns)) if is_ours(set(columns)) else []
        yield "does not have the columns of these scripts" + (f": {', '.join(lacking)}" if lacking else "")
        return
    if text.startswith("\ufeff"):
        yield "begins with a byte order mark (BOM), which is no part of a CSV"
    if re.match(r"[^\r\n]*\r(?!\n)", text):
        yield "ends its lines with a carriage return (CR) in place of a newline (LF)"
    elif not text.endswith("\n"):
        yield "ends in the middle of a row"
    if not rows:
        yield "has no rows"
    yield from _problems_of_rows(path, columns, rows)


def _problems_of_rows(path: Path, columns: list[str], rows: list[list[str]]) -> Iterator[str]:
    place = columns.index("batch_size") if "batch_size" in columns else 0
    has_batch_sizes = any(row[place] for row in rows if len(row) == len(columns))
    units: set[tuple[str, ...]] = set()
    seen: dict[str, set] = {things: set() for things in MOST}
    for position, row in enumerate(rows, start=1):
        if len(row) != len(columns):
            yield f"row {position} has {len(row):,} cells in place of {len(columns)}"
            continue
        cell = {**defaults(set(columns)), **dict(zip(columns, row, strict=True))}
        named: set[str] = set()  # one sentence for a cell is enough
        for column, what in _wrong(cell, set(columns), path, has_batch_sizes):
            if column not in named:
                yield f"row {position}: {clean(column)} {what}" if column else f"row {position}: {what}"
                named.add(column)
        if excess := too_many(cell, set(columns), seen):
            yield f"row {position}: {excess}"
            return
        units.add((cell["experiment"], cell["figure"], cell["unit"], cell["better"]))
    for experiment in sorted({unit[0] for unit in units}):
        if sum(unit[0] == experiment for unit in units) > 1:
            yield f"has rows of {quoted(experiment)[1:-1]} with different figure, unit or better"


def _has_a_schema(columns: list[str], rows: list[list[str]]) -> bool:
    """Whether these are the columns of one of our schemas, or of a test with columns of its own that say enough."""
    if any(tuple(columns[: len(fixed)]) == fixed for fixed in SCHEMAS):
        return True
    needed = {*NEVER_EMPTY, "data", "error", "experiment", "figure", "unit", "better"}
    if not is_ours(set(columns)) or missing(set(columns)) or not needed <= set(columns):
        return False
    place = columns.index("figure")
    return {row[place] for row in rows if len(row) == len(columns)} <= set(columns)


def _wrong(row: Row, columns: set[str], path: Path, has_batch_sizes: bool) -> Iterator[Wrong]:
    if row["status"] not in ("ok", "out_of_memory", "failed", "skipped"):
        yield "status", f"is {quoted(row['status'])}"
    if row["status"] != "ok" and not row["error"]:
        yield "", "did not work, and error does not say why"
    if row["data"] not in ("real", "synthetic"):
        yield "data", f"is {quoted(row['data'])}"
    for column in NEVER_EMPTY:
        if not row[column]:
            yield column, "is empty"
    if not path.name.startswith(f"{row['machine']}_"):
        yield "machine", f"is {quoted(row['machine'])[1:-1]}, and the file is another one's"
    if (row["data"] == "synthetic") != ("_synthetic_results" in path.name):
        yield "data", f"is {quoted(row['data'])[1:-1]}, and the file's name says otherwise"
    yield from _wrong_numbers(row, columns, has_batch_sizes)
    yield from told.wrong(row, columns)
    yield from _wrong_texts(row, columns)
    if what := problem(cleaned(row), columns):
        column, _, rest = what.partition(" ")
        yield column, rest


def _wrong_texts(row: Row, columns: set[str]) -> Iterator[Wrong]:
    for column in columns.difference(FREE):
        text = row[column]
        if not text.isprintable():
            yield column, "has control characters"
        if len(text) > (LONGEST if column != "error" else LONGEST_ERROR):
            yield column, f"is longer than {LONGEST if column != 'error' else LONGEST_ERROR:,} characters"
        if column not in ("error", *ABOVE_ZERO) and is_formula(text):
            yield column, f"is {quoted(text)}, which a spreadsheet takes for a formula"


def _wrong_numbers(row: Row, columns: set[str], has_batch_sizes: bool) -> Iterator[Wrong]:
    version = row["measurement_version"]
    if not re.fullmatch("[0-9]+", version):
        yield "measurement_version", f"is {quoted(version)}, no whole number"
    elif not VERSION.lowest <= int(version[:9]) <= MEASUREMENT_VERSION:
        yield "measurement_version", f"is {quoted(version)}; the newest is {MEASUREMENT_VERSION}"
    if row["status"] == "ok":
        figures = [column for column in (*ABOVE_ZERO, row["figure"]) if column in columns]
        if not row.get("batch_size") and "batch_size" in figures and not has_batch_sizes:
            figures.remove("batch_size")
        for column in figures:
            yield from _refused(number, column, row)
    for column in FROM_ZERO:
        if row.get(column):
            yield from _refused(number_from_0, column, row)
    if row.get("train_loss") and not PLAIN.fullmatch(row["train_loss"].removeprefix("-")):
        yield "train_loss", f"is {quoted(row['train_loss'])}, no number"


def _refused(convert: Callable[[str, str], float], column: str, row: Row) -> Iterator[Wrong]:
    try:
        convert(row[column], column)
    except ValueError as error:
        yield column, str(error)
