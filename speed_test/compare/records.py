"""Records as --format=csv and json print them, for programs."""

import csv
import io
import json
from collections.abc import Sequence

from speed_test.compare.cells import no_formula
from speed_test.screen import say


def print_records(keys: Sequence[str], records: list[dict], form: str) -> None:
    """Print records that have these keys; `form` is "csv" or "json"."""
    if form == "json":
        say(json.dumps(records, indent=1))
        return
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(map(in_csv, keys))
    writer.writerows([in_csv(record[key]) for key in keys] for record in records)
    say(table.getvalue(), end="")


def in_csv(value: object) -> object:
    """A value as a cell of a CSV: a text on one line, and no formula."""
    return no_formula(value.replace("\n", " ")) if isinstance(value, str) else value
