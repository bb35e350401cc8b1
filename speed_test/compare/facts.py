"""The DataFrame's columns: what is known of a measurement beside its figure."""

from operator import itemgetter
from typing import NamedTuple

from speed_test.results import HOST, SWITCHES, TEST

# What kind of figure it is. Two rows of a machine that differ here are never pooled. `source` is "measured" (with
# these scripts), "older" (with those that this project continues) or "published".
KIND = ("source", "data", "estimated", *SWITCHES, "device", *HOST, "measurement_version")
MACHINE = ("machine", "machine_name", "machine_label")
# `group` is what stands across a table, as text: the batch size, or the model, or "all" of a test that has neither;
# `across` says which ("batch size", "model" or ""). To these the DataFrame adds `value`, which is None if status is not
# "ok", `told` (see Told), and `kind`, a number: figures of the same kind are pooled.
FACTS = (*TEST, *KIND, *MACHINE, "group", "across", "batch_size", "status")

# For rows that were written before these columns existed.
DEFAULTS = {**dict.fromkeys((*TEST, *KIND), ""), "measurement_version": "1", "source": "measured"}

Row = dict[str, str]


class Told(NamedTuple):
    """What else a row says, for its grade: names of columns, and their cells. "" is unknown."""

    columns: tuple[str, ...] = ()
    cells: tuple[str, ...] = ()


class Measurement(NamedTuple):
    """The values of FACTS, the figure (None if it did not work), and what else the row says."""

    facts: tuple
    value: float | None
    told: Told = Told()


class Machine(NamedTuple):
    """`machine` tells it from every other, `machine_name` is short, `machine_label` says cores and memory as well."""

    machine: str
    machine_name: str
    machine_label: str


_pick = itemgetter(*TEST, *KIND)


def facts_of(cell: Row, machine: Machine, group: int | str | None, status: str) -> tuple:
    """The values of FACTS. `cell` has at least the columns of TEST and KIND.

    `group` is a batch size, the name of a model, or None.
    """
    batch_size = group if isinstance(group, int) else None
    across = "batch size" if batch_size else "model" if group else ""
    return (*_pick(cell), *machine, str(group or "all"), across, batch_size, status)
