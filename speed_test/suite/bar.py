"""The progress of the suite on the terminal: a bar for a speed test, and warnings above it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from speed_test import screen
from speed_test.suite.shares import time_text

if TYPE_CHECKING:
    from tqdm import tqdm


class Bar:
    """A bar for one speed test, named `text`. Without a terminal it is not shown."""

    def __init__(self, bar: "tqdm", text: str) -> None:
        self._bar = bar
        self._text = text

    def show(self, seconds: float, left: float | None) -> None:
        """Show how far the test is after so many `seconds`, and the time `left` for the whole suite (None: unknown)."""
        if self._bar.disable:
            return
        if self._bar.total and left is not None:
            self._bar.n = min(seconds, self._bar.total)
            self._bar.bar_format = f"{self._text} |{{bar}}| {time_text(max(left, 0))} left"
        else:
            self._bar.bar_format = f"{self._text} ... {time_text(seconds)}"
        self._bar.refresh()

    def warn(self, text: str) -> None:
        """Print a warning above the bar."""
        self._bar.clear()
        screen.warn(text)
        self._bar.refresh()


@contextmanager
def bar(text: str, total: float | None) -> Iterator[Bar]:
    """A bar named `text` for a test that is given `total` seconds (None: unknown); removed at the end."""
    from tqdm import tqdm

    with tqdm(total=total, bar_format=text, dynamic_ncols=True, leave=False, disable=None) as shown:
        yield Bar(shown, text)
