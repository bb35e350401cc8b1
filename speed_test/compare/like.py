"""How long a person's own work would take each machine, if it is like a test that was measured: --like.

The work is so many samples and epochs, or so many tokens; it takes in proportion as long as the test did. The figure
of a machine is the one that the overview shows: of its kinds of figures a usual one (float32, one process) if there is
any, at its best batch size. Prices and rents are what the person gives, in any one currency.
"""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from speed_test.compare import speeds
from speed_test.compare.cells import quoted
from speed_test.compare.grades import rows_of
from speed_test.compare.known import KNOWN, columns_of
from speed_test.faults import number
from speed_test.results import TEST

if TYPE_CHECKING:
    import pandas as pd

TOKENS = 1_000_000  # prices of generated text are given for so many
MOST = 1_000_000_000_000  # samples that an epoch may have, as far as rows are believed

Prices = Sequence[tuple[str, float]]  # names of machines as a person writes them

# What a record has of a machine's figure, beside the work, TIMES and COSTS.
FACTS = (
    *("experiment", "machine", "published", "marks", "batch_size", "model", "unit", "median", "count", "half_width"),
    *("grade", "grade_reason", "runs", "warnings", "test", "title", "label", "machine_key"),
)
TIMES = ("seconds", "lowest_seconds", "highest_seconds", "per_second")
COSTS = ("price", "per_second_per_1000", "rent_per_hour", "rent_per_run")
PAYS_OFF = "runs_to_pay_off: "  # and the key of the machine that is rented


class Impossible(Exception):
    """The work or a price that a person asks for cannot be taken. The text is one sentence."""


class Work(NamedTuple):
    """Work like a test, and the machines that it is known for.

    `amount` is how many `things` ("samples" or "tokens") it has; of samples so many in each of `epochs`, and None if
    nothing tells how many an epoch of the test has. `machines` is a DataFrame with the columns of speeds.compare, TIMES
    (see `times`) and COSTS (see `with_money`), a row for each machine, the fastest first.
    """

    title: str
    things: str
    amount: int | None
    epochs: int
    machines: "pd.DataFrame"


# ---- The work ----


def names(compared: "pd.DataFrame") -> dict[str, tuple[str, str]]:
    """What can be given to --like -> the test, and the column of the overview that has its figures.

    A test is called what its rows say in `experiment`, or, if several tests are called so, what records say in `test`.
    Of a test with several models, its name alone is the one that most machines have, and "llama2: MODEL" each of them.
    """
    seen = compared[compared["overview"].notna()]
    tests = seen.drop_duplicates("test")
    is_own = ~tests["experiment"].str.lower().duplicated(keep=False)
    found: dict[str, tuple[str, str]] = {}
    for test, name in zip(tests["test"], tests["experiment"].where(is_own, tests["test"]), strict=True):
        machines = seen[seen["test"] == test].groupby("overview", sort=False)["machine"].nunique()
        found[name] = (test, str(machines.idxmax()))
        if len(machines) > 1:
            groups = seen[seen["test"] == test].drop_duplicates("overview")
            found |= {f"{name}: {row.group}": (test, row.overview) for row in groups.itertuples()}
    return found


def work(
    compared: "pd.DataFrame",
    like: str,
    samples: int | None = None,
    epochs: int | None = None,
    tokens: int | None = None,
) -> Work:
    """The work that is `like` a test (see `names`), with the time that it takes each machine (see `times`).

    By default one epoch of as many samples as the test has, or TOKENS tokens. `compared` is what speeds.compare says.
    Raises Impossible for a test that is not there, is not measured in time for samples or tokens, or does not count
    what is given.
    """
    every = names(compared)
    chosen = {name.lower(): where for name, where in every.items()}.get(like.strip().lower())
    if chosen is None:
        raise Impossible(f"--like: there is no test {quoted(like)}; there are {'; '.join(every)}")
    test, column = chosen
    cells = compared[(compared["test"] == test) & (compared["overview"] == column)]
    figure = (cells["figure"].iloc[0], cells["better"].iloc[0])
    if figure == ("tokens_per_second", "higher"):
        for option, given in (("--samples", samples), ("--epochs", epochs)):
            if given is not None:
                raise Impossible(f"{option}: {like} counts tokens; write --tokens=N")
        return _of_tokens(column, cells, tokens or TOKENS)
    if figure != ("epoch_seconds", "lower"):
        unit = cells["unit"].iloc[0]
        raise Impossible(f"--like: the figures of {like} are {unit}, which tells no time of other work; take another")
    if tokens is not None:
        raise Impossible(f"--tokens: {like} counts samples; write --samples=N --epochs=N")
    return _of_samples(column, cells, samples, epochs or 1)


def _of_tokens(title: str, cells: "pd.DataFrame", tokens: int) -> Work:
    return Work(title, "tokens", tokens, 1, times(cells, tokens / cells["median"], cells["median"]))


def _of_samples(title: str, cells: "pd.DataFrame", samples: int | None, epochs: int) -> Work:
    whole = samples_of_epoch(cells)
    if whole.isna().all():
        if samples is not None:
            raise Impossible(f"--samples: nothing tells how many samples an epoch of {title} has; leave it out")
        return Work(title, "samples", None, epochs, times(cells, cells["median"] * epochs, whole))
    usual = int(whole.mode()[0])
    whole = whole.fillna(usual)  # rows that do not say it: the same test has the same samples
    amount = samples or usual
    per_second = whole / cells["median"]
    return Work(title, "samples", amount, epochs, times(cells, amount * epochs / per_second, per_second))


def samples_of_epoch(cells: "pd.DataFrame") -> "pd.Series":
    """How many samples an epoch of each cell of a test has; NaN if nothing tells.

    An epoch of one of the seven tests is always its whole data set. Of others the rows tell: as many as they measured,
    and where that was a part of the epoch, as many more as the whole epoch is longer.
    """
    import pandas as pd

    first = cells.iloc[0]
    experiment = str(first["experiment"])
    if experiment in KNOWN and {column: first[column] for column in TEST} == columns_of(experiment):
        return pd.Series(float(KNOWN[experiment].samples), index=cells.index)
    found = [_told_samples(row) for row in cells.to_dict("records")]
    return pd.Series(found, index=cells.index, dtype=float)


def _told_samples(cell: dict) -> float | None:
    found = []
    for row in rows_of(cell, cell["values"], cell["told"]):
        samples, measured = number(row, "measured_samples"), number(row, "measured_seconds")
        seconds = number(row, "epoch_seconds")
        if samples and measured and seconds and 1 <= (whole := round(samples * seconds / measured)) <= MOST:
            found.append(whole)
    return max(set(found), key=found.count) if found else None


def times(cells: "pd.DataFrame", seconds: "pd.Series", per_second: "pd.Series") -> "pd.DataFrame":
    """`cells` (one for each machine), the fastest first, with the `seconds` that the work takes, and samples or tokens
    `per_second`.

    The interval, lowest_seconds to highest_seconds, is the figure's half-width around the time. It is NaN where the
    half-width is not known, and has no lower end where that is 100% or more.
    """
    half = cells["half_width"]
    made = cells.assign(seconds=seconds, per_second=per_second)
    made["lowest_seconds"] = (seconds * (1 - half)).where(half < 1)
    made["highest_seconds"] = seconds * (1 + half)
    made[list(COSTS)] = math.nan
    return made.sort_values("seconds", kind="stable", ignore_index=True)


# ---- Money ----


def with_money(made: Work, compared: "pd.DataFrame", prices: Prices, rents: Prices) -> Work:
    """The work with what it costs: `prices` are of whole machines, `rents` of an hour.

    Adds to its machines: price; per_second_per_1000, samples or tokens per second for each 1,000 of the price;
    rent_per_hour; rent_per_run, what the work costs on a rented machine. For each rented machine there is one more
    column, PAYS_OFF and its key: after how many times of doing the work renting it has cost as much as buying. Energy,
    and what a machine sells for afterwards, are not in it.

    Raises Impossible for a name that is no machine's, or that of different ones, or of one without figures.
    """
    machines = made.machines.copy()
    machines["price"] = _of_machines(made, compared, prices, "--price")
    machines["rent_per_hour"] = _of_machines(made, compared, rents, "--rent")
    machines["per_second_per_1000"] = 1000 * machines["per_second"] / machines["price"]
    machines["rent_per_run"] = machines["rent_per_hour"] * machines["seconds"] / 3600
    for key, rent in zip(machines["machine"], machines["rent_per_run"], strict=True):
        if not math.isnan(rent):
            machines[PAYS_OFF + key] = _objects(
                None if math.isnan(price) else pays_off(price, rent) for price in machines["price"]
            )
    return made._replace(machines=machines)


def pays_off(price: float, rent_per_run: float) -> int:
    """After how many runs renting has cost as much as the `price`, or more."""
    # Without the last digits, in which floating point may be wrong: 30 runs of 0.1 cost 3, not a little less.
    return max(1, math.ceil(price / rent_per_run * (1 - 1e-12)))


def rented(machines: "pd.DataFrame") -> list[str]:
    """The columns of the rented machines, see `with_money`."""
    return [column for column in machines.columns.astype(str) if column.startswith(PAYS_OFF)]


def _objects(values: Iterable) -> "pd.Series":
    import pandas as pd

    return pd.Series(list(values), dtype=object)  # else whole numbers beside None would become floats


def _of_machines(made: Work, compared: "pd.DataFrame", given: Prices, option: str) -> "pd.Series":
    """The number of each machine of the work in the `given` ones, NaN for the others.

    Machines of the same name, cores and memory share it: a published one and a person's own, for example.
    """
    found: dict[str, float] = {}
    for name, value in given:
        called = _called(compared, name, option)
        label = called["machine_label"].iloc[0]
        here = set(called["machine"]) & set(made.machines["machine"])
        if not here:
            raise Impossible(f"{option}: {label} has figures of other tests, but not of {made.title}; leave it out")
        if here & found.keys():
            raise Impossible(f"{option}: {label} is named twice; name each machine once")
        found |= dict.fromkeys(here, value)
    return made.machines["machine"].map(found).astype(float)


def _called(compared: "pd.DataFrame", name: str, option: str) -> "pd.DataFrame":
    """A cell of each machine that is called `name`, see speeds.machines_called. All of them have the same label."""
    machines = compared[compared["count"] > 0].drop_duplicates("machine")
    called = machines[machines["machine_label"].str.lower() == name.lower()]
    if called.empty:
        called = machines[machines["machine"].isin(speeds.machines_called(compared, name))]
    labels = called["machine_label"].unique()
    if not len(labels):
        every = "; ".join(sorted(machines["machine_label"].unique()))
        raise Impossible(f"{option}: there is no machine {quoted(name)}; there are {every}")
    if len(labels) > 1:
        raise Impossible(f"{option}: {quoted(name)} may be {' or '.join(labels)}; write the whole name of one")
    return called


# ---- For programs ----


def records(made: Work) -> tuple[list[str], list[dict]]:
    """The keys of a record, and a record for each machine, unrounded. What is unknown is None."""
    machines = made.machines.rename(columns={"machine": "machine_key", "machine_label": "machine"})
    machines["model"] = machines["group"].where(machines["across"] == "model", machines["model"])
    machines["marks"] = [" ".join(marks) for marks in machines["marks"]]
    machines["warnings"] = [", ".join(warnings) for warnings in machines["warnings"]]
    asked = {
        "samples": made.amount if made.things == "samples" else None,
        "epochs": made.epochs if made.things == "samples" else None,
        "tokens": made.amount if made.things == "tokens" else None,
    }
    known = [*TIMES, *COSTS, *rented(machines)]
    plain = speeds.plain(machines[[*FACTS, *known]])
    keys = [*FACTS, *asked, *known]
    return keys, [{key: (asked | one)[key] for key in keys} for one in plain]
