"""--resume: what the CSV already has, so that a sweep that was ended can be finished by the same command."""

import csv
from collections.abc import Iterator
from pathlib import Path

from speed_test.results import cell_text

# These differ from run to run, or from row to row.
NOT_COMPARED = ("run_id",)


def done(
    path: Path, shared: dict[str, object], identity: tuple[str, ...], estimates: bool
) -> tuple[frozenset[tuple[str, ...]], int | None]:
    """The rows in `path`, and in the files beside it (`..._2.csv`), that need not be measured again.

    Such a row has the same cells as `shared` (machine, experiment, data, switches, versions, code). It is told from
    others by its cells in the columns `identity`. Estimates count only if this run makes `estimates` as well. Failed
    rows are measured again. Returns them, and the smallest batch size that ran out of memory.
    """
    wanted = {column: cell_text(value) for column, value in shared.items() if column not in NOT_COMPARED}
    found: set[tuple[str, ...]] = set()
    out_of_memory: int | None = None
    for row in _rows(path):
        if any(row.get(column) != text for column, text in wanted.items()):
            continue
        if row["status"] == "out_of_memory" and row.get("batch_size", "").isdecimal():
            out_of_memory = min(int(row["batch_size"]), out_of_memory or int(row["batch_size"]))
        if row["status"] == "skipped" or (
            row["status"] == "ok" and (estimates or row.get("estimated", "False") == "False")
        ):
            found.add(tuple(row.get(column, "") for column in identity))
    return frozenset(found), out_of_memory


def _rows(path: Path) -> Iterator[dict[str, str]]:
    """The complete rows of a CSV and of those beside it. A file that cannot be read has none."""
    for file in [path, *sorted(path.parent.glob(f"{path.stem}_[0-9]*.csv"))]:
        if not file.is_file():
            continue
        try:
            with open(file, encoding="utf-8", newline="") as lines:
                reader = csv.reader(lines)
                columns = next(reader, [])
                if "status" in columns:
                    yield from (dict(zip(columns, row, strict=True)) for row in reader if len(row) == len(columns))
        except (OSError, UnicodeDecodeError, csv.Error):
            continue
