"""What rows say of the machine's state, its limits and their blocks, beside their figure: which cells are possible.

Reading a CSV and --check follow these same rules. A number or a truth value that no script writes costs the row its
place, as a wrong figure does: nobody gets a better grade by it. A word that is not known is no fault for a grade, since
newer versions may know more of them; --check names it.
"""

import re
from collections.abc import Callable, Iterator
from operator import itemgetter

from speed_test.compare.cells import RUN, check_blocks, clean, number, number_from_0, quoted, whole
from speed_test.compare.facts import Row, Told
from speed_test.results import LEVELS

FROM_ZERO = (
    *("other_load_percent", "gpu_other_load_percent", "cpu_pressure_percent", "cpu_stolen_percent"),
    *("swap_growth_gb", "gpu_temperature_c", "gpu_clock_mhz", "gpu_power_limit_w", "energy_joules"),
    *("suspended_seconds", "compile_seconds", "gflop_per_sample", "tflops", "matmul_tflops", "matmul_share"),
    *("memory_gb_per_second", "memory_share"),
)
TEXTS = ("throttle_reasons", "busiest_other_process", "cpu_governor", "cpu_fallback")


def true_or_false(text: str) -> None:
    """Raises ValueError, whose text completes "the cell ..."."""
    if text not in ("True", "False"):
        raise ValueError(f"is {quoted(text)}, neither True nor False")


# Column -> what raises ValueError for a cell that is not empty; its text completes "the cell ...".
CHECKS: dict[str, Callable[[str], object]] = {
    "block_samples_per_second": check_blocks,
    "compute_samples_per_second_after": lambda text: number(text, "compute_samples_per_second_after"),
    "run": lambda text: whole(text, RUN),
    **dict.fromkeys(("low_power_mode", "emulated"), true_or_false),
    **{column: lambda text, column=column: number_from_0(text, column) for column in FROM_ZERO},  # type: ignore[misc]
}
# Columns that are kept as well, because grades and curves need them. A wrong number in them is taken as unknown.
PLAIN = (
    *("measured_seconds", "measured_samples", "samples_per_second", "compute_samples_per_second"),
    *("data_wait_seconds", "total_time", "cpu_cores", "gpu_cores", "other_sweeps"),
)
# What tells of the run: the summary of run_all.py chooses by the first, and shows the others.
OF_RUN = ("run_id", "started_at", "framework_version", "os")
STATE = (*CHECKS, *LEVELS, *TEXTS)
USUAL = re.compile(r"[0-9]{1,10}(\.[0-9]{1,15})?")
NOTHING = Told()


def wrong(cell: Row, columns: set[str]) -> Iterator[tuple[str, str]]:
    """The cells of a row that --check names, and what is wrong with each: "is 'x', neither True nor False"."""
    for column in CHECKS.keys() & columns:
        if cell[column]:
            try:
                CHECKS[column](cell[column])
            except ValueError as error:
                yield column, str(error)
    for column in LEVELS.keys() & columns:
        if cell[column] and cell[column] not in LEVELS[column]:
            yield column, f"is {quoted(cell[column])}, none of {', '.join(LEVELS[column])}"


def reader(columns: list[str]) -> Callable[[list[str]], Told]:
    """What makes a Told of a row with these columns.

    It raises ValueError for a row with a wrong cell, whose text says which cell that is and what is wrong.
    """
    state = tuple(column for column in columns if column in STATE)
    if not state:
        return lambda row: NOTHING
    kept = (*state, *(column for column in columns if column in (*PLAIN, *OF_RUN)), state[0])
    pick = itemgetter(*map(columns.index, kept))  # of one column it would be no tuple, so one is there twice
    checks = [(place, column, CHECKS[column]) for place, column in enumerate(state) if column in CHECKS]

    def told(row: list[str]) -> Told:
        cells = pick(row)
        if not any(cells[: len(state)]):
            return NOTHING
        for place, column, check in checks:
            if cells[place]:
                try:
                    check(cells[place])
                except ValueError as error:
                    raise ValueError(f"{column} {error}") from None
        return Told(kept, cells)

    return told


def as_row(told: Told) -> dict[str, object]:
    """The cells of a row that are known, as texts, for verdict.grade."""
    row: dict[str, object] = {}
    for column, text in zip(told.columns, told.cells, strict=True):
        if not text:
            continue
        if column in TEXTS or column in OF_RUN:
            text = clean(text)
        elif column in PLAIN and not USUAL.fullmatch(text):
            text = ""
        if text:
            row[column] = text
    return row
