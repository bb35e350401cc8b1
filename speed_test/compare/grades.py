"""How sure the figures of a cell are: the grade, the half-width, what spoiled them, and the curves of their runs."""

import statistics
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from speed_test import faults, verdict
from speed_test.compare.facts import Told
from speed_test.compare.told import as_row
from speed_test.faults import number

EARLIER = "measured before blocks were recorded"
# What is warned of where two machines are compared, by its kind (see faults.Fault). Heat has several kinds.
WARNINGS = {
    "battery": "on battery",
    "low power": "in low power mode",
    "swap": "swapping",
    "memory": "short of memory",
    "emulated": "emulated",
}
LEAST_JOULES = 0.01  # no meter tells less


class Trust(NamedTuple):
    """What is known of a cell beside its figures. `half_width` is relative, 0.012 is 1.2%; None is unknown.

    `per_joule` is samples, or tokens, per joule. `warnings` are short words: "on battery".
    """

    grade: str = ""
    grade_reason: str = ""
    half_width: float | None = None
    runs: int = 0
    per_joule: float | None = None
    warnings: tuple[str, ...] = ()


def trust(facts: dict, values: Sequence[float], told: Sequence[Told]) -> Trust:
    """What is known of the cell with these facts (see facts.FACTS), from its figures and what their rows tell.

    A figure that did not work is NaN. Published figures and those of the older scripts have no grade.
    """
    if facts["source"] != "measured":
        return Trust()
    if not any(one.cells for one in told):  # 100,000 such rows would take a second
        return Trust(grade_reason=EARLIER if facts["status"] == "ok" else "")
    rows = rows_of(facts, values, told)
    if not rows:
        return Trust()
    grade = verdict.grade(rows)
    reason = grade.reason if grade.letter else EARLIER
    return Trust(grade.letter, reason, grade.half_width, grade.runs, _per_joule(facts, rows), _warnings(rows))


def _warnings(rows: Sequence[faults.Row]) -> tuple[str, ...]:
    found = [WARNINGS[fault.kind] for fault in faults.faults(rows) if fault.kind in WARNINGS]
    return (*found, "hot") if any(map(faults.hot, rows)) else tuple(found)


def rows_of(facts: dict, values: Sequence[float], told: Sequence[Told]) -> list[dict[str, object]]:
    """The rows of a cell that worked, as verdict.grade reads them."""
    known = {"status": "ok", "batch_size": _batch_size(facts)}
    known |= {column: facts[column] for column in ("figure", "better", "estimated", "device", "virtual", "cpu_model")}
    return [
        {**as_row(one), **known, facts["figure"]: value}
        for value, one in zip(values, told, strict=True)
        if value == value  # not NaN
    ]


def _batch_size(facts: dict) -> int | None:
    size = facts["batch_size"]
    return int(size) if size == size and size is not None else None


def _per_joule(facts: dict, rows: Iterable[dict[str, object]]) -> float | None:
    """The median of samples per joule, or of tokens in a test of answers; None where no row has energy and amount."""
    tokens = number(facts, "answer_token_len")
    found = []
    for row in rows:
        amount, joules = number(row, "measured_samples") or tokens, number(row, "energy_joules")
        if amount and amount > 0 and joules and joules >= LEAST_JOULES:
            found.append(amount / joules)
    return statistics.median(found) if found else None
