"""How the work of a training test is done: the precision of its numbers, whether it is compiled, and how images lie in
memory. The defaults are the same everywhere; anything else is another kind of figure, never pooled with theirs.
"""

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from speed_test.command_line import Options

# tf32 is float32 whose convolutions and matrix products round their input to 10 bits of fraction; the other two are
# "mixed": weights stay float32, and most of the work is done in 16 bits.
PRECISIONS = ("float32", "tf32", "bfloat16", "float16")
# The unit roundoff: half of the distance from 1 to the next larger number. Bits of fraction: 23, 10, 7, 10.
# https://docs.nvidia.com/cuda/floating-point/, https://en.wikipedia.org/wiki/Bfloat16_floating-point_format
ROUNDOFF = {"float32": 2.0**-24, "tf32": 2.0**-11, "bfloat16": 2.0**-8, "float16": 2.0**-11}


class Switches(NamedTuple):
    """One way to do the work."""

    precision: str = "float32"
    compile: bool = False
    channels_last: bool = False

    @property
    def words(self) -> str:
        """ "bfloat16, compiled, channels last" """
        more = (("compiled", self.compile), ("channels last", self.channels_last))
        return ", ".join([self.precision, *(word for word, on in more if on)])


DEFAULT = Switches()


def of(options: "Options") -> Switches:
    """The switches that the options say."""
    return Switches(options.precision, options.compile, options.channels_last)


def columns(offered: tuple[str, ...], options: "Options", usual_precision: str) -> dict[str, object]:
    """The columns on how the work is done. Those of switches that a test does not offer stay empty, but for its
    precision."""
    return {
        "precision": options.precision if "precision" in offered else usual_precision,
        "channels_last": options.channels_last if "channels_last" in offered else None,
    }


def compiled(offered: tuple[str, ...], options: "Options", unasked: bool) -> dict[str, object]:
    """The column on compiling, for --resume and for failures; a row that worked has it from its child. `unasked`: one
    process on this device compiles also without --compile."""
    return {"compiled": options.compile or (unasked and options.processes == 1)} if "compile" in offered else {}


def combinations(offered: tuple[str, ...]) -> Iterator[Switches]:
    """All combinations of the switches that a test offers (see Experiment.switches), the default first."""
    precisions = PRECISIONS if "precision" in offered else PRECISIONS[:1]
    onoff = {name: (False, True) if name in offered else (False,) for name in ("compile", "channels_last")}
    yield from itertools.starmap(Switches, itertools.product(precisions, onoff["compile"], onoff["channels_last"]))
