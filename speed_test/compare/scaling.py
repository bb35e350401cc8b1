"""How well several processes work together: their speed over that of as many times one.

A figure of several processes has a partner, the same machine's figure of one process that is of the same kind in all
else, at the same batch size for each process (what is called weak scaling, by the step). Speed is what counts,
whichever way the figures go.
"""

from typing import TYPE_CHECKING

from speed_test.compare import shown
from speed_test.compare.facts import KIND, TEST
from speed_test.results import USUAL

if TYPE_CHECKING:
    import pandas as pd

TOGETHER = ("num_processes", "num_nodes")
ALIKE = [*TEST, "machine", *(column for column in KIND if column not in TOGETHER), "group"]
COLUMNS = ("scaling_speed", "scaling_efficiency", "scaling_half_width", "scaling_text")


def with_scaling(cells: "pd.DataFrame") -> "pd.DataFrame":
    """`cells` (see table.cells) with the speed of each figure of several processes against its partner's.

    Adds: scaling_speed (times as fast as one), scaling_efficiency (that over the number of processes),
    scaling_half_width (relative, of both), and scaling_text ("94% (1.87)", and its half-width on a second line).
    Without a partner they are NaN, and the text is empty.
    """
    is_one = cells["num_processes"] == USUAL["num_processes"]
    given = [*ALIKE, "median", "half_width"]
    both = cells[given].merge(cells.loc[is_one, given], how="left", on=ALIKE, suffixes=("", "_one"))
    both.index = cells.index
    times = (both["median_one"] / both["median"]).mask(is_one)
    cells["scaling_speed"] = times.where(cells["better"] == "lower", 1 / times)
    cells["scaling_efficiency"] = cells["scaling_speed"] / cells["num_processes"].astype(float)
    width = (both["half_width"] ** 2 + both["half_width_one"] ** 2) ** 0.5
    cells["scaling_half_width"] = width.where(cells["scaling_speed"].notna())
    texts = map(shown.scaling, *(cells[column] for column in COLUMNS[:3]))
    cells["scaling_text"] = list(texts)
    return cells
