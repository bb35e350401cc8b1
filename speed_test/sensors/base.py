"""What the sensors share: when they are read, commands, and counters that only ever go up.

A sensor is called with the moment and returns columns of a row: those that it can tell now. It may raise whatever it
likes; the monitor in state.py then leaves it out from there on.
"""

import os
import subprocess
import time
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

GIB = 2**30
SHORTEST_WINDOW = 2.0  # seconds; the kernel counts CPU time in ticks of 10 ms, so this is half a percent of a core
SHORTEST_EPOCH = 0.5  # seconds; below it a tick is 2% of a core and more
QUIET = 5.0  # percent of a GPU: what showing a desktop takes

Columns = dict[str, object]
Counters = TypeVar("Counters")


class Moment(Enum):
    """BEGIN and END: between two epochs, while our own work is idle. BETWEEN: in the middle of an epoch."""

    BEGIN = "begin"
    BETWEEN = "between"
    END = "end"


class Sensor(NamedTuple):
    """What to call, and the seconds between two calls within an epoch. Each is read at its begin and end, too."""

    read: Callable[[Moment], Columns]
    every: float = 0.0


SELDOM = 30.0  # for what changes seldom or costs much
EDGES = float("inf")  # only at the begin and the end of an epoch


def output(*command: str, timeout: float = 2.0) -> str:
    """What `command` prints, in English and with decimal points.

    Raises OSError if there is no such command, and subprocess.TimeoutExpired after `timeout` seconds.
    """
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=timeout,
        env={**os.environ, "LC_ALL": "C"},
    ).stdout


def text(path: Path) -> str:
    """What a file of the kernel holds, without the blanks around it; "" if it is missing or may not be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def number(path: Path) -> int | None:
    """The whole number in a file of the kernel; None if there is none."""
    found = text(path)
    return int(found) if found.isdecimal() else None


class Growth:
    """How far a counter has grown since the epoch began: a sensor of one column.

    `read()` returns the counter, or None where it cannot be read. Growth of less than `smallest` is 0.
    """

    def __init__(self, read: Callable[[], float | None], column: str, smallest: float = 0.0) -> None:
        self._read = read
        self._column = column
        self._smallest = smallest
        self._start: float | None = None

    def __call__(self, moment: Moment) -> Columns:
        """The growth so far. From an END on, it counts anew."""
        value = self._read()
        if value is None:
            return {}
        start = self._start
        if start is None or moment is not Moment.BETWEEN:
            self._start = value
        if start is None or moment is Moment.BEGIN:
            return {}
        growth = value - start
        return {self._column: growth if growth >= max(self._smallest, 0.0) else 0.0}


class Windows(Generic[Counters]):
    """Rates of counters over windows of at least about 2 seconds: a sensor of the columns that `rates` returns.

    `read()` returns the counters, or None where they cannot be read, and `rates(before, after, seconds)` the columns.
    """

    def __init__(
        self,
        read: Callable[[], Counters | None],
        rates: Callable[[Counters, Counters, float], Columns],
    ) -> None:
        self._read = read
        self._rates = rates
        self._marks: list[tuple[float, Counters]] = []  # where the last two windows began

    def __call__(self, moment: Moment) -> Columns:
        """The columns of the window that ends now; none where it is too short to tell."""
        counters = self._read()
        now = time.monotonic()
        if counters is None:
            return {}
        if not self._marks or moment is Moment.BEGIN:
            self._marks = [(now, counters)]
            return {}
        begin, before = self._marks[-1]
        if now - begin < SHORTEST_WINDOW:
            if moment is Moment.BETWEEN:
                return {}
            begin, before = self._marks[0]  # what is left at the end of an epoch joins the window before it
        self._marks = [(now, counters)] if moment is Moment.END else [self._marks[-1], (now, counters)]
        return self._rates(before, counters, now - begin) if now - begin >= SHORTEST_EPOCH else {}


def asleep_seconds() -> float | None:
    """How far a clock that goes on while the machine sleeps is ahead of one that stands still then.

    The wall clock is asked only where there is no such pair: a new virtual machine's is often set by hours.
    """
    if hasattr(time, "CLOCK_UPTIME_RAW"):  # macOS, clock_gettime(3): two clocks that NTP does not slew
        return time.clock_gettime(time.CLOCK_MONOTONIC_RAW) - time.clock_gettime(time.CLOCK_UPTIME_RAW)
    if hasattr(time, "CLOCK_BOOTTIME"):  # Linux, clock_gettime(2)
        return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
    return time.time() - time.monotonic()


class IdleUse:
    """The use of the GPU by others, in percent, while our own work is idle: a sensor.

    `read()` returns its use over the last moments, up to a second, so just after our own work it still counts that:
    the lowest within a second is taken. To keep the pauses short between short epochs, it looks once in 30 seconds.
    """

    def __init__(self, read: Callable[[], float | None], patience: float = 1.2) -> None:
        self._read = read
        self._patience = patience
        self._found: float | None = None
        self._next = 0.0

    def __call__(self, moment: Moment) -> Columns:
        """The use by others; none in the middle of an epoch, when our own work is not idle."""
        if moment is Moment.BETWEEN:
            return {}
        if time.monotonic() >= self._next:
            self._found = self._lowest()
            self._next = time.monotonic() + SELDOM
        return {} if self._found is None else {"gpu_other_load_percent": self._found}

    def _lowest(self) -> float | None:
        found, end = self._read(), time.monotonic() + self._patience
        lowest = found
        while found is not None and lowest is not None and lowest >= QUIET and time.monotonic() < end:
            time.sleep(0.15)
            found = self._read()
            lowest = lowest if found is None else min(lowest, found)
        return lowest
