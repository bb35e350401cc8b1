"""How much CPU time others take: all that the machine has spent, less that of this process and its descendants.

Others are programs of any user, the system itself, and in a container whatever else runs on the host, whose
/proc/stat it sees: all of them take cores, caches and clock from the test. Only the CPUs that we may run on count.
"""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from speed_test.sensors.base import EDGES, Columns, Moment, Sensor, Windows, output

WORTH_NAMING = 30.0  # percent of a core
TICK = 0.02  # seconds: how exact the kernel's CPU times are, of one process
ACCURACY = 0.01  # of our own CPU time: how well the sums of both counts agree on many cores

Key = tuple[int, float]  # the process's number, and when it started: numbers are used again


class Times(NamedTuple):
    """CPU seconds of a process: its own, and those of its children that have ended and been waited for."""

    own: float
    reaped: float


Process = tuple[Key, int, str, Times]  # with its parent's number and its name


@dataclass
class Snapshot:
    """CPU seconds so far: of all CPUs, stolen by the host, and with idle time; and of each of our processes."""

    busy: float
    stolen: float | None
    total: float
    ours: dict[Key, Times]


def growth(before: Mapping[Key, Times], after: Mapping[Key, Times]) -> float | None:
    """CPU seconds that our processes took between two snapshots.

    A process that has ended hands all its time to the one that waited for it, so this is taken off again. None if time
    has got lost: nobody of ours waited for it, or the system does not tell (macOS, Windows).
    """
    none = Times(0.0, 0.0)
    own = sum(times.own - before.get(key, none).own for key, times in after.items())
    reaped = sum(times.reaped - before.get(key, none).reaped for key, times in after.items())
    ended = [sum(before[key]) for key in before.keys() - after.keys()]
    if ended and reaped < sum(ended) - TICK * (1 + len(ended)):
        return None
    return max(0.0, own + reaped - sum(ended))


class Busiest(NamedTuple):
    """A process, and the percent of a core that it took lately."""

    percent: float
    name: str
    pid: int


class Load:
    """The columns of load, from the snapshots that `snapshot()` takes: a sensor.

    `busiest(pids)` finds the busiest process that is not among `pids`, and is asked only if that is worth it.
    """

    def __init__(self, snapshot: Callable[[], Snapshot | None], busiest: Callable[[set[int]], Busiest | None]) -> None:
        self._busiest = busiest
        self._windows = Windows(snapshot, self._columns)
        self._named_at = 0.0  # the load for which a name was found in this epoch

    def __call__(self, moment: Moment) -> Columns:
        """The columns of the window that ends now."""
        if moment is Moment.BEGIN:
            self._named_at = 0.0
        return self._windows(moment)

    def _columns(self, before: Snapshot, after: Snapshot, seconds: float) -> Columns:
        columns: Columns = {}
        total = after.total - before.total
        if after.stolen is not None and before.stolen is not None and total > 0:
            columns["cpu_stolen_percent"] = max(0.0, 100 * (after.stolen - before.stolen) / total)
        ours = growth(before.ours, after.ours)
        if ours is None:
            return columns
        rest = after.busy - before.busy - ours
        if rest < -max(0.25 * seconds, 2 * ACCURACY * ours):  # the sum is not of the CPUs that we run on
            return columns
        if rest < ACCURACY * ours:  # within the error of a difference of two large numbers
            rest = 0.0
        columns["other_load_percent"] = load = 100 * rest / seconds
        # Looking for the name costs more than all else. The first one stands until there is clearly more load.
        if load >= max(WORTH_NAMING, 1.2 * self._named_at):
            found = self._busiest({pid for pid, _ in after.ours})
            if found and found.percent >= WORTH_NAMING:
                self._named_at = load
                name = "".join(letter for letter in found.name if letter.isprintable()).strip()[:40]
                columns["busiest_other_process"] = found._replace(name=name)
        return columns


class Ranking:
    """Finds the busiest process by two looks at all of them, of which the first is before an epoch.

    `times()` returns name and CPU seconds of each. Looking at a thousand processes takes 50 ms.
    """

    def __init__(self, times: Callable[[], dict[Key, tuple[str, float]]]) -> None:
        self._times = times
        self._before: dict[Key, tuple[str, float]] = {}
        self._looked = 0.0

    def prime(self, moment: Moment) -> Columns:
        """A sensor without columns: the first look."""
        if moment is not Moment.BETWEEN:
            self._before, self._looked = self._times(), time.monotonic()
        return {}

    def __call__(self, pids: set[int]) -> Busiest | None:
        """The busiest process since the last look that is not among `pids`."""
        before, since = self._before, self._looked
        self._before, self._looked = self._times(), time.monotonic()
        seconds = max(self._looked - since, 0.01)
        return max(
            (
                Busiest(100 * (spent - before.get(key, ("", 0.0))[1]) / seconds, name, key[0])
                for key, (name, spent) in self._before.items()
                if key[0] not in pids
            ),
            default=None,
        )


# ---- Linux: /proc ----


def linux(root: Path = Path("/"), cpus: set[int] | None = None, pid: int | None = None) -> list[Sensor]:
    """The load on Linux, from proc(5): on the CPUs `cpus` (None: all), with `pid` (None: this process) as our own."""
    reader = _Proc(root / "proc", cpus, pid or os.getpid())
    ranking = Ranking(reader.times)
    return [Sensor(Load(reader.snapshot, ranking)), Sensor(ranking.prime, EDGES)]


class _Proc:
    def __init__(self, proc: Path, cpus: set[int] | None, pid: int) -> None:
        self._proc = str(proc)
        self._cpus = cpus
        self._pid = pid
        self._tick = 1 / os.sysconf("SC_CLK_TCK")
        self._foreign: set[int] = set()  # known not to be ours, and not looked at again within an epoch

    def snapshot(self) -> Snapshot | None:
        """First which processes are ours, then the sum of all CPUs, and our processes' times right after it, so that
        both are of the same moment. Children come before the process that waits for them: see `growth`."""
        pids = self._pids()
        found = {pid: process for pid in pids if pid not in self._foreign and (process := self._process(pid))}
        ours = self._ours(found)
        self._foreign = (self._foreign & set(pids)) | (found.keys() - set(ours))
        cpu = self._cpu()
        if cpu is None or self._pid not in found:
            return None
        return Snapshot(*cpu, {key: times for key, _, _, times in filter(None, map(self._process, reversed(ours)))})

    def times(self) -> dict[Key, tuple[str, float]]:
        """Name and CPU seconds of every process."""
        found = {pid: process for pid in self._pids() if (process := self._process(pid))}
        self._foreign = found.keys() - set(self._ours(found))  # anew: numbers are used again
        return {key: (name, times.own) for key, _, name, times in found.values()}

    def _ours(self, found: Mapping[int, Process]) -> list[int]:
        """This process and all that it has started, parents before children."""
        children: dict[int, list[int]] = {}
        for pid, (_, parent, _, _) in found.items():
            children.setdefault(parent, []).append(pid)
        ours = [self._pid]
        for pid in ours:  # which grows meanwhile
            ours += children.pop(pid, [])
        return ours

    def _pids(self) -> list[int]:
        return [int(name) for name in os.listdir(self._proc) if name.isdecimal()]

    def _process(self, pid: int) -> Process | None:
        """A process: its key, its parent, its name and its times. None if it is gone."""
        try:
            with open(f"{self._proc}/{pid}/stat", "rb") as file:
                line = file.read()
        except OSError:
            return None
        head, _, tail = line.rpartition(b")")  # the name stands in brackets, and may hold brackets and blanks
        fields = tail.split()
        if len(fields) < 20:
            return None
        user, system, user_reaped, system_reaped = (int(ticks) * self._tick for ticks in fields[11:15])
        name = head.partition(b"(")[2].decode(errors="replace")
        key = (pid, float(fields[19]))
        return key, int(fields[1]), name, Times(user + system, user_reaped + system_reaped)

    def _cpu(self) -> tuple[float, float, float] | None:
        """Seconds busy, stolen, and in all. Time of guests is in user and nice already."""
        try:
            with open(f"{self._proc}/stat", "rb") as file:
                lines = [line.split() for line in file if line.startswith(b"cpu")]
        except OSError:
            return None
        lines = [row for row in lines if row[0] != b"cpu"]
        rows = [row for row in lines if self._cpus is None or int(row[0][3:]) in self._cpus]
        if len(rows) < len(self._cpus or ()):
            rows = lines  # a container whose /proc/stat is its own counts its CPUs from 0
        if not rows:
            return None
        user, nice, system, idle, iowait, irq, softirq, steal = (
            sum(column) * self._tick for column in zip(*([*map(int, row[1:9])] for row in rows), strict=True)
        )
        busy = user + nice + system + irq + softirq
        return busy, steal, busy + idle + iowait + steal


# ---- macOS and Windows ----


def macos(pid: int | None = None) -> list[Sensor]:
    """The load on macOS, with `pid` (None: this process) as our own."""
    return [Sensor(Load(partial(_psutil_snapshot, pid), _busiest_by_ps))]


def windows(pid: int | None = None) -> list[Sensor]:
    """The load on Windows, with `pid` (None: this process) as our own."""
    ranking = Ranking(_psutil_times)
    return [Sensor(Load(partial(_psutil_snapshot, pid), ranking)), Sensor(ranking.prime, EDGES)]


def _psutil_snapshot(pid: int | None) -> Snapshot | None:
    import psutil

    me, top = psutil.Process(), psutil.Process(pid)
    children = top.children(recursive=True)
    cpu = psutil.cpu_times()
    busy = cpu.user + cpu.system + getattr(cpu, "nice", 0.0)  # on Windows, interrupts are in `system`
    ours: dict[Key, Times] = {}
    for process in [*children, top]:
        try:
            times = process.cpu_times()
            ours[process.pid, process.create_time()] = Times(
                times.user + times.system, times.children_user + times.children_system
            )
        except psutil.Error:  # it has ended
            continue
    mine = os.times()  # which tells of our own children also where psutil does not: macOS
    ours[me.pid, me.create_time()] = Times(mine.user + mine.system, mine.children_user + mine.children_system)
    return Snapshot(busy, None, busy + cpu.idle, ours)


def _busiest_by_ps(pids: set[int]) -> Busiest | None:
    """On macOS: only `ps` may look at the processes of other users. Raises OSError if there is no `ps`."""
    for line in output("ps", "-A", "-r", "-o", "pid=,pcpu=,comm=").splitlines():
        pid, percent, name = [*line.split(None, 2), "", "", ""][:3]
        if pid.isdecimal() and int(pid) not in pids and name and not name.endswith("/ps"):
            return Busiest(float(percent.replace(",", ".")), name.rpartition("/")[2], int(pid))
    return None


def _psutil_times() -> dict[Key, tuple[str, float]]:
    """Name and CPU seconds of every process but number 0, which stands for the time in which nothing ran."""
    import psutil

    found = {}
    for process in psutil.process_iter(["pid", "name", "cpu_times", "create_time"]):
        pid, name, times, created = (process.info[fact] for fact in ("pid", "name", "cpu_times", "create_time"))
        if pid and times:  # None: not for us to see
            found[pid, created] = (name or "", times.user + times.system)
    return found
