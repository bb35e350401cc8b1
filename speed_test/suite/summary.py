"""What run_all.py says at its end: how fast this machine is in each test and over all of them, against a baseline.

The figures are those of the rows that the suite has just measured. They go through the same pipeline as those of
compare_results.py, beside the published machines and all others that have rows in the results folder.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speed_test import advice, screen
from speed_test.command_line import BadInput
from speed_test.compare import grades, known
from speed_test.compare.cells import clean
from speed_test.compare.facts import FACTS, Measurement
from speed_test.compare.read import frame
from speed_test.machine import file_safe, names_of_this_machine
from speed_test.suite import rows, sentences, shown
from speed_test.suite.outcome import Outcome

if TYPE_CHECKING:
    import pandas as pd

# Published, so everybody has its figures; with figures in all seven tests; and a chip that many people know from
# their own desk. The tables of README.md use it too. The name is its key, so that no other M1 Pro is meant.
BASELINE = "published Apple M1 Pro"
ON_DEVICE = {"cpu": "on the CPU", "mps": "on the Apple GPU", "cuda": "on the NVIDIA GPU"}


@dataclass(frozen=True)
class Line:
    """One test of the suite. `reason` says why it has no figure, or why it was ended early.

    `figure` is the median at the best `group` (a batch size; for language models the model), and `text` how it is
    shown. `half_width` is relative. `speed` is how many times as fast as the baseline it is, with its own relative
    half-width. What is unknown is None, or "".
    """

    title: str
    status: str
    reason: str = ""
    group: str = ""
    figure: float | None = None
    text: str = ""
    half_width: float | None = None
    grade: str = ""
    unit: str = ""
    better: str = ""
    speed: float | None = None
    speed_half_width: float | None = None
    speed_text: str = ""
    marks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Summary:
    """`machine` is safe as a part of a file name. `name` is its chip, and `facts` its cores, memory and system.

    `date` is the day (UTC) of the last row, `versions` are those of the frameworks. `overall` is the geometric mean of
    the speeds against `baseline` over the `tests` that both have, None if there is none. `verdict` has the sentences
    that the rows back.
    """

    machine: str
    name: str
    facts: str
    date: str
    versions: tuple[str, ...]
    tests: tuple[Line, ...]
    baseline: str
    overall: float | None
    overall_tests: int
    verdict: tuple[str, ...]

    def lines(self, width: int | None = None) -> list[str]:
        """What is printed, at most `width` columns wide (None: as wide as the terminal, at most 80)."""
        return shown.lines(self, width)

    def markdown(self, options: str = "") -> str:
        """The same to paste into an issue or a forum. It was measured with these `options`."""
        return shown.markdown(self, options)


def check_baseline(results_dir: Path, baseline: str | None) -> None:
    """Raise BadInput if no machine is called `baseline`. None, the usual baseline, is always there."""
    if baseline is not None:
        _check_baseline(_cells(rows.measurements(results_dir)), baseline)


def _check_baseline(cells: "pd.DataFrame", baseline: str) -> None:
    from speed_test.compare.speeds import machines_called

    if not machines_called(cells, baseline):
        names = "; ".join(sorted(cells["machine_label"].unique()))
        raise BadInput(f"--baseline: there is no machine {baseline!r}; there are {names}")


def _cells(measurements: list[Measurement]) -> "pd.DataFrame":
    from speed_test.compare import table  # imports pandas

    return table.cells(frame(measurements))


def summarise(results_dir: Path, outcomes: Sequence[Outcome], baseline: str | None) -> Summary:
    """The summary of the tests that ended so, against the machine called `baseline` (None: the usual one).

    Where that one is no other machine, the usual one stands for it, with a warning.
    """
    owners = {run_id: place for place, one in enumerate(outcomes) for run_id in one.run_ids}
    own, others = rows.own_and_others(rows.measurements(results_dir), set(owners))
    if not any(one.value is not None for one in own):
        return _without_figures(own, outcomes)
    cells = _cells(own + others)
    key = own[0].facts[FACTS.index("machine")]
    is_own = cells["computer"] == key
    cells.loc[is_own, "machine"] = key  # also if it moved to another host in between
    cells["owner"] = -1
    cells.loc[is_own, "owner"] = [
        next(owners[run_id] for one in told if (run_id := rows.run_id(one)) in owners)
        for told in cells.loc[is_own, "told"]
    ]
    if baseline is not None:
        try:
            _check_baseline(cells, baseline)
        except BadInput as error:  # it turned out to be this machine under another name
            screen.warn(f"{error}; compared with the {BASELINE} instead")
            baseline = None
    return _summary(cells, is_own, outcomes, baseline or BASELINE)


def _summary(cells: "pd.DataFrame", is_own: "pd.Series", outcomes: Sequence[Outcome], baseline: str) -> Summary:
    from speed_test.compare import speeds
    from speed_test.compare.table import label

    mine = cells[is_own]
    best = _best(mine, cells)
    cells.loc[best, "is_best"] = True
    # Of each test only the best figure, so that no other one of this machine stands for it.
    cells = cells[~is_own | cells.index.isin(best)]
    compared = speeds.compare(cells, baseline, [])
    key, called = mine["machine"].iloc[0], speeds.machines_called(cells, baseline)
    base = compared["overall_baseline"].iloc[0]
    tests = _lines(compared.loc[best], mine, outcomes)
    overall = speeds.overall(compared).set_index("machine")[["mean", "tests"]].to_dict("index").get(key)
    if base not in called or base == key:  # nothing that can be compared, or only with itself
        tests = tuple(replace(line, speed=None, speed_text="") for line in tests)
        base, overall = called[0], None
    base_cell = compared[compared["machine"] == base].iloc[0]
    works = {line.title: _work(some, best) for line, some in _with_rows(tests, mine)}
    sure = sum(line.grade in sentences.SURE for line in tests)
    verdict = (
        sentences.best_and_worst(tests, base_cell["machine_name"]),
        sentences.held_back(works),
        sentences.neighbours(_published(cells, key), sure),
    )
    chip, chip_and_cores = mine[["machine_name", "machine_label"]].iloc[0]
    newest = rows.newest(mine)
    return Summary(
        machine=file_safe(key),
        name=chip,
        facts=", ".join(filter(None, [chip_and_cores.removeprefix(chip).removeprefix(", "), newest["os"]])),
        date=newest["started_at"],
        versions=rows.versions(mine),
        tests=tests,
        baseline=label(base_cell["machine_name"], base_cell["published"], base_cell["marks"]),
        overall=float(overall["mean"]) if overall and overall["tests"] else None,
        overall_tests=int(overall["tests"]) if overall else 0,
        verdict=tuple(filter(None, verdict)),
    )


def _published(cells: "pd.DataFrame", key: str) -> list[sentences.Near]:
    """How many times as fast as the machine `key` each published machine is, over the tests that both have."""
    from speed_test.compare import speeds

    compared = speeds.compare(cells, None, [key])
    if compared["overall_baseline"].iloc[0] != key:  # it has no figure that another machine has too
        return []
    found = speeds.overall(compared)
    found = found[found["published"] & (found["tests"] > 0)]
    return [sentences.Near(*row) for row in found[["machine_name", "mean", "tests"]].itertuples(index=False, name=None)]


def _without_figures(own: list[Measurement], outcomes: Sequence[Outcome]) -> Summary:
    """The summary of a suite in which nothing worked."""
    if own:
        facts = dict(zip(FACTS, own[0].facts, strict=True))
        key, name = facts["machine"], facts["machine_name"]
    else:
        key = names_of_this_machine()[0]
        name = key.replace("_", " ")
    tests = tuple(_without_figure(one) for one in outcomes)
    return Summary(file_safe(key), name, "", "", (), tests, "", None, 0, ())


def _without_figure(outcome: Outcome) -> Line:
    name = known.KNOWN[outcome.name].title if outcome.name in known.KNOWN else clean(outcome.name)
    reason = clean(outcome.reason) or ("it has no figure" if outcome.status == "measured" else "")
    return Line(name, outcome.status, reason)


def _best(mine: "pd.DataFrame", cells: "pd.DataFrame") -> list[int]:
    """The best cell of each test with figures, by index: usual figures before others, real data before synthetic
    ones. Whole epochs do not go before estimated ones: the best batch size may be one that was estimated."""
    done = mine[mine["count"] > 0].copy()
    machines = cells.groupby(["test", "group"])["machine"].nunique()
    shared = [machines[pair] for pair in zip(done["test"], done["group"], strict=True)]
    done["alone"] = [-n if across == "model" else 0 for n, across in zip(shared, done["across"], strict=True)]
    done["unusual"], done["made"] = ~done["is_usual"], done["data"] == "synthetic"
    return list(done.sort_values(["owner", "unusual", "made", "alone", "cost"]).drop_duplicates("owner").index)


def _with_rows(tests: Sequence[Line], mine: "pd.DataFrame") -> Iterator[tuple[Line, "pd.DataFrame"]]:
    """Each test that has rows, also if none of them worked, with its cells."""
    for place in sorted(mine["owner"].unique()):
        yield tests[place], mine[mine["owner"] == place]


def _work(test: "pd.DataFrame", best: list[int]) -> sentences.Work:
    """What the rows of one test tell."""
    cells = test[[*FACTS, "values", "told"]].to_dict("records")
    worked = [row for cell in cells for row in grades.rows_of(cell, cell["values"], cell["told"])]
    sizes = test.loc[test.index.isin(best), "batch_size"].dropna()
    failed = test.loc[(test["status"] == "out_of_memory") & test["batch_size"].notna(), "batch_size"]
    return sentences.Work(advice.by_size(worked), next(iter(sizes), None), sorted(map(int, failed)))


def _lines(best: "pd.DataFrame", mine: "pd.DataFrame", outcomes: Sequence[Outcome]) -> tuple[Line, ...]:
    """A line for each outcome. `best` are the best cells of the tests that have figures, compared."""
    devices = mine.groupby("device")["owner"].nunique()
    usual = max(devices.index, key=lambda device: (devices[device], device != "cpu"))
    cells = {cell.owner: cell for cell in best.itertuples()}
    return tuple(
        _line(one, cells[place], usual) if place in cells else _without_figure(one)
        for place, one in enumerate(outcomes)
    )


def _line(outcome: Outcome, cell: Any, usual_device: str) -> Line:
    def number(column: str) -> float | None:
        value = getattr(cell, column)
        return float(value) if value == value and value is not None else None

    title, group = cell.title, "" if cell.across == "" else cell.group
    if cell.across == "model":
        title, group = (title if group == known.LLAMA_2_7B else f"{title}: {group}"), ""
    speed, said = number("overview_speed"), cell.overview_speed_text
    if speed is not None and said != "same":
        said = shown.times(speed) + (" ?" if said.endswith("?") else "")
    marks = cell.marks if cell.device == usual_device else (*cell.marks, ON_DEVICE.get(cell.device, cell.device))
    return Line(
        title=title,
        status=outcome.status,
        reason=clean(outcome.reason),
        group=group,
        figure=number("median"),
        text=cell.text,
        half_width=number("half_width"),
        grade=cell.grade,
        unit=cell.unit,
        better=cell.better,
        speed=speed,
        speed_half_width=number("overview_half_width"),
        speed_text=said,
        marks=marks,
    )
