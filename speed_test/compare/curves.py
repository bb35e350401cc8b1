"""The speed of each run over time, from its blocks, for the page."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from speed_test.compare.facts import FACTS, Told
from speed_test.compare.grades import rows_of
from speed_test.screen import number

if TYPE_CHECKING:
    import pandas as pd

MOST_POINTS = 60  # of a curve: neighbours are put together until there are so many
MOST_RUNS = 6  # of a cell; the last ones are shown
MINUTE = 60.0

Blocks = list[tuple[float, float]]  # of each, seconds and rate


def with_curves(records: list[dict], compared: "pd.DataFrame") -> list[dict]:
    """`records` (see speeds.records) for the page: each cell with `per_joule_text`, and with its `curves` if it is in a
    chart."""
    overall, cells = records[: len(records) - len(compared)], records[len(records) - len(compared) :]
    rows = compared[[*FACTS, "values", "told"]].to_dict("records")
    for record, row in zip(cells, rows, strict=True):
        record = {**record, "per_joule_text": number(record["per_joule"]) if record["per_joule"] else ""}
        overall.append({**record, "curves": curves(row, row["values"], row["told"]) if record["in_chart"] else []})
    return overall


def curves(facts: dict, values: Sequence[float], told: Sequence[Told]) -> list[dict]:
    """For each run of a cell its `points` ([seconds at the end of the block, rate]) and `words`: "first minute 118,
    sustained 103"."""
    runs: dict[str, Blocks] = {}
    for row in rows_of(facts, values, told):
        runs.setdefault(str(row.get("run_id", "")), []).extend(_blocks(row, facts["figure"]))
    shown = [blocks for blocks in runs.values() if len(blocks) > 1][-MOST_RUNS:]
    return [{"points": _points(_merged(blocks)), "words": words(blocks)} for blocks in shown]


def _blocks(row: dict[str, object], figure: str) -> Blocks:
    """The blocks of an epoch, which take about equally long. An answer is a block of its own."""
    rates = [float(rate) for rate in str(row.get("block_samples_per_second") or "").split()]
    seconds = float(str(row.get("measured_seconds") or 0))
    if rates and seconds:
        return [(seconds / len(rates), rate) for rate in rates]
    answer = float(str(row.get("total_time") or 0))
    return [(answer, float(str(row[figure])))] if answer else []


def _merged(blocks: Blocks) -> Blocks:
    while len(blocks) > MOST_POINTS:
        blocks = [_together(blocks[place : place + 2]) for place in range(0, len(blocks), 2)]
    return blocks


def _together(blocks: Blocks) -> tuple[float, float]:
    """Some blocks as one: their seconds, and the rate over all of them."""
    seconds = sum(seconds for seconds, _ in blocks)
    return seconds, sum(seconds * rate for seconds, rate in blocks) / seconds


def _points(blocks: Blocks) -> list[list[float]]:
    points, end = [], 0.0
    for seconds, rate in blocks:
        end += seconds
        points.append([round(end, 3), float(f"{rate:.4g}")])
    return points


def words(blocks: Blocks) -> str:
    """The speed at the start and in the last third: of a run of two minutes or more "first minute 118, sustained 103",
    of a shorter one "first third 118, last third 103"."""
    whole = sum(seconds for seconds, _ in blocks)
    is_long = whole >= 2 * MINUTE
    first = _between(blocks, 0, MINUTE if is_long else whole / 3)
    last = _between(blocks, whole * 2 / 3, whole)
    names = ("first minute", "sustained") if is_long else ("first third", "last third")
    return ", ".join(f"{name} {number(rate)}" for name, rate in zip(names, (first, last), strict=True))


def _between(blocks: Blocks, start: float, end: float) -> float:
    """The rate from `start` to `end`, in seconds. A block counts if its middle lies there, the nearest one always."""
    found, at = [], 0.0
    for seconds, rate in blocks:
        if start <= at + seconds / 2 <= end:
            found.append((seconds, rate))
        at += seconds
    return _together(found)[1] if found else _together(blocks[:1] if start == 0 else blocks[-1:])[1]
