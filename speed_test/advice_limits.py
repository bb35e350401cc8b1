"""What is said at the end of a run of the device's own ceilings, and of compiling."""

import statistics
from collections.abc import Iterable, Mapping, Sequence

from speed_test import screen
from speed_test.faults import Row, number
from speed_test.verdict import rate_of

Sizes = Mapping[float | None, Sequence[Row]]  # the rows that worked of each batch size


def near_the_limit(sizes: Sizes) -> list[str]:
    """How near the fastest batch size comes to the device's ceiling, if both were measured: matrix products of a
    training test, the memory's bandwidth of a test of answers."""
    rates = {size: rate for size, rows in sizes.items() if (rate := _median(map(rate_of, rows)))}
    if not rates:
        return []
    best = max(rates, key=lambda size: rates[size])
    rows = sizes[best]
    at = "" if best is None or len(sizes) == 1 else f"At batch size {best:.0f}, "
    for share, ceiling, unit, beginning, what in (
        ("matmul_share", "matmul_tflops", "TFLOPS", "", "what a large matrix product reaches"),
        ("memory_share", "memory_gb_per_second", "GB/s", "reads weights at ", "the memory's bandwidth"),
    ):
        part, most = (_median(number(row, column) for row in rows) for column in (share, ceiling))
        if part and most:
            said = f"{at}{beginning}{screen.number(part * most)} of {screen.number(most)} {unit}"
            return [f"{said[0].upper()}{said[1:]}: {part:.0%} of {what}."]
    return []


def compiling(sizes: Sizes) -> list[str]:
    """How long compiling took, which no figure contains."""
    seconds = [second for rows in sizes.values() for row in rows if (second := number(row, "compile_seconds"))]
    if not seconds or max(seconds) < 0.5:
        return []
    up_to = "up to " if len(sizes) > 1 else ""
    first = "the first epoch of a batch size" if len(sizes) > 1 else "the first epoch"
    return [f"Compiling took {up_to}{screen.duration(max(seconds))} before {first}, which no figure contains."]


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value]
    return statistics.median(known) if known else None
