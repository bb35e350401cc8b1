"""What --like prints, for the terminal and as Markdown."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from speed_test.compare import notes, shown
from speed_test.compare.like import Work, rented
from speed_test.compare.markdown import escaped, pipes
from speed_test.compare.tables import Lines, names
from speed_test.compare.text import GRADES, letters, print_aligned, print_list, say_wrapped
from speed_test.screen import count, number, say

if TYPE_CHECKING:
    import pandas as pd

WHAT = {
    "samples": "Time at each machine's best batch size, fastest first; start, compiling and evaluation are not in it",
    "tokens": "Time for one answer after the other, fastest first; loading the model is not in it",
}
BUYING = (
    "After how many such runs renting has cost as much as buying; energy, resale and the different times are not in it"
)


def print_text(work: Work) -> None:
    """Print the tables, none wider than the terminal where it can be helped."""
    machines = work.machines.assign(line=names(work.machines))
    say_wrapped(heading(work))
    say_wrapped(WHAT[work.things])
    say()
    print_aligned(times_table(work, machines))
    if reasons := notes.reasons(machines):
        say()
    for grade, reason in reasons:
        say_wrapped(f"{grade or ' '}  {reason}", indent=3)
    if rents := list(_rents(machines)):
        say("\nRented, this work costs\n")
        for place, line in enumerate(rents, start=1):
            say_wrapped(f"  {place}  {line}", indent=5)
    if lines := buying_table(machines):
        say()
        say_wrapped(BUYING)
        say()
        print_aligned(lines)
    say()
    for line in _remarks(machines):
        say_wrapped(line)


def print_markdown(work: Work) -> None:
    """Print the same tables as Markdown."""
    machines = work.machines.assign(line=work.machines["label"])
    say(f"## {escaped(heading(work))}\n\n{WHAT[work.things]}.\n")
    say("\n".join(pipes(times_table(work, machines))))
    print_list(f"{grade}: {reason}" for grade, reason in notes.reasons(machines) if grade)
    if rents := list(_rents(machines)):
        say("\nRented, this work costs\n")
        for place, line in enumerate(rents, start=1):
            say(f"{place}. {escaped(line)}")
    if lines := buying_table(machines):
        say(f"\n{BUYING}.\n")
        say("\n".join(pipes(lines)))
    print_list(line for line in _remarks(machines) if not line.startswith("("))  # labels say in words what letters do


def heading(work: Work) -> str:
    """What was computed: "200,000 samples, 3 epochs: like DistilBERT on IMDB, PyTorch"."""
    if work.things == "tokens":
        said = [count(work.amount or 0, "token")]
    else:
        said = [count(work.amount, "sample")] if work.amount else []
        said += [count(work.epochs, "epoch")]
    return f"{', '.join(said)}: like {work.title}"


def times_table(work: Work, machines: "pd.DataFrame") -> Lines:
    """A line for each machine: the time with its grade and half-width, the batch size, and its value for the money."""
    times = map(shown.period, machines["seconds"])
    columns = [
        ["", *machines["line"]],
        ["time", *map(shown.graded, times, machines["grade"], machines["half_width"])],
    ]
    if machines["batch_size"].notna().any():
        columns += [["batch size", *(f"{size:.0f}" if size > 0 else "" for size in machines["batch_size"])]]
    if machines["price"].notna().any():
        columns += [["price", *map(_money, machines["price"])]]
        each = machines["per_second_per_1000"]
        columns += [[f"{work.things}/s\nper 1,000", *("" if value != value else number(value) for value in each)]]
    return [list(line) for line in zip(*columns, strict=True)]


def buying_table(machines: "pd.DataFrame") -> Lines:
    """A line for each machine with a price: after how many runs it has cost no more than each of the rented ones,
    which are numbered as `_rents` are. No lines without prices or rents."""
    columns = rented(machines)
    bought = machines[machines["price"].notna()]
    if not columns or bought.empty:
        return []
    lines = bought[["line", *columns]].to_numpy().tolist()
    headings = ["", *(f"rented {place}" for place in range(1, len(columns) + 1))]
    return [headings, *([line, *(f"{runs:,}" for runs in cells)] for line, *cells in lines)]


def _rents(machines: "pd.DataFrame") -> Iterator[str]:
    of_rented = machines[machines["rent_per_run"].notna()]
    for line, run, hour in of_rented[["line", "rent_per_run", "rent_per_hour"]].to_numpy().tolist():
        yield f"{line}: {shown.money(run)}, at {shown.money(hour)} an hour"


def _money(amount: float) -> str:
    return "" if amount != amount else shown.money(amount)


def _remarks(machines: "pd.DataFrame") -> Iterator[str]:
    yield from (f"WARNING: {warning}" for warning in notes.warnings(machines))
    yield from letters(machines)
    if (machines["grade"] != "").any():
        yield GRADES
