"""Whether a CSV is fit to be contributed: it has to be as a script wrote it, and nothing of it may be left out."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from speed_test.compare.facts import Row
from speed_test.compare.older import positive
from speed_test.compare.ours import defaults, is_ours, problem
from speed_test.results import COLUMNS, FIXED, FIXED_OF_GENERATION, GENERATION_COLUMNS

SCHEMAS = (COLUMNS[:FIXED], GENERATION_COLUMNS[:FIXED_OF_GENERATION])
NEVER_EMPTY = ("machine", "framework_version", "os", "python_version", "started_at", "run_id")
ABOVE_ZERO = (
    *("batch_size", "epoch", "epoch_seconds", "samples_per_second", "measured_seconds", "measured_samples"),
    *("compute_samples_per_second", "total_time", "answer_token_len", "tokens_per_second", "prompt_tokens"),
    *("prompt_seconds", "generation_seconds", "generation_tokens_per_second"),
)


def problems(path: Path) -> Iterator[str]:
    """What is wrong with a CSV as an addition to results/, a sentence for each."""
    try:
        text = path.read_bytes()
        rows = list(csv.reader(io.StringIO(text.decode("utf-8"), newline="")))
    except OSError as error:
        yield f"cannot be read ({error.strerror})"
        return
    except (UnicodeDecodeError, csv.Error) as error:
        yield f"is no CSV ({error})"
        return
    columns = rows[0] if rows else []
    if not _has_a_schema(columns, rows[1:]):
        yield "does not have the columns of these scripts"
        return
    if len(rows) == 1:
        yield "has no rows"
    if not text.endswith(b"\n"):
        yield "ends in the middle of a row"
    place = columns.index("batch_size") if "batch_size" in columns else 0
    has_batch_sizes = any(row[place] for row in rows[1:] if len(row) == len(columns))
    units: set[tuple[str, ...]] = set()
    for number, row in enumerate(rows[1:], start=1):
        if len(row) != len(columns):
            yield f"row {number} has {len(row)} cells in place of {len(columns)}"
            continue
        cell = {**defaults(set(columns)), **dict(zip(columns, row, strict=True))}
        yield from (f"row {number}: {what}" for what in _wrong(cell, set(columns), path, has_batch_sizes))
        units.add((cell["experiment"], cell["figure"], cell["unit"], cell["better"]))
    for experiment in sorted({unit[0] for unit in units}):
        if sum(unit[0] == experiment for unit in units) > 1:
            yield f"has rows of {experiment} with different figure, unit or better"


def _has_a_schema(columns: list[str], rows: list[list[str]]) -> bool:
    """Whether these are the columns of one of our schemas, or of a test with columns of its own that say enough."""
    if any(tuple(columns[: len(fixed)]) == fixed for fixed in SCHEMAS):
        return True
    needed = {*NEVER_EMPTY, "data", "error", "experiment", "figure", "unit", "better"}
    if not (is_ours(set(columns)) and needed <= set(columns) and len(set(columns)) == len(columns)):
        return False
    place = columns.index("figure")
    return {row[place] for row in rows if len(row) == len(columns)} <= set(columns)


def _wrong(row: Row, columns: set[str], path: Path, has_batch_sizes: bool) -> Iterator[str]:
    if row["status"] not in ("ok", "out_of_memory", "failed", "skipped"):
        yield f"status is {row['status']!r}"
    if row["status"] != "ok" and not row["error"]:
        yield "did not work, and error does not say why"
    if row["data"] not in ("real", "synthetic"):
        yield f"data is {row['data']!r}"
    for column in NEVER_EMPTY:
        if not row[column]:
            yield f"{column} is empty"
    if not path.name.startswith(f"{row['machine']}_"):
        yield f"machine is {row['machine']}, and the file is another one's"
    if (row["data"] == "synthetic") != ("_synthetic_results" in path.name):
        yield f"data is {row['data']}, and the file's name says otherwise"
    if not row["measurement_version"].isdigit():
        yield f"measurement_version is {row['measurement_version']!r}, no whole number"
    figures = [column for column in ABOVE_ZERO if column in columns] if row["status"] == "ok" else []
    if not row.get("batch_size") and "batch_size" in figures and not has_batch_sizes:
        figures.remove("batch_size")
    wrong = [column for column in figures if not _is_positive(row[column])]
    for column in wrong:
        yield f"{column} is {row[column]!r}, no number above 0"
    what = problem(row, columns)
    if what and not any(what.startswith(f"{column} is ") for column in wrong):
        yield what
    elif not what and row["status"] == "ok" and row["figure"] not in wrong and not _is_positive(row[row["figure"]]):
        yield f"{row['figure']} is {row[row['figure']]!r}, no number above 0"


def _is_positive(text: str) -> bool:
    try:
        positive(text)
    except ValueError:
        return False
    return True
