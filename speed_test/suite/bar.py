"""The progress of the suite on the terminal: a bar for a speed test, and lines above it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from speed_test import screen

if TYPE_CHECKING:
    from tqdm import tqdm


class Bar:
    """A bar for one speed test. Without a terminal it is not shown."""

    def __init__(self, bar: "tqdm", text: str) -> None:
        self._bar = bar
        self._text = text

    def show(self, seconds: float, left: float | None) -> None:
        """Show how far the test is after so many `seconds`, and the time `left` for the whole suite (None: unknown)."""
        if self._bar.disable:
            return
        if self._bar.total and left is not None:
            self._bar.n = min(seconds, self._bar.total)
            self._bar.bar_format = f"{self._text} |{{bar}}| {screen.duration(max(left, 0))} left"
        else:
            self._bar.bar_format = f"{self._text}, {screen.duration(seconds)} ..."
        self._bar.refresh()

    def warn(self, text: str) -> None:
        """Print a warning above the bar."""
        self._bar.clear()
        screen.warn(text)
        self._bar.refresh()


@contextmanager
def bar(text: str, total: float | None) -> Iterator[Bar]:
    """A bar named `text` for a test that is given `total` seconds (None: unknown); removed at the end."""
    with screen.progress_bar(text, None if total is None else round(total), "s") as shown:
        yield Bar(shown, text)
