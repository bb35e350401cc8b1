"""A speed test in a process of its own, whose output goes to a file that is read while it runs."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from speed_test.family import family, kill
from speed_test.interrupt import Interrupt

LOOK = 0.25  # seconds between two looks at the process
PASSED_ON_AGAIN = 5.0  # seconds: uv ignores the first Ctrl-C, which its child mostly gets from the terminal as well
PATIENCE = 45.0  # seconds for a stopped test to save its rows; on a full disk it tries for half a minute
SECONDS_TO_END = 15.0  # for a test that hangs, to save its rows once it is told to end
SECONDS_TO_DIE = 5.0  # for what a killed test has started
SUSPENDED = 5.0  # seconds: two looks that are further apart had a Ctrl-Z or sleep between them

Watch = Callable[[float, list[str]], None]
IsTooLong = Callable[[float], bool]


class Ended(NamedTuple):
    """How a process ended: its exit status, the seconds that it took (without those of sleep), and whether it had to be
    ended for hanging."""

    status: int
    seconds: float
    hung: bool = False


class Log:
    """The output of a process: written by it to the file at `path`, and read here as it comes. The file may be gone
    after a while, as long-lived temporary files are removed by some systems; then there is nothing to read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        self._read = 0
        self._rest = b""

    def new_lines(self) -> list[str]:
        """The lines that were completed since the last call."""
        try:
            with open(self.path, "rb") as file:
                file.seek(self._read)
                found = file.read()
        except OSError:
            return []
        self._read += len(found)
        *lines, self._rest = (self._rest + found).split(b"\n")
        return [line.decode("utf-8", "replace").rstrip("\r") for line in lines]

    def holds(self, text: str) -> bool:
        """Whether the output has `text` somewhere."""
        return text in self._text()

    def last_line(self, begin: str = "") -> str:
        """The last line that is not empty, of those that begin with `begin` if there are any; "" without lines."""
        told = [line.strip() for line in self._text().splitlines() if line.strip()]
        return next(reversed([line for line in told if line.startswith(begin)] or told), "")

    def _text(self) -> str:
        try:
            return self.path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""


def run(
    command: Sequence[str],
    environment: Mapping[str, str],
    log: Log,
    interrupt: Interrupt,
    watch: Watch,
    is_too_long: IsTooLong,
) -> Ended:
    """Run `command` to its end, with `environment` beside what this process has. Ctrl-C and the like are passed on to
    it, and it gets the time to save its rows.

    `watch(seconds, lines)` is called a few times a second, with the new lines of the output. `is_too_long(seconds)`
    says when the process is to be ended. Raises OSError if it cannot be started. No process is left, whatever happens.
    """
    begun = looked = time.monotonic()
    # A file is written in the encoding of the system unless Python is told otherwise; the log is read as UTF-8.
    env = {**os.environ, "PYTHONIOENCODING": "utf-8", **environment}
    with open(log.path, "ab") as file:
        process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)
    suspended = 0.0
    stopping = _Stopping(process, interrupt)
    hung = False
    try:
        while process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(LOOK)
            now = time.monotonic()
            suspended += now - looked if now - looked > SUSPENDED else 0.0
            looked = now
            watch(now - begun, log.new_lines())
            stopping.go_on()
            if is_too_long(now - begun - suspended):
                hung = True
                end(process)
    finally:
        end(process)
    watch(time.monotonic() - begun, log.new_lines())
    return Ended(process.returncode, time.monotonic() - begun - suspended, hung)


class _Stopping:
    """Passes the signal on that `interrupt` has caught, again after a while, and at last ends the process.

    A terminal sends Ctrl-C to the process as well; a second one does no harm there.
    """

    def __init__(self, process: subprocess.Popen, interrupt: Interrupt) -> None:
        self._process = process
        self._interrupt = interrupt
        self._since = 0.0
        self._passed_on = 0.0

    def go_on(self) -> None:
        if not self._interrupt.caught:
            return
        now = time.monotonic()
        self._since = self._since or now
        if now - self._since > PATIENCE:
            end(self._process)
        elif now - self._passed_on > PASSED_ON_AGAIN:
            self._passed_on = now
            if os.name != "nt":  # Windows' console has sent it to both, and takes no signals
                self._process.send_signal(self._interrupt.caught)


def end(process: subprocess.Popen) -> None:
    """End a process and all that it has started; on Linux and macOS it gets a while to save its rows."""
    if process.poll() is not None:
        return
    import psutil

    members = family(process.pid)
    if os.name != "nt":
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(SECONDS_TO_END)
    kill(members)
    process.kill()
    process.wait()
    psutil.wait_procs(members, timeout=SECONDS_TO_DIE)
