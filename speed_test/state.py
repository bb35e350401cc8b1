"""How the machine is doing, as columns of a row."""

import contextlib
import getpass
import os
import queue
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speed_test.results import LEVELS
from speed_test.sensors import system
from speed_test.sensors.base import Columns, Moment, Sensor
from speed_test.sensors.load import Busiest

if TYPE_CHECKING:
    import portalocker

SWEEPS = "ml_speed_test_"  # and the user's name: a folder with a file for each sweep

# The columns of the state, and the decimals that are worth writing down.
STATE = {
    "power": None,
    "low_power_mode": None,
    "thermal_level": None,
    "throttle_reasons": None,
    "other_load_percent": 1,
    "busiest_other_process": None,
    "gpu_other_load_percent": 1,
    "swap_growth_gb": 3,
    "memory_pressure": None,
    "cpu_pressure_percent": 1,
    "cpu_stolen_percent": 2,
    "cpu_governor": None,
    "emulated": None,
    "gpu_temperature_c": 0,
    "gpu_clock_mhz": 0,
    "gpu_power_limit_w": 1,
    "energy_joules": 1,
    "suspended_seconds": 1,
}
LOWEST = {"gpu_clock_mhz", "gpu_power_limit_w"}  # of all others, the highest is the worst
WORDS = {"throttle_reasons", "cpu_governor"}

FIRST_LOOK = 2.5  # seconds after an epoch has begun: long enough for a window of load
SHARE = 0.0015  # of one core that the readings may take
LONGEST_PAUSE = 60.0  # seconds
PATIENCE = 15.0  # seconds; a reading that works takes a tenth of it at most


class Monitor:
    """Reads the machine's state in a thread of its own, before and after each epoch and every few seconds in between.

    Use it with `with`, in the parent. Nothing that a reading does reaches the caller: a source that fails is left out
    from there on, and while one hangs nothing is known. `interval` is the time between two readings in seconds; it
    gets longer where that would cost more than 0.15% of a core. `launcher` is the process whose descendants all belong
    to the test; None: this one.
    """

    def __init__(self, interval: float = 5.0, launcher: int | None = None) -> None:
        self._launcher = launcher
        self._interval = interval
        self._sensors: list[Sensor] = []
        self._read_at: dict[Sensor, float] = {}
        self._worst: Columns = {}
        self._is_running = False
        self._requests: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._late: queue.SimpleQueue[Columns] | None = None  # where an answer is missing that took too long
        self._thread = threading.Thread(target=self._work, name="state of the machine", daemon=True)

    def __enter__(self) -> "Monitor":
        self._thread.start()
        self._ask(self._open)
        return self

    def __exit__(self, *_) -> None:
        self._requests.put(None)
        self._thread.join(timeout=2)

    def watch(self, device: str, gpu_uuid: str | None) -> None:
        """Read what `device` ("mps", "cuda" or "cpu") has to tell, too; `gpu_uuid` says which NVIDIA GPU it is."""
        self._ask(lambda: self._add(system.of_device(device, gpu_uuid)))

    def begin(self) -> None:
        """An epoch begins: forget what was. Takes up to a second if a GPU is not idle."""
        self._ask(self._begin)

    def end(self) -> dict[str, object]:
        """An epoch has ended: its state, a column each, the worst since `begin`. None where nothing tells."""
        state = self._ask(self._end)
        return {column: state.get(column) for column in STATE}

    def now(self) -> dict[str, object]:
        """The state as it is now, with `busiest_other_pid`, which is no column. It ends an epoch, too.

        The load is that of the last few seconds; it is known if the last call, of this or of the others, was a second
        ago or more.
        """
        state = self._ask(self._latest)
        return {column: state.get(column) for column in (*STATE, "busiest_other_pid")}

    def _ask(self, work: Callable[[], Columns | None]) -> Columns:
        """Let the thread do something; what it returns, or nothing if the thread hangs."""
        if not self._thread.is_alive() or (self._late is not None and self._late.empty()):
            return {}
        self._late = None
        answer: queue.SimpleQueue[Columns] = queue.SimpleQueue()

        def do() -> None:
            found: Columns | None = None
            with contextlib.suppress(Exception):
                found = work()
            answer.put(found or {})

        self._requests.put(do)
        try:
            return answer.get(timeout=PATIENCE)
        except queue.Empty:
            self._late = answer
            return {}

    # ---- What follows runs in the thread ----

    def _work(self) -> None:
        next_look: float | None = None
        while True:
            try:
                patience = None if next_look is None else max(0.0, next_look - time.monotonic())
                request = self._requests.get(timeout=patience)
            except queue.Empty:
                before = _cost()
                self._look(Moment.BETWEEN)
                pause = max(self._interval, (_cost() - before) / SHARE)
                next_look = time.monotonic() + min(pause, LONGEST_PAUSE)
                continue
            if request is None:
                return
            request()
            pause = min(FIRST_LOOK, self._interval)
            next_look = time.monotonic() + pause if self._is_running else None

    def _open(self) -> None:
        self._sensors += system.of_system(self._launcher)
        self._begin()
        self._is_running = False  # nothing but a first look, for `now`

    def _add(self, sensors: Iterable[Sensor]) -> None:
        for sensor in sensors:
            self._sensors.append(sensor)
            self._read(sensor, Moment.BEGIN)

    def _begin(self) -> None:
        self._worst = {}
        self._is_running = True
        self._look(Moment.BEGIN)

    def _end(self) -> Columns:
        self._is_running = False
        self._look(Moment.END)
        found = {column: _rounded(column, value) for column, value in self._worst.items()}
        self._worst = {}
        busiest = found.get("busiest_other_process")
        if isinstance(busiest, Busiest):
            found |= {"busiest_other_process": busiest.name or None, "busiest_other_pid": busiest.pid}
        return found

    def _latest(self) -> Columns:
        # Who takes so much is looked up when it begins, and not at each reading.
        self._worst = {column: self._worst[column] for column in ("busiest_other_process",) if column in self._worst}
        return self._end()

    def _look(self, moment: Moment) -> None:
        """Read what is due. The counters stand first, so that what takes longer is not in them: at an epoch's begin
        they come last."""
        for sensor in reversed(self._sensors) if moment is Moment.BEGIN else list(self._sensors):
            since = time.monotonic() - self._read_at.get(sensor, 0.0)
            if moment is not Moment.BETWEEN or since >= sensor.every:
                self._read(sensor, moment)

    def _read(self, sensor: Sensor, moment: Moment) -> None:
        self._read_at[sensor] = time.monotonic()
        try:
            self._worst = worst(self._worst, sensor.read(moment))
        except Exception:  # in a way that nobody knows of: it will fail again
            self._sensors = [other for other in self._sensors if other is not sensor]


def worst(state: Columns, columns: Columns) -> Columns:
    """`state`, and of each column the worse value of both."""
    return state | {column: _worse(column, state.get(column), value) for column, value in columns.items()}


def _worse(column: str, one: Any, other: Any) -> Any:
    if one is None or other is None:
        return other if one is None else one
    if column in LEVELS:
        return max(one, other, key=LEVELS[column].index)
    if column in WORDS:
        return ", ".join(dict.fromkeys([*one.split(", "), *other.split(", ")]))
    return min(one, other) if column in LOWEST else max(one, other)


def _rounded(column: str, value: Any) -> Any:
    decimals = STATE.get(column)
    return value if decimals is None or value is None else round(value, decimals or None)


def _cost() -> float:
    """CPU seconds that this thread has taken so far, and all commands."""
    spent = time.thread_time()
    with contextlib.suppress(ImportError):  # on Windows, where there are no commands
        import resource

        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent += used.ru_utime + used.ru_stime
    return spent


class Sweeps:
    """Knows of other sweeps on this machine: each holds a lock on a file in a folder of its user's, in `folder`, which
    is by default the system's temporary one.

    Use it with `with`; the file is removed at the end. A file that a killed sweep has left is not locked, and removed
    by the next one.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or Path(tempfile.gettempdir())
        self._path: Path | None = None
        self._lock: portalocker.Lock | None = None

    def __enter__(self) -> "Sweeps":
        import portalocker

        with contextlib.suppress(OSError, KeyError, portalocker.exceptions.BaseLockException):
            ours = self._folder / f"{SWEEPS}{getpass.getuser()}"
            ours.mkdir(mode=0o755, exist_ok=True)
            # In a folder that is open to all, a stranger may have put a link or a folder of his own there.
            found = ours.lstat()
            if stat.S_ISDIR(found.st_mode) and (os.name == "nt" or found.st_uid == os.getuid()):
                self._path = ours / f"{os.getpid()}.lock"
                self._lock = portalocker.Lock(self._path, "w", timeout=0)
                self._lock.acquire()
        return self

    def __exit__(self, *_) -> None:
        if self._lock and self._path:
            self._lock.release()
            with contextlib.suppress(OSError):
                self._path.unlink()

    def others(self) -> int | None:
        """How many other sweeps are running, of any user; None if that cannot be found out."""
        import portalocker

        if not self._lock:
            return None
        found = 0
        for path in self._folder.glob(f"{SWEEPS}*/*.lock"):
            try:
                if path == self._path or not stat.S_ISREG(path.lstat().st_mode):  # a pipe would block
                    continue
                with portalocker.Lock(path, "r", timeout=0):
                    pass
                path.unlink()
            except portalocker.exceptions.BaseLockException:
                found += 1
            except OSError:  # gone in the meantime, or a file of another user's
                continue
        return found
