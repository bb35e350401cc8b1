"""The rows of the suite among all those of a results folder, and what they say of machine and software."""

import contextlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from speed_test.compare import known
from speed_test.compare.cells import clean
from speed_test.compare.facts import FACTS, MACHINE, Machine, Measurement, Told
from speed_test.compare.read import Unreadable, find, published, read
from speed_test.compare.told import OF_RUN

if TYPE_CHECKING:
    import pandas as pd

DAY = re.compile(r"[0-9]{4}-[01][0-9]-[0-3][0-9](?=T)")


def measurements(results_dir: Path) -> list[Measurement]:
    """The published measurements and those in a results folder. What cannot be read is left out:
    compare_results.py names it."""
    found = list(published())
    with contextlib.suppress(OSError):  # there is no such folder yet
        for path in find([results_dir]):
            with contextlib.suppress(Unreadable):
                found += read(path)[0]
    return found


def of_run(told: Told) -> dict[str, str]:
    """What a row tells of its run (see told.OF_RUN)."""
    cells = dict(zip(told.columns, told.cells, strict=True))
    return {column: clean(cells.get(column, "")) for column in OF_RUN}


def run_id(told: Told) -> str:
    return told.cells[told.columns.index("run_id")] if "run_id" in told.columns else ""


def own_and_others(found: Iterable[Measurement], run_ids: set[str]) -> tuple[list[Measurement], list[Measurement]]:
    """The measurements of these runs, all as one machine's, and those of all other machines.

    A framework that does not use the GPU calls the machine by its CPU. The machine is the one of the most tests, and
    of two with equally many the one with a GPU.
    """
    own: list[Measurement] = []
    others: list[Measurement] = []
    for one in found:
        (own if run_id(one.told) in run_ids else others).append(one)
    if not own:
        return [], others
    start, experiment, device = map(FACTS.index, (MACHINE[0], "experiment", "device"))
    end = start + len(MACHINE)
    tests: dict[Machine, set[str]] = {}
    for one in own:
        tests.setdefault(Machine(*one.facts[start:end]), set()).add(one.facts[experiment])
    on_gpu = {Machine(*one.facts[start:end]) for one in own if one.facts[device] != "cpu"}
    main = max(tests, key=lambda machine: (len(tests[machine]), machine in on_gpu))
    own = [one._replace(facts=(*one.facts[:start], *main, *one.facts[end:])) for one in own]
    names = {machine.machine for machine in tests}
    return own, [one for one in others if one.facts[start] not in names]


def newest(cells: "pd.DataFrame") -> dict[str, str]:
    """What the newest row tells of its run; of the time only the day (UTC)."""
    told = [of_run(one) for some in cells["told"] for one in some]
    last = max(told, key=lambda one: one["started_at"])
    day = DAY.match(last["started_at"])
    return {**last, "started_at": day[0] if day else ""}


def versions(cells: "pd.DataFrame") -> tuple[str, ...]:
    """ "PyTorch 2.14.1", "llama.cpp 0.3.2": of each framework the one of its newest row."""
    found = []
    for name, some in cells.groupby("framework", sort=False):
        version = newest(some)["framework_version"]
        found.append(f"{known.FRAMEWORKS.get(str(name), name)} {version}".rstrip())
    return tuple(found)
