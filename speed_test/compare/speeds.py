"""How fast each machine is against a baseline: at each batch size, at its best, and over all tests."""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from speed_test import verdict
from speed_test.compare import limits, shown
from speed_test.compare.charts import chosen_for_chart, looks, scale
from speed_test.compare.table import label

if TYPE_CHECKING:
    import pandas as pd

# The keys of a record, in the order of the CSV.
KEYS = (
    *("experiment", "machine", "published", "marks", "batch_size", "model", "unit", "median", "lowest", "highest"),
    *("count", "status", "half_width", "grade", "grade_reason", "runs", "warnings", "per_joule", "baseline", "speed"),
    *("speed_half_width", "compared", "more_runs", "framework", "dataset", "input_size", "figure", "better"),
    *("cpu_model", "virtual", "num_processes", "num_nodes", "scaling_speed", "scaling_efficiency"),
    *("scaling_half_width", *limits.COLUMNS, "scaling_text"),
    *("test", "title", "chart", "label", "name", "series", "machine_key", "group", "across"),
    *("text", "shown", "spread", "speed_text", "is_best", "represents_machine", "baseline_series", "slowest_series"),
    *("overview", "overview_text", "in_chart", "scale", "colour", "pattern"),
)
OVERALL_UNIT = "times the baseline's speed"


# ---- Who is compared with whom ----


def machines_called(cells: "pd.DataFrame", wanted: str) -> list[str]:
    """The machines with figures that `wanted` names, by their keys.

    A key goes before a name, which a stranger may have given to a machine. A name that is one machine's own goes before
    one that is a part of others': "M3" before "M3 Max".
    """
    machines = cells[cells["count"] > 0].drop_duplicates("machine")
    names = [
        (key, key.lower(), name.lower(), label.lower())
        for key, name, label in machines[["machine", "machine_name", "machine_label"]].itertuples(index=False)
    ]
    if wanted in {key for key, *_ in names}:
        return [wanted]
    own = [key for key, *forms in names if wanted.lower() in forms[:2]]
    part = wanted.lower().replace("_", " ")
    return own or [key for key, *forms in names if any(part in form.replace("_", " ") for form in forms)]


def _representatives(test: "pd.DataFrame") -> dict[str, str]:
    """For each machine of a test that has figures, the series to compare others with.

    Of its several kinds of figures it is a usual one if there is any, so that nobody's several processes are compared
    with one; of those the one that most series can be compared with; of those, the one with the fewest marks. The
    machine with the most comparable one comes first.
    """
    groups = test.groupby("series", sort=False)["group"].agg(set)
    done = test[test["count"] > 0].drop_duplicates("series")
    ranked = sorted(
        (not usual, -sum(bool(groups[series] & other) for other in groups), len(marks), place, machine, series)
        for place, (machine, series, marks, usual) in enumerate(
            done[["machine", "series", "marks", "is_usual"]].itertuples(index=False, name=None)
        )
    )
    found: dict[str, str] = {}
    for *_, machine, series in ranked:
        found.setdefault(machine, series)
    return found


def _slowest(test: "pd.DataFrame") -> str:
    """The series that is the slowest at the batch size (or with the model) that most of them have."""
    done = test[test["count"] > 0].sort_values(["batch_size", "group"], kind="stable")
    if done.empty:
        return str(test["series"].iloc[0])
    group = done.groupby("group", sort=False)["series"].nunique().idxmax()
    there = done[done["group"] == group]
    return str(there.sort_values("cost", ascending=False, kind="stable")["series"].iloc[0])


def _overall_baseline(cells: "pd.DataFrame", candidates: Iterable[str]) -> str:
    """The one machine that is compared with over all tests: of `candidates` the one with figures in most tests.

    Where that says nothing, the slowest of those with figures in most tests.
    """
    import numpy as np

    seen = cells[cells["overview"].notna()]
    tests = seen.groupby("machine", sort=False)["test"].nunique()
    ours = tests[tests.index.isin(list(candidates))]
    if len(ours):
        return str(ours.idxmax())
    costs = np.log(seen["cost"])
    # Against the mean of each column, as machines have figures in different ones.
    slowness = (costs - costs.groupby(seen["overview"]).transform("mean")).groupby(seen["machine"], sort=False).mean()
    return str(slowness[tests[tests == tests.max()].index].idxmax())


# ---- Speeds ----


def _against(cells: "pd.DataFrame", bases: "pd.DataFrame", on: list[str]) -> "pd.DataFrame":
    """Each cell against the base with equal values in the columns `on`.

    Its speed (NaN without such a base), speed_half_width (relative), compared (what verdict.compare says, None of
    the base itself), more_runs (that might tell), and speed_text.
    """
    import numpy as np
    import pandas as pd

    given = [*on, "cell", "median", "half_width", "runs", "source"]
    both = cells[[*given, "better"]].merge(bases[given], how="left", on=on, suffixes=("", "_base"))
    both.index = cells.index
    times = both["median_base"] / both["median"]
    both["speed"] = times.where(both["better"] == "lower", 1 / times)
    found = [_pair(row) for row in both.drop(columns=on).itertuples()]
    made = pd.DataFrame({"speed": both["speed"]})
    made["speed_half_width"] = pd.Series([one and one.half_width for one in found], index=cells.index, dtype=float)
    made["compared"] = pd.Series([one and one.word for one in found], index=cells.index, dtype=object)
    made["more_runs"] = pd.Series([one and one.more_runs for one in found], index=cells.index, dtype=float)
    # Without half-widths nothing can be told, and a "?" at every figure would tell nothing.
    words = made["compared"].where(made["speed_half_width"].notna(), "")
    texts = map(shown.ratio, made["speed"], words, made["speed_half_width"].replace(np.nan, None))
    made["speed_text"] = pd.Series(list(texts), index=cells.index, dtype=object)
    return made


def _pair(row: Any) -> verdict.Compared | None:
    """What is said of a cell and its base; None of the base itself, and where there is none."""
    if math.isnan(row.speed) or row.cell == row.cell_base:
        return None
    half, other = (None if math.isnan(one) else one for one in (row.half_width, row.half_width_base))
    # Nor have the figures of the older scripts an interval.
    has_none = row.source != "measured" or row.source_base != "measured"
    return verdict.compare(row.speed, half, other, int(min(row.runs, row.runs_base)) or 1, published=has_none)


def compare(cells: "pd.DataFrame", wanted: str | None, here: list[str]) -> "pd.DataFrame":
    """`cells` (see table.cells) with the speed of each against the baseline of its test.

    The baseline is a machine called `wanted`, or else this one, whose keys are `here`; in a test without figures of
    it, the slowest. Adds: baseline, baseline_series, slowest_series, represents_machine; what _against says (speed,
    speed_half_width, compared, more_runs, speed_text); best_text; overview (the column of the overview that the cell
    stands in, or None), overview_speed, overview_half_width, overview_speed_text, overview_figure, overview_text, and
    overall_baseline (its machine's key).
    """
    cells = cells.copy()
    mine = machines_called(cells, wanted) if wanted else list(cells.loc[cells["computer"].isin(here), "machine"])
    for _, test in cells.groupby("test", sort=False):
        representatives = _representatives(test)
        slowest = _slowest(test)
        base = next((series for machine, series in representatives.items() if machine in mine), slowest)
        cells.loc[test.index, "represents_machine"] = test["series"].isin(list(representatives.values()))
        cells.loc[test.index, "slowest_series"] = slowest
        cells.loc[test.index, "baseline_series"] = base
        cells.loc[test.index, "baseline"] = test.loc[test["series"] == base, "label"].iloc[0]
    is_base = cells["series"] == cells["baseline_series"]
    cells = cells.join(_against(cells, cells[is_base], on=["test", "group"]))
    best = _against(cells, cells[is_base & cells["is_best"]], on=["test"])
    cells["best_text"] = best["speed_text"].where(cells["is_best"], "")
    cells["overview"] = _overview(cells)
    base_machine = _overall_baseline(cells, mine)
    cells["overall_baseline"] = base_machine
    seen = cells[cells["overview"].notna()]
    against = _against(seen, seen[seen["machine"] == base_machine], on=["overview"])
    cells["overview_speed"], cells["overview_half_width"] = against["speed"], against["speed_half_width"]
    # On one line: the half-widths of so many tests would fill the page.
    speeds = against["speed_text"].str.split("\n").str[0]
    cells["overview_speed_text"] = speeds.reindex(cells.index).fillna("")
    cells["overview_figure"] = list(map(shown.graded, cells["text"], cells["grade"]))
    cells["overview_text"] = ""
    cells.loc[seen.index, "overview_text"] = [
        f"{figure} ({times})" if times else figure
        for figure, times in zip(cells.loc[seen.index, "overview_figure"], speeds, strict=True)
    ]
    return cells


# ---- Over all tests ----


def _overview(cells: "pd.DataFrame") -> "pd.Series":
    """For each cell the column of the overview that it stands in, or None.

    Of a machine's kinds of figures in a test a usual one stands there if there is any, and of those the one with the
    fewest marks, at its best batch size: real figures before synthetic ones, for example. Where a test has several
    models, there is a column for each that two machines have (if there is none, for each model), because no figure of
    one model can be compared with another's.
    """
    done = cells[cells["count"] > 0].copy()
    done["marks_count"] = done["marks"].map(len) + 100 * ~done["is_usual"]
    done["column"] = done["title"]
    models = done["across"] == "model"
    done.loc[models, "column"] = done["title"] + ": " + done["group"]
    machines = done.groupby("column")["machine"].transform("nunique")
    shared = (machines > 1) | ~models
    shared |= ~shared.groupby(done["test"]).transform("any")
    fewest = done.groupby(["test", "machine", done["group"].where(models, "")])["marks_count"].transform("min")
    found = done[shared & (done["is_best"] | models) & (done["marks_count"] == fewest)]
    # Two kinds with equally many marks: the one whose marks come first in the alphabet.
    found = found.drop_duplicates(["machine", "column"])
    return found["column"].reindex(cells.index).astype(object).where(lambda column: column.notna(), None)


def overall(compared: "pd.DataFrame") -> "pd.DataFrame":
    """A row for each machine: its speed over all tests against the overall baseline.

    That is the geometric mean over the tests that both completed (of a test with several models, the geometric mean
    over the models that both have, so that each test counts once). `count` is how many tests that are, `lowest` and
    `highest` are the speeds in the slowest and the fastest of them. Missing tests are left out, never filled.
    """
    import numpy as np

    seen = compared[compared["overview"].notna()]
    logs = np.log(seen["overview_speed"]).groupby([seen["machine"], seen["test"]], sort=False).mean().dropna()
    found = seen.drop_duplicates("machine").set_index("machine", drop=False)
    for name in ("mean", "min", "max"):
        found[name] = np.exp(logs.groupby("machine").agg(name))
    found["tests"] = logs.groupby("machine").size().reindex(found.index).fillna(0).astype(int)
    marks = {
        machine: tuple(dict.fromkeys(mark for own in some for mark in own))
        for machine, some in seen.groupby("machine")["marks"]
    }
    found["marks"] = [marks[machine] for machine in found["machine"]]
    found["label"] = [
        label(*row) for row in found[["machine_label", "published", "marks"]].itertuples(index=False, name=None)
    ]
    found["text"] = found["mean"].map(shown.ratio)
    found = found.reset_index(drop=True)
    return found.sort_values(["published", "machine_name", "machine_label", "machine"], ignore_index=True)


# ---- Records, for programs and for the page ----


def records(compared: "pd.DataFrame") -> list[dict]:
    """A record (see KEYS) for each machine over all tests, and then for each cell. What is unknown is None."""
    found = compared.rename(columns={"machine": "machine_key", "machine_label": "machine"})
    found["model"] = found["group"].where(found["across"] == "model", found["model"])
    found["marks"] = [" ".join(marks) for marks in found["marks"]]
    found["in_chart"] = chosen_for_chart(compared)
    found["scale"] = compared["test"].map(
        {name: scale(test) for name, test in compared[found["in_chart"]].groupby("test")}
    )
    look = looks(compared)
    found["colour"], found["pattern"] = zip(*(look[series] for series in found["series"]), strict=True)
    found["warnings"] = [", ".join(warnings) for warnings in found["warnings"]]
    return [*_overall_records(compared), *plain(found[list(KEYS)])]


def _overall_records(compared: "pd.DataFrame") -> list[dict]:
    found = overall(compared)
    base = found.loc[found["machine"] == found["overall_baseline"], "label"].iloc[0]
    told = found[["published", "lowest", "highest", "label", "text"]].copy()
    told["machine"], told["machine_key"], told["series"] = found["machine_label"], found["machine"], found["machine"]
    told["name"], told["marks"] = found["machine_name"], [" ".join(marks) for marks in found["marks"]]
    told["median"] = told["speed"] = found["mean"]
    told["lowest"], told["highest"], told["count"] = found["min"], found["max"], found["tests"]
    told["speed_text"], told["baseline"], told["baseline_series"] = found["text"], base, found["overall_baseline"]
    told = told.assign(experiment="overall", test="overall", title="Overall", unit=OVERALL_UNIT, better="higher")
    told["status"] = "ok"
    return plain(told.reindex(columns=list(KEYS)))


def plain(found: "pd.DataFrame") -> list[dict]:
    """Records of Python's own types, as JSON has them."""
    whole = ("batch_size", "count", "runs", "more_runs", "num_processes", "num_nodes")
    return [
        {
            key: None
            if value is None or (isinstance(value, float) and math.isnan(value))
            else int(value)
            if key in whole
            else value
            for key, value in row.items()
        }
        for row in found.to_dict("records")
    ]
