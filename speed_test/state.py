"""How the machine is doing, as columns of a row."""

import contextlib
import getpass
import os
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import portalocker

SWEEPS = "ml_speed_test_"  # and the user's name: a folder with a file for each sweep


def power_source() -> str | None:
    """ "mains" or "battery", on which laptops run slower; None where there is no battery to ask."""
    import psutil

    try:
        battery = psutil.sensors_battery()
    except (AttributeError, OSError, RuntimeError):  # not on every system, and not on every new machine
        return None
    if battery is None or battery.power_plugged is None:
        return None
    return "mains" if battery.power_plugged else "battery"


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
