"""--until: measure until a figure is sure."""

from collections.abc import Iterable

from speed_test import screen, steady


class Until:
    """Tells when the half-width of a figure is within `target`, such as 0.02; None: never.

    It looks after 10, 20, 40, ... blocks only. Looking all the time would stop at the first lucky moment. `row_is` is
    what a row measures, and `batch_size` the batch size, if there is one.
    """

    def __init__(self, target: float | None, row_is: str, batch_size: int | None) -> None:
        self._target = target
        self._row_is = row_is
        self._at = f"batch size {batch_size}: " if batch_size else ""
        self._rates: list[float] = []  # of all blocks so far
        self._look = steady.next_look(0)
        self._half_widths: list[float | None] = []  # at each look

    def enough(self, rates: Iterable[float], is_last: bool) -> str:
        """Why the measurement ends here, with the `rates` of new blocks, as a line to print; "" if it goes on.

        `is_last`: it ends here in any case.
        """
        self._rates += rates
        if not self._target or (len(self._rates) < self._look and not is_last):
            return ""
        self._look = steady.next_look(len(self._rates))
        self._half_widths.append(steady.interval(self._rates).half_width if self._rates else None)
        why = steady.stop(self._half_widths, self._target) or ("last" if is_last else None)
        if not why:
            return ""
        texts = {
            "sure": "sure enough",
            "noise": "no surer, for the noise shrinks no further",
            "last": f"no surer at the last {self._row_is}",
        }
        blocks = screen.count(len(self._rates), "block")
        width = self._half_widths[-1]
        reached = f"{blocks}, too few to tell" if width is None else f"\N{PLUS-MINUS SIGN}{width:.1%} after {blocks}"
        return f"{self._at}{texts[why]} (--until={100 * self._target:.3g}%): {reached}"
