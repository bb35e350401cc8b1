"""What a person sees: lines, warnings, aligned tables, progress bars, and numbers as people write them.

Imports nothing of ours, so that every other module may print.
"""

import contextlib
import os
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from io import RawIOBase
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from tqdm import tqdm

# Control characters could move the cursor, change colours or hide text; strangers' files may hold them.
# The last ones turn the direction of writing round.
_CONTROL_CODES = (*range(32), *range(127, 160), 0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
CONTROL = {code: "\N{REPLACEMENT CHARACTER}" for code in _CONTROL_CODES if chr(code) not in "\n\t"}

LONGEST = 20_000  # characters that are looked at: a stranger's text may have millions

WIDE_BAR = "{desc}: {percentage:3.0f}%|{bar}| {rate_fmt}, {remaining} left"
NARROW_BAR = "{desc} |{bar}| {remaining} left"


def open_streams() -> None:
    """Make sure that this process can print, even if it was started without a terminal or to one without Unicode."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever has started us, as `2>&-` does
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - open as long as the process lives
        getattr(sys, name).reconfigure(errors="backslashreplace")


# What standard output and standard error have refused, to be tried again.
_waiting: dict[str, bytes] = {}


def close_streams() -> None:
    """Print what still waits, at the end of the process. What nobody takes is dropped."""
    for name in ("stdout", "stderr"):
        if not _print("", name, end=""):
            _silence(getattr(sys, name))


def _print(text: str, name: str, end: str = "\n") -> bool:
    """Print at once, also into a pipe; return whether that worked.

    If the disk is full, the text is kept and tried again with the next one. If nobody reads any more (`| head`),
    everything that follows is dropped: the measurements go into the CSV.
    """
    stream, text = getattr(sys, name), text.translate(CONTROL) + end
    # Without Python's buffer, which loses what it could not write.
    buffer = getattr(stream, "buffer", None)
    raw = getattr(buffer, "raw", buffer)  # with `python -u`, the two are one
    if not isinstance(raw, RawIOBase):  # a stream of a test, or of a notebook
        print(text, end="", file=stream, flush=True)
        return True
    content = _waiting.pop(name, b"") + text.replace("\n", os.linesep).encode(stream.encoding, "backslashreplace")
    try:
        stream.flush()
        while content:
            content = content[_write(raw, content) :]
    except BrokenPipeError:
        _silence(stream)
        return False
    except OSError:
        _waiting[name] = content
        return False
    return True


def _write(raw: RawIOBase, content: bytes) -> int:
    """Write some of `content`, and return how much. Raises OSError if that is nothing."""
    written = raw.write(content)
    if not written:
        raise BlockingIOError
    return written


def _silence(stream: TextIO) -> None:
    """Send a stream to nowhere, by its file descriptor, so that nothing that waits in it can fail either."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def silence() -> None:
    """Print nothing from here on, nor let a child do so: another process speaks for this one."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # of a test, or closed
            stream.flush()
            _silence(stream)


def say(text: str = "", end: str = "\n") -> bool:
    """Print to standard output; return whether that worked."""
    return _print(text, "stdout", end)


def error(text: str) -> bool:
    """Print to standard error; return whether that worked."""
    return _print(text, "stderr")


def warn(text: str) -> None:
    """Print to standard error, marked as a warning."""
    _print(f"WARNING: {text}", "stderr")


@contextlib.contextmanager
def working(text: str) -> Iterator[None]:
    """Show `text` on the terminal while something slow goes on, and remove it again."""
    if not sys.stderr.isatty():
        yield
        return
    _print(text + " ...", "stderr", end="\r")
    try:
        yield
    finally:
        _print(" " * (len(text) + 4), "stderr", end="\r")


def _columns(stream: TextIO) -> int:
    """The width of the terminal that a stream goes to; 80 if it goes elsewhere."""
    try:
        return os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        return 80


def say_sentence(text: str, indent: int = 0) -> None:
    """Print to standard output, on as many lines as the terminal needs, the later ones so far to the right."""
    width = max(_columns(sys.stdout), 40)
    for line in textwrap.wrap(text, width, break_on_hyphens=False, subsequent_indent=" " * indent):
        say(line)


def progress_bar(description: str, total: int | None, unit: str, hidden: bool = False) -> "tqdm":
    """A progress bar with the time left, `total` units long. Not shown if `hidden`, or without a terminal."""
    from tqdm import tqdm

    return tqdm(
        desc=description,
        total=total,
        unit="B" if unit == "bytes" else f" {unit}",
        unit_scale=unit == "bytes",
        bar_format=WIDE_BAR if _columns(sys.stderr) >= 80 else NARROW_BAR,
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
    """A library's message on one line of at most `longest` characters, without control characters and without
    TensorFlow's names of graph nodes."""
    text = re.sub(r"\{\{[^{}]*\}\}|\[\[[^\[\]]*\]\]|\[Op:[^\[\]]*\]", "", str(message)[:LONGEST])
    return " ".join(text.split()).translate(CONTROL)[:longest].removesuffix(" name:")


def reason(error: BaseException) -> str:
    """What went wrong, in a few words: the system's, or the library's, and never "None"."""
    return getattr(error, "strerror", None) or one_line(error) or type(error).__name__


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


def exact_duration(seconds: float) -> str:
    """Seconds as --budget takes them: "90s", "4m", "1h30m"."""
    whole, rest = divmod(seconds, 60)
    if rest or whole < 2:
        return f"{seconds:.12g}s"
    hours, minutes = divmod(int(whole), 60)
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if minutes else "")
