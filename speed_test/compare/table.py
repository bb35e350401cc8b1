"""One DataFrame of measurements into one of cells, which every output shows.

A cell is what stands at one place of a table: a machine's figures of one kind at one batch size (or of one model).
A series is a line of a table: the cells of a machine that are of one kind.
"""

import math
from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING

from speed_test import screen
from speed_test.compare.facts import KIND, TEST
from speed_test.compare.known import FRAMEWORKS, KNOWN, columns_of
from speed_test.machine import file_safe
from speed_test.results import MEASUREMENT_VERSION

if TYPE_CHECKING:
    import pandas as pd

# Column, a value of it (None: any but the usual one), and the mark that stands beside the machine's name for it: why
# a figure is no whole epoch of the real data in float32 by these scripts. Always shown.
MARKS = (
    ("data", "synthetic", "synthetic"),
    ("estimated", "True", "estimated"),
    ("source", "older", "older"),
    ("precision", None, "{}"),
    ("tf32", "True", "tf32"),
    ("compiled", "True", "compiled"),
    ("data_checksum", "mismatch", "not the published data"),
    ("measurement_version", None, "version {}"),
)
# How other settings are said, where a machine has figures with several of them.
WORDS = {
    "threads": "{} threads",
    "gpu_layers": "{} GPU layers",
    "answer_token_len": "{} tokens",
    "context": "context {}",
    "device": "{}",
}
# What tells tests of the same title apart, and how it is added to the title.
TITLE_ADDITIONS = (
    ("input_size", "input size {}"),
    ("experiment", "{}"),
    ("unit", "{}"),
    ("figure", "{}"),
    ("better", "{} is better"),
)
SHORT = {"out_of_memory": "memory"}  # a status, in a cell
# Not to be had by a test: names of parts of the page, and files that Windows takes for devices.
TAKEN = (
    "overview",
    "overall",
    "con",
    "prn",
    "aux",
    "nul",
    *(f"{port}{n}" for port in ("com", "lpt") for n in range(10)),
)


# ---- How a cell is shown: the same text in terminal, Markdown, charts and page ----


def shown(median: float, status: str) -> str:
    """A figure, or else why there is none: "273", "9.5", "memory", "failed"."""
    return SHORT.get(status, status.replace("_", " ")) if math.isnan(median) else screen.number(median)


def ratio(speed: float, tie: bool = False) -> str:
    """How many times as fast: "1.85", "tie" if the two cannot be told apart, "" if they cannot be compared.

    page.html does this in JavaScript. Halves are rounded up, as there.
    """
    if math.isnan(speed):
        return ""
    if tie:
        return "tie"
    places = "0.01" if speed < 9.995 else "0.1"
    return f"{Decimal(speed).quantize(Decimal(places), ROUND_HALF_UP):,}"


def spread(lowest: float, highest: float, count: int) -> str:
    """From the lowest to the highest of several figures: "(268 to 278, 2 figures)"."""
    return f"({screen.number(lowest)} to {screen.number(highest)}, {count} figures)" if count > 1 else ""


# ---- Measurements into cells ----


def distinct(names: Iterable[str], addition: str = " ({})", taken: Iterable[str] = ()) -> list[str]:
    """`names` with something added where one is there before or is `taken`: "a", "A", "b" become "a", "A (2)", "b".

    Strangers choose these names: two things that share one would be taken for the same.
    """
    used = {name.lower() for name in taken}
    found = []
    for name in names:
        made, times = name, 2
        while made.lower() in used:
            made, times = name + addition.format(times), times + 1
        used.add(made.lower())
        found.append(made)
    return found


def cells(measurements: "pd.DataFrame") -> "pd.DataFrame":
    """A row for each cell, in the order in which tables show them: tests, machines, groups.

    Adds to the columns of facts.FACTS: test, title, chart; series, marks, label, name, published;
    median, lowest, highest, count, cost (smaller is better); is_best (of its series, but not
    of different models); text, spread; cell (a number of its own).
    """
    keys = ["kind", "group"]
    values = measurements.groupby(keys, sort=False)["value"]
    pooled = values.agg(median="median", lowest="min", highest="max", count="count").reset_index()
    found = measurements.drop(columns="value").drop_duplicates(keys).merge(pooled, on=keys)
    found["published"] = found["source"] == "published"
    # A failure gives way to figures, whichever came first.
    found.loc[found["count"] > 0, "status"] = "ok"
    # A machine is called what its first row calls it.
    for column in ("machine_name", "machine_label"):
        found[column] = found.groupby("machine")[column].transform("first")
    found = found.merge(_tests(found), on=list(TEST)).merge(_marks(found), on="kind")
    found["label"] = [
        label(*row) for row in found[["machine_label", "published", "marks"]].itertuples(index=False, name=None)
    ]
    pairs = list(zip(found["machine"], found["marks"], strict=True))
    each = list(dict.fromkeys(pairs))
    series = dict(zip(each, distinct(" ".join([key, *marks]) for key, marks in each), strict=True))
    found["series"] = [series[pair] for pair in pairs]
    found["name"] = _names(found)
    found = found.sort_values(
        ["order", "published", "machine_name", "machine_label", "machine", "marks", "batch_size", "group"],
        ignore_index=True,
    )
    # Smaller is better, whichever way the figures go.
    found["cost"] = found["median"].where(found["better"] == "lower", 1 / found["median"])
    found["is_best"] = False
    done = found[(found["count"] > 0) & (found["across"] != "model")]
    found.loc[done.groupby(["test", "series"])["cost"].idxmin(), "is_best"] = True
    found["text"] = [shown(*row) for row in zip(found["median"], found["status"], strict=True)]
    found["spread"] = [spread(*row) for row in zip(found["lowest"], found["highest"], found["count"], strict=True)]
    found["cell"] = range(len(found))
    return found.drop(columns=["kind", "order"])


def _tests(found: "pd.DataFrame") -> "pd.DataFrame":
    """For each test (the columns of TEST): its id, title, name of its chart, and place among the others."""
    tests = found[list(TEST)].drop_duplicates()
    rows = tests.to_dict("records")
    tests["known"] = [row["experiment"] in KNOWN and row == columns_of(row["experiment"]) for row in rows]
    names = [_title_and_chart(row, known) for row, known in zip(rows, tests["known"], strict=True)]
    tests["title"], tests["chart"] = zip(*names, strict=True)
    tests["order"] = [
        list(KNOWN).index(name) if known else len(KNOWN)
        for name, known in zip(tests["experiment"], tests["known"], strict=True)
    ]
    titles = tests["title"].str.lower()
    for title, some in tests[~tests["known"]].groupby(titles):
        for column, words in TITLE_ADDITIONS:
            # Compared with the known tests too, so that another input size of ResNet50 is said to be one.
            if tests.loc[titles == title, column].nunique() > 1:
                said = [words.format(value or "unknown") for value in some[column]]
                tests.loc[some.index, "title"] += [f", {value}" for value in said]
    tests = tests.sort_values(["order", "title", *TEST])
    tests["order"] = range(len(tests))
    tests["title"] = distinct(tests["title"])
    # Charts are files, and the file systems of Mac and Windows do not tell "mlp" from "MLP".
    tests["chart"] = distinct(tests["chart"], "_{}", TAKEN)
    tests["test"] = distinct(tests["experiment"].where(tests["known"], tests["chart"]), "_{}", TAKEN)
    return tests.drop(columns="known")


def _title_and_chart(test: dict, is_known: bool) -> tuple[str, str]:
    if is_known:
        known = KNOWN[test["experiment"]]
        return known.title, known.chart
    framework = FRAMEWORKS.get(test["framework"], test["framework"])
    work = test["model"] or test["experiment"]
    title = f"{work} on {test['dataset']}" if test["dataset"] else work
    parts = (test["framework"], work, test["dataset"], test["input_size"])
    return f"{title}, {framework}" if framework else title, file_safe("_".join(filter(None, parts)))


def _marks(found: "pd.DataFrame") -> "pd.DataFrame":
    """For each kind the tuple of its marks, which tells it from all others of its machine and test."""
    import pandas as pd

    kinds = found[[*TEST, "machine", *KIND, "kind"]].drop_duplicates("kind").reset_index(drop=True)
    versions = {int(version) for version in kinds["measurement_version"] if version}
    newest = str(max({MEASUREMENT_VERSION, *versions}))
    kinds["marks"] = [_usual_marks(row, newest) for row in kinds.to_dict("records")]
    marks = kinds["marks"].to_dict()
    for _, some in kinds.groupby([*TEST, "machine", "marks"], sort=False):
        for column in KIND:
            if some[column].nunique() > 1:
                words = WORDS.get(column, column.replace("_", " ") + " {}")
                for place, value in some[column].items():
                    marks[place] = (*marks[place], words.format(value or "unknown"))
    # Still alike: a machine with a device "cpu", for example, and with a precision that is called "cpu".
    kinds["marks"] = pd.Series(marks)
    for place in kinds.index[kinds.duplicated([*TEST, "machine", "marks"])]:
        marks[place] = (*marks[place], f"kind {place}")
    kinds["marks"] = pd.Series(marks)
    return kinds[["kind", "marks"]]


def _usual_marks(kind: dict, newest: str) -> tuple[str, ...]:
    usual = {"precision": ("float32",), "measurement_version": ("", newest)}
    return tuple(
        mark.format(kind[column])
        for column, value, mark in MARKS
        if (kind[column] == value if value else kind[column] not in usual[column])
    )


def label(machine: str, published: bool, marks: tuple[str, ...]) -> str:
    """The machine, and what is special about its figures."""
    said = ", ".join([*(["published"] if published else []), *marks])
    return f"{machine} ({said})" if said else machine


def _names(found: "pd.DataFrame") -> list[str]:
    """For each cell the machine's name, or its label where another machine of the test has the same name."""
    machines = found.groupby(["test", "machine_name"])["machine"].transform("nunique")
    return list(found["machine_name"].where(machines == 1, found["machine_label"]))
