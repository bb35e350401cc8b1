"""How near the figures of a cell come to what the device can do: the columns on its ceilings."""

import statistics
from collections.abc import Iterable

from speed_test.compare.facts import Told

COLUMNS = ("tflops", "matmul_share", "memory_gb_per_second", "memory_share")


def median(column: str, told: Iterable[Told]) -> float | None:
    """The median of a column over the rows of a cell; None where no row says it."""
    found = [float(cell) for one in told if column in one.columns if (cell := one.cells[one.columns.index(column)])]
    return statistics.median(found) if found else None
