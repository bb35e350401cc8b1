"""What a person sees: lines, warnings, aligned tables, progress bars, and numbers as people write them.

Imports nothing of ours, so that every other module may print.
"""

import contextlib
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from tqdm import tqdm


def open_streams() -> None:
    """Make sure that this process can print, even if it was started without a terminal or to one without Unicode."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever has started us, as `2>&-` does
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - open as long as the process lives
        getattr(sys, name).reconfigure(errors="backslashreplace")


def _print(text: str, stream: TextIO, end: str = "\n") -> None:
    """Print at once, also into a pipe. If nobody reads any more (`| head`) or the disk is full, go on in silence:
    the measurements go into the CSV."""
    try:
        print(text, end=end, file=stream, flush=True)
    except OSError:
        # Replaces the file descriptor itself, so that Python's own flush at exit does not fail either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def say(text: str = "", end: str = "\n") -> None:
    """Print to standard output."""
    _print(text, sys.stdout, end)


def error(text: str) -> None:
    """Print to standard error."""
    _print(text, sys.stderr)


def warn(text: str) -> None:
    """Print to standard error, marked as a warning."""
    _print(f"WARNING: {text}", sys.stderr)


@contextlib.contextmanager
def working(text: str) -> Iterator[None]:
    """Show `text` on the terminal while something slow goes on, and remove it again."""
    if not sys.stderr.isatty():
        yield
        return
    _print(text + " ...", sys.stderr, end="\r")
    try:
        yield
    finally:
        _print(" " * (len(text) + 4), sys.stderr, end="\r")


def progress_bar(description: str, total: int | None, unit: str, hidden: bool = False) -> "tqdm":
    """A progress bar with the time left, `total` units long. Not shown if `hidden`, or without a terminal."""
    from tqdm import tqdm

    return tqdm(
        desc=description,
        total=total,
        unit="B" if unit == "bytes" else f" {unit}",
        unit_scale=unit == "bytes",
        bar_format="{desc}: {percentage:3.0f}%|{bar}| {rate_fmt}, {remaining} left",
        mininterval=0.5,
        dynamic_ncols=True,
        leave=False,
        disable=True if hidden else None,
    )


def aligned(lines: Sequence[Sequence[str]], left: Iterable[int] = (0,), gap: int = 2) -> list[str]:
    """The cells of `lines` in columns of equal width, `gap` apart: those in `left` flush left, the others flush right.

    Column numbers may be negative, as indices are. All lines have the same number of cells.
    """
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    flush_left = {number % len(widths) for number in left} if widths else set()
    return [
        (" " * gap)
        .join(
            cell.ljust(width) if number in flush_left else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        .rstrip()
        for line in lines
    ]


def one_line(message: object, longest: int = 300) -> str:
    """A library's message on one line of at most `longest` characters, without TensorFlow's names of graph nodes."""
    text = re.sub(r"\{\{.*?\}\}|\[\[.*?\]\]|\[Op:.*?\]", "", str(message))
    return " ".join(text.split())[:longest].removesuffix(" name:")


def count(number: int, noun: str) -> str:
    """ "1 epoch", "2 epochs" """
    return f"{number:,} {noun}" + ("s" if number != 1 else "")


def number(value: float) -> str:
    """A measured number as people write it: "1,158", "43.2", "0.053"."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 1 or value <= 0 else f"{value:.2g}"


def duration(seconds: float) -> str:
    """Seconds as a person says them: "45 s", "12 min", "3 h 20 min"."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
