"""The summary as a picture of 1200x630 pixels, the size in which sites show the picture of a link.

It stands alone: whoever sees it knows which machine it is, when and with what it was measured, and how to do the same.
It is often shown at half its size, so no letter is smaller than 20 pixels.
"""

import io
import math
import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speed_test import replaced
from speed_test.compare.cells import one_line
from speed_test.compare.charts import FAILED, MEASURED
from speed_test.compare.shown import percent
from speed_test.screen import count
from speed_test.suite.shown import COMMAND, PROJECT, software, times, verdict, why

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from speed_test.suite.summary import Line, Summary

WIDTH, HEIGHT, DPI = 1200, 630, 100
MARGIN = 36
# Faster and slower than the baseline: the blue and the orange of charts.py, which colour-blind people tell apart.
FASTER, SLOWER = MEASURED[0], MEASURED[1]
ON_WHITE = {"facecolor": "white", "edgecolor": "none", "pad": 1}
INK, QUIET, GRID = "#1A1A1A", "#595959", "#D0D0D0"
# Pixels, from the top or the left.
ROWS_TOP, ROWS_BOTTOM = 168, 558
TALLEST_ROW = 56
MOST_ROWS = 9  # more would be too small to read
LETTERS_ACROSS, LINE = 96, 29  # of the verdict
LONG_NAME = 30  # letters; a longer name of a machine has two lines
BARS_LEFT, BARS_RIGHT = 350, 850
FIGURES_LEFT, GRADE = 880, WIDTH - MARGIN - 12
SPEED_ROOM = 96  # for a speed at the end of its bar
TICK_ROOM = 60
LEAST_RANGE = 2  # a scale reaches at least from half to twice the baseline, so that 1% is no long bar
SHORT_UNITS = {"seconds per epoch": "s/epoch", "tokens per second (answer by total time)": "tokens/s"}


def draw(summary: "Summary", path: Path) -> None:
    """Write the card to `path`, a .png. Raises OSError if that cannot be done."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    image = io.BytesIO()
    # Letters that the font lacks are drawn as boxes; each would be warned of.
    with warnings.catch_warnings(action="ignore", category=UserWarning):
        _draw_heading(figure, summary)
        _draw_tests(figure, summary)
        _draw_foot(figure, summary)
        figure.savefig(image, format="png", dpi=DPI)
    path.parent.mkdir(parents=True, exist_ok=True)
    replaced.write(path, image.getvalue())


# ---- Drawing, in pixels from the upper left ----


def _write(
    figure: "Figure", text: str, x: float, y: float, size: float, room: float | None = None, **look: Any
) -> float:
    """Write a text whose letters are `size` pixels high, with its middle at the height `y`; return how wide it is.

    If it is wider than `room`, its letters get smaller, down to 20 pixels, and then its end is cut off.
    """
    text = one_line(text)
    # Points are 1/72 inch. No mathematics: a "$" in a stranger's text is a "$".
    written = figure.text(
        x / WIDTH,
        1 - y / HEIGHT,
        text,
        **{"fontsize": size * 72 / DPI, "va": "center_baseline", "color": INK, "parse_math": False, **look},
    )

    def wide() -> float:
        return written.get_window_extent().width

    while room is not None and wide() > room and size > 20:
        size -= 1
        written.set_fontsize(size * 72 / DPI)
    while room is not None and wide() > room and text:
        text = text[:-1].rstrip()
        written.set_text(f"{text}…")
    return wide()


def _rectangle(figure: "Figure", left: float, top: float, right: float, bottom: float, **look: Any) -> None:
    from matplotlib.patches import Rectangle

    corner = (left / WIDTH, 1 - bottom / HEIGHT)
    figure.add_artist(Rectangle(corner, (right - left) / WIDTH, (bottom - top) / HEIGHT, **look))


def _upright(figure: "Figure", x: float, top: float, bottom: float, **look: Any) -> None:
    from matplotlib.lines import Line2D

    figure.add_artist(Line2D([x / WIDTH] * 2, [1 - top / HEIGHT, 1 - bottom / HEIGHT], **look))


# ---- Its parts ----


def _draw_heading(figure: "Figure", summary: "Summary") -> None:
    """The machine and its software, and on the right the speed over all tests."""
    room: float = WIDTH - 2 * MARGIN
    if summary.overall is not None:
        look: dict[str, Any] = {"ha": "right", "color": QUIET}
        overall = f"{times(summary.overall)}\N{MULTIPLICATION SIGN}"
        whose = f"the {_name(summary.baseline)}'s speed"
        tests = summary.overall_tests
        mean = f"geometric mean of {tests} tests" if tests > 1 else "in one test"
        right = WIDTH - MARGIN
        wide = [
            _write(figure, overall, right, 46, 56, ha="right", fontweight="bold"),
            _write(figure, whose, right, 90, 21, 420, **look),
            _write(figure, mean, right, 117, 21, **look),
        ]
        room -= max(wide) + 30
    if len(summary.name) <= LONG_NAME:
        _write(figure, summary.name, MARGIN, 46, 46, room, fontweight="bold")
    else:
        lines = textwrap.wrap(summary.name, max(LONG_NAME, len(summary.name) // 2 + 5), break_on_hyphens=False)
        _write(figure, lines[0], MARGIN, 28, 30, room, fontweight="bold")
        _write(figure, " ".join(lines[1:]), MARGIN, 60, 30, room, fontweight="bold")
    _write(figure, summary.facts, MARGIN, 92, 23, room)
    _write(figure, software(summary, zone=""), MARGIN, 119, 21, room, color=QUIET)


def _name(baseline: str) -> str:
    """Without what stands in brackets behind it: that is written at the bars."""
    return baseline.partition(" (")[0]


def _draw_tests(figure: "Figure", summary: "Summary") -> None:
    """A row for each test: its bar against the baseline, its figure, and its grade."""
    tests = list(summary.tests)
    more = len(tests) - MOST_ROWS
    shown = tests if more <= 0 else tests[: MOST_ROWS - 1]
    height = min(TALLEST_ROW, (ROWS_BOTTOM - ROWS_TOP) / max(len(shown) + (more > 0), 1))
    bottom = ROWS_TOP + height * len(shown)
    scale = _Scale([line.speed for line in shown if line.speed is not None])
    if scale.speeds:
        _draw_scale(figure, summary.baseline, scale, bottom)
    if any(line.grade for line in shown):
        _write(figure, "grade", WIDTH - MARGIN, ROWS_TOP - 18, 20, color=QUIET, ha="right")
    for place, line in enumerate(shown):
        _draw_test(figure, line, scale, ROWS_TOP + height * (place + 0.5), height)
    if more > 0:
        text = f"and {count(len(tests) - len(shown), 'more test')}"
        _write(figure, text, MARGIN, bottom + height / 2, 20, color=QUIET)
    _draw_verdict(figure, verdict(summary), bottom + 44)


def _draw_verdict(figure: "Figure", sentences: Sequence[str], top: float) -> None:
    """The verdict, if few tests leave room for it."""
    lines = [line for sentence in sentences for line in textwrap.wrap(sentence, LETTERS_ACROSS)]
    if top + LINE * len(lines) <= ROWS_BOTTOM + LINE:
        for place, line in enumerate(lines):
            _write(figure, line, MARGIN, top + LINE * (place + 0.5), 20, WIDTH - 2 * MARGIN)


class _Scale:
    """A logarithmic scale, on which twice as fast and half as fast are bars of the same length.

    A linear one would hide what is 100 times slower beside what is 10 times faster.
    """

    def __init__(self, speeds: Sequence[float]) -> None:
        self.speeds = speeds
        slower, faster = any(speed < 1 for speed in speeds), any(speed >= 1 for speed in speeds)
        self._left = BARS_LEFT + (SPEED_ROOM if slower else 20)
        self._right = BARS_RIGHT - (SPEED_ROOM if faster else 20)
        self.low = math.log10(min([1 / LEAST_RANGE, *speeds])) if slower else 0.0
        self.high = math.log10(max([LEAST_RANGE, *speeds])) if faster else 0.0

    def __call__(self, speed: float) -> float:
        """Where a speed is, in pixels from the left."""
        return self._left + (self._right - self._left) * (math.log10(speed) - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Powers of ten inside the scale, or where there are few of them 2 and 5 times these as well."""
        powers = range(math.floor(self.low), math.ceil(self.high) + 1)
        few = self.high - self.low < 2
        steps = [step * 10.0**power for power in powers for step in ((1, 2, 5) if few else (1,))]
        return [step for step in steps if self.low <= math.log10(step) <= self.high and step != 1]


def _draw_scale(figure: "Figure", baseline: str, scale: _Scale, bottom: float) -> None:
    one = scale(1)
    labelled = [one]
    for tick in sorted(scale.ticks(), key=lambda tick: (math.log10(tick) % 1 > 0, abs(math.log10(tick)))):
        x = scale(tick)
        if min(abs(x - other) for other in labelled) >= TICK_ROOM:
            labelled.append(x)
            _upright(figure, x, ROWS_TOP, bottom, color=GRID, linewidth=1, zorder=0)
            _write(figure, f"{tick:,g}", x, bottom + 14, 20, color=QUIET, ha="center")
    _upright(figure, one, ROWS_TOP - 4, bottom + 2, color=INK, linewidth=2.2)
    _write(figure, "1", one, bottom + 14, 20, ha="center")
    room = 2 * min(one - MARGIN, GRADE - 60 - one)
    _write(figure, f"{baseline} = 1", one, ROWS_TOP - 19, 20, room, ha="center")


def _draw_test(figure: "Figure", line: "Line", scale: _Scale, y: float, height: float) -> None:
    title, _, framework = line.title.rpartition(", ")
    if title and height >= 44:
        _write(figure, title, MARGIN, y - 11, 21, BARS_LEFT - MARGIN - 10)
        _write(figure, framework, MARGIN, y + 13, 20, BARS_LEFT - MARGIN - 10, color=QUIET)
    else:
        _write(figure, line.title, MARGIN, y, 21, BARS_LEFT - MARGIN - 10)
    if line.figure is None:
        room = WIDTH - MARGIN - BARS_LEFT - 10
        _write(figure, why(line), BARS_LEFT + 10, y, 20, room, color=FAILED, fontstyle="italic", bbox=ON_WHITE)
        return
    if line.speed is not None:
        _draw_bar(figure, line.speed, line.speed_text, scale, y, height)
    star = "*" if "estimated" in line.marks else ""
    unit = SHORT_UNITS.get(line.unit, line.unit)
    text = " ".join(filter(None, [f"{line.text}{star} {unit}", _percent(line)]))
    _write(figure, text, FIGURES_LEFT, y, 21, GRADE - 30 - FIGURES_LEFT)
    _write(figure, line.grade, GRADE, y, 24, fontweight="bold", ha="center")


def _percent(line: "Line") -> str:
    return "" if line.half_width is None else percent(line.half_width)


def _draw_bar(figure: "Figure", speed: float, text: str, scale: _Scale, y: float, height: float) -> None:
    ends = sorted((scale(1), scale(speed)))
    half = min(17, 0.36 * height)
    _rectangle(figure, ends[0], y - half, ends[1], y + half, color=FASTER if speed >= 1 else SLOWER, linewidth=0)
    place, flush = (ends[1] + 7, "left") if speed >= 1 else (ends[0] - 7, "right")
    _write(figure, text, place, y, 21, SPEED_ROOM, ha=flush, fontweight="bold", bbox=ON_WHITE)


def _draw_foot(figure: "Figure", summary: "Summary") -> None:
    """What the marks mean, and how to measure the same."""
    done = [line for line in summary.tests if line.figure is not None]
    marks = dict.fromkeys(mark for line in done for mark in line.marks if mark != "estimated")
    notes = [mark if all(mark in line.marks for line in done) else f"some {mark}" for mark in marks]
    notes = [f"{note} data" if note.endswith("synthetic") else note for note in notes]
    if done and "synthetic" not in marks:
        notes.insert(0, "real data")
    if any("estimated" in line.marks for line in done):
        notes.append("* estimated from a part")
    if any(line.speed is not None for line in done):
        notes.append("bars: logarithmic scale")
    own = _write(figure, f"{PROJECT}: {COMMAND}", WIDTH - MARGIN, HEIGHT - 26, 21, ha="right", fontweight="bold")
    _write(figure, ", ".join(notes), MARGIN, HEIGHT - 26, 20, WIDTH - 2 * MARGIN - own - 30, color=QUIET)
