"""CSVs into one DataFrame, a row for each measurement: our own rows, the published ones, those of the older scripts.

CSVs are read row by row, because pandas would fill a torn or short line with empty cells and say nothing.
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from speed_test.compare import older, ours
from speed_test.compare.facts import DEFAULTS, FACTS, KIND, TEST, Machine, Measurement, facts_of
from speed_test.compare.files import Unreadable, content, find
from speed_test.compare.known import LLAMA_2_7B, columns_of
from speed_test.results import USUAL

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Unreadable", "find", "frame", "published", "read"]

PUBLISHED = Path(__file__).resolve().parents[2] / "published" / "december_2023.csv"


def read(path: Path) -> tuple[list[Measurement], list[str]]:
    """The measurements of a CSV, and what of it is left out, a sentence for each.

    Raises Unreadable for a file without measurements.
    """
    columns, rows, notes = _lines(path)
    if ours.is_ours(set(columns)):
        if lacking := ours.missing(set(columns)):
            raise Unreadable(lacks(lacking))
        measurements = list(ours.measurements(path, columns, rows, notes))
    else:
        try:
            measurements = list(older.measurements(path, columns, rows, notes))
        except ValueError as error:
            raise Unreadable(str(error)) from None
    if not measurements and not notes:
        raise Unreadable("has no rows")
    return measurements, sorted(notes, key=lambda note: int(note.removeprefix("line ").split()[0].rstrip(":")))


def lacks(columns: list[str]) -> str:
    """What is said of a file without these columns. It completes "it ..."."""
    return f"lacks the column{'s' if len(columns) > 1 else ''} {', '.join(columns)}"


def _lines(path: Path) -> tuple[list[str], ours.Lines, list[str]]:
    """The header of a CSV, its other lines as far as they are as wide, and what is left out."""
    text, columns, body = content(path)
    notes = []
    # Our scripts end every row with a newline, so a last row without one may have lost the end of its last cell.
    if not text.endswith(("\n", "\r")) and "code_version" in columns and body and len(body[-1][1]) == len(columns):
        notes.append(f"line {body.pop()[0]} is cut short")
    whole = []
    for number, row in body:
        if len(row) == len(columns):
            whole.append((number, row))
        else:
            what = "is cut short" if len(row) < len(columns) else "has too many cells"
            notes.append(f"line {number} {what}")
    return columns, whole, notes


def published() -> Iterator[Measurement]:
    """The measurements of published/december_2023.csv; published/README.md says where they are from."""
    with open(PUBLISHED, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            name = row["machine"]
            facts = [name]
            if row["gpu_cores"]:
                facts.append(f"{row['gpu_cores']} GPU cores")
            if not name.endswith("GB"):
                facts.append(f"{row['memory_gb']} GB")
            machine = Machine(f"published {name}", name, ", ".join(facts))
            cell = {**DEFAULTS, **columns_of(row["experiment"]), "source": "published", "measurement_version": ""}
            for column, text in row.items():
                group = LLAMA_2_7B if column == "tokens_per_second" else int(column) if column.isdigit() else None
                if group is not None and text:
                    value = None if text == "failed" else float(text)
                    yield Measurement(facts_of(cell, machine, group, "ok" if value else "failed"), value)


def frame(measurements: list[Measurement]) -> "pd.DataFrame":
    """The DataFrame of all measurements, a row for each."""
    import pandas as pd

    # Thousands of rows have the same facts, so these are worked on once.
    places = {facts: place for place, facts in enumerate(dict.fromkeys(one.facts for one in measurements))}
    kinds = pd.DataFrame(list(places), columns=list(FACTS), dtype=object)
    kinds["batch_size"] = kinds["batch_size"].astype(float)
    _say_the_usual(kinds, kinds["status"] == "ok")
    _complete_failures(kinds)
    # What nothing tells of a failure is taken to be as usual.
    _say_the_usual(kinds, kinds["status"] != "ok")
    kinds["kind"] = kinds.groupby([*TEST, "machine", *KIND], sort=False).ngroup()
    rows = kinds.take([places[one.facts] for one in measurements]).reset_index(drop=True)
    rows["value"] = pd.Series([one.value for one in measurements], dtype=float)
    rows["told"] = pd.Series([one.told for one in measurements], dtype=object)
    return rows


def _say_the_usual(kinds: "pd.DataFrame", which: "pd.Series") -> None:
    """Fill the empty cells of those rows that mean the same as the usual value (see results.USUAL)."""
    for column, usual in {**USUAL, "estimated": "False"}.items():
        kinds.loc[which & (kinds[column] == ""), column] = usual


def _complete_failures(kinds: "pd.DataFrame") -> None:
    """Put failed rows where the rows are that worked at other batch sizes.

    A process that failed at the start does not know whether its epochs would have been estimated, for example. So
    its empty cells are taken from the first row of the same machine and test that worked and agrees in the others.
    """
    failed = kinds["status"] != "ok"
    known = [*TEST, "machine", *KIND]
    worked = kinds.loc[~failed, known].drop_duplicates()
    for cells, some in kinds[failed].groupby(known, sort=False):
        kind = dict(zip(known, cells, strict=True))
        empty = [column for column in KIND if kind[column] == ""]
        alike = worked
        for column in known:
            if column not in empty:
                alike = alike[alike[column] == kind[column]]
        if empty and len(alike):
            kinds.loc[some.index, empty] = alike[empty].iloc[0].to_numpy()
