"""One DataFrame of measurements into one of cells, which every output shows.

A cell is what stands at one place of a table: a machine's figures of one kind at one batch size (or of one model).
A series is a line of a table: the cells of a machine that are of one kind.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from speed_test.compare import grades, limits, scaling, shown
from speed_test.compare.facts import FACTS, HOST, KIND, TEST
from speed_test.compare.known import FRAMEWORKS, KNOWN, columns_of
from speed_test.machine import file_safe
from speed_test.results import MEASUREMENT_VERSION, USUAL

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
    ("channels_last", "True", "channels last"),
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

    Adds to the columns of facts.FACTS: test, title, chart; series, marks, label, name, published, computer (the
    machine's key as its rows have it: `machine` is another one for each of its hosts, if it has several); is_usual
    (done as it is without options: in float32, by one process);
    median, lowest, highest, count, cost (smaller is better); the fields of grades.Trust; is_best (of its series, but
    not of different models); text, shown, spread; values, told (the rows); cell (a number of its own).
    """
    keys = ["kind", "group"]
    groups = measurements.groupby(keys, sort=False)
    pooled = groups["value"].agg(median="median", lowest="min", highest="max", count="count", values=list).reset_index()
    pooled["told"] = groups["told"].agg(list).to_numpy()
    found = measurements.drop(columns=["value", "told"]).drop_duplicates(keys).merge(pooled, on=keys)
    found["published"] = found["source"] == "published"
    # A failure gives way to figures, whichever came first.
    found.loc[found["count"] > 0, "status"] = "ok"
    # A machine is called what its first row calls it.
    for column in ("machine_name", "machine_label"):
        found[column] = found.groupby("machine")[column].transform("first")
    found["computer"] = found["machine"]
    found["machine"], found["host"] = _hosts(found)
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
    _add_trust(found)
    for column in limits.COLUMNS:
        found[column] = [limits.median(column, told) for told in found["told"]]
    found["is_usual"] = (found[list(USUAL)] == list(USUAL.values())).all(axis=1)
    found = scaling.with_scaling(found)
    found["text"] = [shown.figure(*row) for row in zip(found["median"], found["status"], strict=True)]
    found["shown"] = [
        shown.graded(*row) for row in zip(found["text"], found["grade"], found["half_width"], strict=True)
    ]
    found["spread"] = [
        shown.spread(*row) for row in zip(found["lowest"], found["highest"], found["count"], strict=True)
    ]
    found["cell"] = range(len(found))
    return found.drop(columns=["kind", "order", "host"])


def _add_trust(found: "pd.DataFrame") -> None:
    """Add the fields of grades.Trust."""
    import pandas as pd

    facts = found[list(FACTS)].to_dict("records")
    trusts = [grades.trust(*cell) for cell in zip(facts, found["values"], found["told"], strict=True)]
    for column in grades.Trust._fields:
        values = [getattr(trust, column) for trust in trusts]
        is_number = column in ("half_width", "per_joule")
        found[column] = pd.Series(values, index=found.index, dtype=float if is_number else object)


def _hosts(found: "pd.DataFrame") -> tuple[list[str], list[tuple[str, ...]]]:
    """For each row the key of its machine, and the marks that tell it from other hosts of the same name, if any.

    Rows that do not say what they ran on are of the one host that is known, if there is only one.
    """
    hosts = found.drop_duplicates(["machine", *HOST])[["machine", *HOST]]
    known = hosts[(hosts["cpu_model"] != "") | (hosts["virtual"] != "")]
    several = known.groupby("machine").size()
    names: dict[tuple[str, ...], str] = {}
    marks: dict[tuple[str, ...], tuple[str, ...]] = {}
    for host in hosts.itertuples(index=False, name=None):
        machine, model, virtual = host
        if several.get(machine, 0) < 2:
            names[host], marks[host] = machine, ()
            continue
        names[host] = f"{machine}: {model}; {virtual}"
        own = known[known["machine"] == machine]
        marks[host] = tuple(_host_mark(column, model, virtual) for column in HOST if own[column].nunique() > 1)
    split = {host: name for host, name in names.items() if name != host[0]}
    taken = [name for host, name in names.items() if host not in split]
    names |= dict(zip(split, distinct(split.values(), taken=taken), strict=True))
    rows = list(found[["machine", *HOST]].itertuples(index=False, name=None))
    return [names[row] for row in rows], [marks[row] for row in rows]


def _host_mark(column: str, model: str, virtual: str) -> str:
    if column == "cpu_model":
        return model or "processor unknown"
    return f"on {virtual}" if virtual else "not virtual" if model else "host unknown"


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

    kinds = found[[*TEST, "machine", "host", *KIND, "kind"]].drop_duplicates("kind").reset_index(drop=True)
    newest = str(MEASUREMENT_VERSION)  # and not the highest of all rows, for a stranger may have written any
    kinds["marks"] = [(*_usual_marks(row, newest), *row["host"]) for row in kinds.to_dict("records")]
    marks = kinds["marks"].to_dict()
    hosts = dict(zip(kinds.index, zip(kinds["cpu_model"], kinds["virtual"], strict=True), strict=True))
    for _, some in kinds.groupby([*TEST, "machine", "marks"], sort=False):
        for column in KIND:
            if some[column].nunique() > 1:
                words = WORDS.get(column, column.replace("_", " ") + " {}")
                for place, value in some[column].items():
                    said = words.format(value or "unknown")
                    if column in HOST:
                        said = _host_mark(column, *hosts[place])
                    marks[place] = (*marks[place], said)
    # Still alike: a machine with a device "cpu", for example, and with a precision that is called "cpu".
    kinds["marks"] = pd.Series(marks)
    for place in kinds.index[kinds.duplicated([*TEST, "machine", "marks"])]:
        marks[place] = (*marks[place], f"kind {place}")
    kinds["marks"] = pd.Series(marks)
    return kinds[["kind", "marks"]]


def _usual_marks(kind: dict, newest: str) -> tuple[str, ...]:
    usual = {"precision": ("float32", "tf32"), "measurement_version": ("", newest)}
    marks = [
        mark.format(kind[column])
        for column, value, mark in MARKS
        if (kind[column] == value if value else kind[column] not in usual[column])
    ]
    if kind["precision"] == "tf32":  # asked for: more of the work than a framework does in it by itself
        marks = ["precision tf32" if mark == "tf32" else mark for mark in marks]
        marks += [] if "precision tf32" in marks else ["precision tf32"]
    return (*marks, *_processes(kind))


def _processes(kind: dict) -> tuple[str, ...]:
    """ "2 processes", or "4 processes on 2 machines"; nothing of one."""
    if kind["num_processes"] == USUAL["num_processes"]:
        return ()
    machines = "" if kind["num_nodes"] == USUAL["num_nodes"] else f" on {int(kind['num_nodes']):,} machines"
    return (f"{int(kind['num_processes']):,} processes{machines}",)


def label(machine: str, published: bool, marks: tuple[str, ...]) -> str:
    """The machine, and what is special about its figures."""
    said = ", ".join([*(["published"] if published else []), *marks])
    return f"{machine} ({said})" if said else machine


def _names(found: "pd.DataFrame") -> list[str]:
    """For each cell the machine's name, or its label where another machine of the test has the same name."""
    machines = found.groupby(["test", "machine_name"])["machine"].transform("nunique")
    return list(found["machine_name"].where(machines == 1, found["machine_label"]))
