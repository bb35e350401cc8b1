"""--resume: what the CSV already has, so that a sweep that was ended can be finished by the same command."""

import csv
import itertools
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from speed_test.results import LARGEST, MOST_ROWS, cell_text
from speed_test.verdict import series


class Found(NamedTuple):
    """What the CSV already has. `rows` maps the number of a run to its rows that need not be measured again: the cells
    of the columns by which they are told from others. `rates` maps a run and a batch size, as text, to the rates of
    the blocks of each of these rows. `out_of_memory` is the smallest batch size that ran out of memory.
    """

    rows: dict[int, frozenset[tuple[str, ...]]]
    rates: dict[tuple[int, str], list[list[float]]]
    out_of_memory: int | None


NOTHING = Found({}, {}, None)


def done(
    path: Path,
    shared: dict[str, object],
    identity: tuple[str, ...],
    estimates: bool,
    run_ids: Collection[str] = (),
) -> Found:
    """The rows in `path`, and in the files beside it (`..._2.csv`), that need not be measured again.

    Such a row has the same cells as `shared` (machine, experiment, data, switches, versions, code), and is of
    one of the runs `run_ids` (none: of any). It is told from others of its run by its cells in the columns `identity`.
    Estimates count only if this run makes `estimates` as well. Failed rows are measured again, and so is what was
    skipped for want of time.
    """
    wanted = {column: cell_text(value) for column, value in shared.items()}
    found: dict[int, set[tuple[str, ...]]] = {}
    rates: dict[tuple[int, str], list[list[float]]] = {}
    out_of_memory: int | None = None
    skipped: list[tuple[int, tuple[str, ...]]] = []
    for row in rows_of(path):
        if any(row.get(column) != text for column, text in wanted.items()):
            continue
        if run_ids and row.get("run_id") not in run_ids:
            continue
        key = tuple(row.get(column, "") for column in identity)
        size, run = _whole(row.get("batch_size", "")), _whole(row.get("run", "")) or 1
        if row.get("batch_size") and size is None:
            continue
        if row["status"] == "out_of_memory" and size is not None:
            out_of_memory = min(size, out_of_memory or size)
        if row["status"] == "skipped" and size is not None:
            skipped.append((run, key))
        if row["status"] == "ok" and (estimates or row.get("estimated", "False") == "False"):
            found.setdefault(run, set()).add(key)
            rates.setdefault((run, row.get("batch_size", "")), []).extend(series([row]))
    for run, key in skipped:
        if out_of_memory and int(key[0]) > out_of_memory:  # others were skipped for want of time
            found.setdefault(run, set()).add(key)
    return Found({run: frozenset(rows) for run, rows in found.items()}, rates, out_of_memory)


def rows_of(path: Path) -> Iterator[dict[str, str]]:
    """The complete rows of a CSV and of those beside it. A file that cannot be read has none."""
    for file in [path, *sorted(path.parent.glob(f"{path.stem}_[0-9]*.csv"))]:
        yield from complete_rows(file)


def _whole(text: str) -> int | None:
    """A cell as a whole number; None if it is none, or longer than any that is written."""
    return int(text) if text.isdecimal() and len(text) < 10 else None


def complete_rows(file: Path) -> Iterator[dict[str, str]]:
    """The complete rows of one CSV. One that cannot be read has none, nor has a pipe, which would keep us waiting, or
    one that is far larger than any of ours."""
    try:
        if not file.is_file() or file.stat().st_size > LARGEST:
            return
        with open(file, encoding="utf-8", newline="") as lines:
            reader = csv.reader(lines)
            columns = next(reader, [])
            if "status" in columns:
                rows = itertools.islice(reader, MOST_ROWS)
                yield from (dict(zip(columns, row, strict=True)) for row in rows if len(row) == len(columns))
    except (OSError, UnicodeDecodeError, csv.Error):
        return
