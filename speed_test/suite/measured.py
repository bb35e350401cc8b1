"""What a speed test of the suite has measured: its rows in the CSVs, and the line that tells of them."""

import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from speed_test import advice, screen
from speed_test.faults import number, truth
from speed_test.resume import complete_rows
from speed_test.suite.found import SpeedTest

Row = Mapping[str, str]


def rows_of(results_dir: Path, test: SpeedTest, run_ids: Collection[str]) -> list[Row]:
    """The rows of these runs of `test`."""
    return [
        row
        for path in sorted((results_dir / test.experiment.results).glob("*.csv"))
        for row in complete_rows(path)
        if row.get("run_id") in run_ids
    ]


def ok(rows: Iterable[Row]) -> list[Row]:
    """Those that have measured something."""
    return [row for row in rows if row.get("status") == "ok"]


def ids(rows: Iterable[Row]) -> tuple[str, ...]:
    """The runs that these rows are of, in their order."""
    return tuple(dict.fromkeys(row["run_id"] for row in rows if row.get("run_id")))


def failure(rows: Sequence[Row]) -> str:
    """Why nothing was measured, as the last row says that did not work; "" if none says it. A row that was skipped,
    for want of time or because a smaller batch size failed, tells only where no other does."""
    told = [row for row in rows if row.get("status") != "ok" and row.get("error")]
    worst = [row for row in told if row["status"] != "skipped"] or told
    if not worst:
        return ""
    ran_out = "out of memory: " if worst[-1]["status"] == "out_of_memory" else ""
    return screen.one_line(ran_out + worst[-1]["error"].removeprefix(ran_out), 200)


def line(test: SpeedTest, rows: Sequence[Row]) -> str:
    """The best batch size with its figure, half-width and grade: "264 seconds per epoch ±4.0% at batch size 512,
    grade C". The rows have measured something."""
    experiment = test.experiment
    sizes: dict[str, list[Row]] = {}
    for row in ok(rows):
        if number(row, experiment.figure) is not None:
            sizes.setdefault(row.get("batch_size", ""), []).append(row)
    if not sizes:
        return "measured"
    figures = {
        size: statistics.median(number(row, experiment.figure) or 0 for row in some) for size, some in sizes.items()
    }
    best = (min if experiment.better == "lower" else max)(figures, key=figures.__getitem__)
    half_width, letter, _ = advice.shown(sizes[best])
    about = "about " if any(truth(row, "estimated") for row in sizes[best]) else ""
    said = f"{about}{screen.number(figures[best])} {experiment.unit.split(' (')[0]}"
    said += f" {half_width}" if half_width else ""
    said += f" at batch size {best}" if best else ""
    return said + (f", grade {letter}" if letter else "")
