"""Opening CSVs that anybody may have made, and cutting them into cells. None of them may hang or break the others."""

import csv
import io
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from speed_test.compare.cells import quoted
from speed_test.results import LARGEST, MOST_ROWS

MOST_COLUMNS = 1_000
DEEPEST = 20  # folders in folders
# Opening a named pipe waits for its other end, unless it is opened so. Windows has no such pipes among its files.
FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
KINDS = {
    stat.S_IFDIR: "folder",
    stat.S_IFIFO: "named pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}


class Unreadable(Exception):
    """A file that holds no measurements. Its text completes "it ..."."""


class Content(NamedTuple):
    """The text of a CSV, its header, and its other rows with the number of the line that each ends on."""

    text: str
    columns: list[str]
    rows: list[tuple[int, list[str]]]


def find(paths: Iterable[Path]) -> list[Path]:
    """The CSVs that `paths` are or hold, each once, and the folders in them that cannot be read.

    Raises OSError for a path that is not there or cannot be reached, and ValueError for one that no system has.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if stat.S_ISDIR(os.stat(path).st_mode):
            found |= dict.fromkeys(sorted(_below(path)))
        else:
            found[path] = None
    return list(found)


def _below(folder: Path) -> Iterator[Path]:
    """All that is called .csv in a folder and the folders in it, whatever it is, and folders that cannot be read or lie
    too deep. os.walk would run into Python's limit of recursion in Python 3.11."""
    waiting = [(folder, 0)]
    while waiting:
        place, depth = waiting.pop()
        try:
            with os.scandir(place) as entries:
                found = list(entries)
        except OSError:
            yield place
            continue
        for entry in found:
            if entry.name.lower().endswith(".csv"):
                yield Path(entry.path)
            if _is_folder(entry):
                if depth < DEEPEST:
                    waiting.append((Path(entry.path), depth + 1))
                else:
                    yield Path(entry.path)


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def content(path: Path) -> Content:
    """What a CSV holds. Raises Unreadable if that is no table."""
    text = _text(path)
    rows = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""))
    try:
        columns = next(rows, [])
        body = [(rows.line_num, row) for row, _ in zip(rows, range(MOST_ROWS + 1), strict=False)]
    except csv.Error as error:
        raise Unreadable(f"is no CSV ({error})") from None
    if len(body) > MOST_ROWS:
        raise Unreadable(f"has more than {MOST_ROWS:,} rows")
    if not text.strip("\ufeff"):
        raise Unreadable("is empty")
    if "\0" in "".join(columns):
        raise Unreadable("is not text in UTF-8 (its first line has NUL bytes)")
    if len(columns) > MOST_COLUMNS:
        raise Unreadable(f"has {len(columns):,} columns; at most {MOST_COLUMNS:,} are read")
    if not "".join(columns).isprintable():
        raise Unreadable("has control characters in its first line")
    twice = [column for place, column in enumerate(columns) if column in columns[:place]]
    if twice:
        raise Unreadable(f"has the column {quoted(twice[0])} twice")
    return Content(text, columns, [(number, row) for number, row in body if row])


def _text(path: Path) -> str:
    try:
        data = _bytes(path)
    except OSError as error:
        raise Unreadable(f"cannot be read ({error.strerror})") from None
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise Unreadable("is not text in UTF-8 (it begins as UTF-16 does)")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise Unreadable("is not text in UTF-8") from None


def _bytes(path: Path) -> bytes:
    # Looked at before it is opened, since opening a device may do something, and again after that: it may be another.
    _check_kind(path, os.stat(path))
    with open(os.open(path, FLAGS), "rb") as file:
        _check_kind(path, os.fstat(file.fileno()))
        data = file.read(LARGEST + 1)  # what its size says may be untrue by now
    if len(data) > LARGEST:
        raise Unreadable(f"is larger than {LARGEST // 2**20} MB")
    return data


def _check_kind(path: Path, status: os.stat_result) -> None:
    """Raise Unreadable for what is no file, or a file that is too large. Raises OSError for a folder out of reach."""
    if stat.S_ISDIR(status.st_mode):
        os.scandir(path).close()  # raises what hinders reading it, which is better to know
    if not stat.S_ISREG(status.st_mode):
        raise Unreadable(f"is a {KINDS.get(stat.S_IFMT(status.st_mode), 'special file')}, no file")
    if status.st_size > LARGEST:
        raise Unreadable(f"is larger than {LARGEST // 2**20} MB")
