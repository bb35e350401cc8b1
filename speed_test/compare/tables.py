"""The tables that terminal and Markdown show: lines of cells, which are texts."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from speed_test.compare.speeds import overall
from speed_test.screen import number

if TYPE_CHECKING:
    import pandas as pd

Lines = list[list[str]]
SCALING = (
    "scaling efficiency: the speed of several processes over that of as many times one, at the same batch size for "
    "each process; in brackets how many times as fast as one they are"
)

# The marks with a letter of their own, which stands beside the machine's name on the screen, and what they say.
LETTERS = {
    "published": "published in December 2023, measured with older scripts and libraries: see published/README.md",
    "synthetic": "synthetic data or weights",
    "estimated": "estimated from a part of the epoch",
    "older": "measured with the older scripts that this project continues",
    "tf32": "may use TensorFloat-32",
    "compiled": "the training step was compiled as a whole (Keras does that by itself on NVIDIA GPUs)",
}


def names(cells: "pd.DataFrame") -> "pd.Series":
    """What a series is called on the screen: the machine, and a letter for each mark that has one."""
    letters = []
    for published, marks in zip(cells["published"], cells["marks"], strict=True):
        said = ["published", *marks] if published else list(marks)
        letters.append(", ".join(mark[0] if mark in LETTERS else mark for mark in said))
    return cells["name"] + [f" ({those})" if those else "" for those in letters]


def _pivot(cells: "pd.DataFrame", columns: str, values: str) -> Lines:
    """A line for each series, headed by its `line`, in the order of `cells`; columns in the order of batch sizes."""
    headings = cells.sort_values(["batch_size", "group"], kind="stable")[columns].unique()
    table = cells.pivot(index="series", columns=columns, values=values)
    table = table.reindex(index=cells["series"].unique(), columns=headings).fillna("")
    lines = cells.drop_duplicates("series")["line"]
    return [["", *headings], *([line, *row] for line, row in zip(lines, table.to_numpy().tolist(), strict=True))]


def figures_table(test: "pd.DataFrame") -> Lines:
    """The medians of one test, with their grades and half-widths."""
    return _pivot(test, "group", "shown")


def per_joule_table(test: "pd.DataFrame") -> Lines:
    """Samples (or tokens) per joule of one test; no lines if no machine told its energy."""
    done = test[test["per_joule"].notna()]
    return _pivot(done.assign(energy=done["per_joule"].map(number)), "group", "energy") if len(done) else []


def scaling_table(test: "pd.DataFrame") -> Lines:
    """The scaling efficiency of several processes; no lines if no machine has figures of several and of one."""
    done = test[test["scaling_text"] != ""]
    return _pivot(done, "group", "scaling_text") if len(done) else []


def speeds_table(test: "pd.DataFrame") -> Lines:
    """The speeds of one test at each batch size that the baseline has, and of each best against its best."""
    known = test.loc[(test["series"] == test["baseline_series"]) & (test["count"] > 0), "group"]
    lines = _pivot(test, "group", "speed_text")
    kept = [place for place, heading in enumerate(lines[0]) if place == 0 or heading in set(known)]
    lines = [[line[place] for place in kept] for line in lines]
    if test["is_best"].any():
        best = test[test["is_best"]].set_index("series")["best_text"]
        cells = ["best", *best.reindex(test["series"].unique()).fillna("")]
        lines = [[*line, cell] for line, cell in zip(lines, cells, strict=True)]
    return [lines[0], *(line for line in lines[1:] if any(line[1:]))]


def overview_table(compared: "pd.DataFrame", values: str = "overview_text") -> Lines:
    """A line for each machine: its speed over all tests, how many tests that are, and for each test the `values`:
    by default its best figure with the speed."""
    shown = compared[compared["overview"].notna()]
    table = shown.pivot(index="machine", columns="overview", values=values)
    headings = shown["overview"].unique()
    found = overall(compared)
    table = table.reindex(index=found["machine"], columns=headings).fillna("")
    return [
        ["machine", "overall", "tests", *headings],
        *(
            [label, text, str(tests), *row]
            for label, text, tests, row in zip(
                found["label"], found["text"], found["tests"], table.to_numpy().tolist(), strict=True
            )
        ),
    ]


def tests(compared: "pd.DataFrame") -> Iterable["pd.DataFrame"]:
    return (test for _, test in compared.groupby("test", sort=False))


def heading(test: "pd.DataFrame") -> tuple[str, str]:
    """Title, and what its figures are."""
    first = test.iloc[0]
    return first["title"], f"{first['unit']}, median; {first['better']} is better"


def amount(test: "pd.DataFrame") -> str:
    """What is counted per joule."""
    return "tokens" if test["across"].iloc[0] == "model" else "samples"
