"""What stands below the tables: the reasons of grades, what can't be told yet, and what spoiled a comparison."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from speed_test.screen import count

if TYPE_CHECKING:
    import pandas as pd

MOST_LINES = 12  # of a kind, below a table


def reasons(test: "pd.DataFrame") -> list[tuple[str, str]]:
    """For each line of a test the grades of its figures, and why: ("C", "Apple M3, 32, 64: on battery")."""
    told = test[(test["grade"] != "") & (test["grade_reason"] != "")]
    found = []
    for _, cells in told.groupby(["series", "grade", "grade_reason"], sort=False):
        first = cells.iloc[0]
        found.append((str(first["grade"]), f"{_where(cells)}: {first['grade_reason']}"))
    return _cut(found, ("", f"and {len(found) - MOST_LINES:,} more; --format=json has them all"))


def untold(test: "pd.DataFrame") -> list[str]:
    """For each line of a test where it can't be told yet which one is faster, and how many more runs might tell."""
    open_cells = test[(test["compared"] == "can't be told") & test["speed_half_width"].notna()]
    found = []
    for _, cells in open_cells.groupby(["series", "more_runs"], sort=False, dropna=False):
        more = cells["more_runs"].iloc[0]
        runs = f"{count(int(more), 'more run')} of both might tell" if more > 0 else "not even 100 more runs would"
        found.append(f"{_where(cells)}: {runs}")
    return _cut(found, f"and {len(found) - MOST_LINES:,} more")


def warnings(compared: "pd.DataFrame") -> list[str]:
    """For each machine what may have slowed it down, and so makes a comparison with it worth less."""
    found = []
    for _, cells in compared.groupby("machine", sort=False):
        said = dict.fromkeys(warning for some in cells["warnings"] for warning in some)
        for warning in said:
            tests = cells.loc[[warning in some for some in cells["warnings"]], "title"].unique()
            where = tests[0] if len(tests) == 1 else f"{len(tests)} tests"
            found.append(f"{cells['machine_label'].iloc[0]} was {warning} ({where})")
    return _cut(found, f"and {len(found) - MOST_LINES:,} more such")


def _where(cells: "pd.DataFrame") -> str:
    line = cells["line"].iloc[0]
    groups = [group for group in cells["group"] if group != "all"]
    shown = groups if len(groups) <= 8 else [*groups[:3], "...", groups[-1]]
    return f"{line} at {', '.join(shown)}" if shown else line


def _cut(lines: Iterable, more: object) -> list:
    lines = list(lines)
    return lines if len(lines) <= MOST_LINES else [*lines[:MOST_LINES], more]
