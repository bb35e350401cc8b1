"""What an ended suite leaves for --resume: a small file in --results_dir. A stranger may have changed it, so it names
neither folders nor commands, and everything in it is checked."""

import contextlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from speed_test import replaced, screen
from speed_test.command_line import BadInput
from speed_test.suite.outcome import Outcome

FILE = "run_all.json"
MOST_SECONDS = 1e8  # three years: nobody's suite takes longer
LOCK = "run_all.lock"
VERSION = 2
MOST_BYTES = 1_000_000
STATUSES = ("measured", "failed", "left out", "stopped")


@dataclass
class Saved:
    """A suite so far. `asked` are the options that a resumed one has to have as well, as text, `machines` the names of
    this machine. `outcomes` are by the name of the test; one that is running stands there as "stopped". `given` are
    the seconds that a test was given."""

    asked: dict[str, str]
    machines: list[str]
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    given: dict[str, float] = field(default_factory=dict)


@contextlib.contextmanager
def locked(results_dir: Path) -> Iterator[None]:
    """Keep other suites out of `results_dir` meanwhile. Raises BadInput if there is one already. The folder is made,
    and removed again if nothing was written to it."""
    import portalocker

    is_new = not results_dir.is_dir()
    results_dir.mkdir(parents=True, exist_ok=True)
    path = results_dir / LOCK
    if path.is_symlink() or (path.exists() and not path.is_file()):  # it would lead elsewhere, or keep us waiting
        raise BadInput(f"{screen.one_line(path)} is no regular file; remove it")
    lock = portalocker.Lock(path, "a", timeout=0)
    try:
        while not _is_at(path, lock.acquire()):  # its file was removed between opening and locking it
            lock.release()
    except portalocker.exceptions.AlreadyLocked:
        raise BadInput(f"another suite writes to {screen.one_line(results_dir)}; wait until it has ended") from None
    except OSError as error:  # a folder, or another user's file
        raise BadInput(f"{screen.one_line(path)} cannot be written ({screen.reason(error)}); remove it") from None
    except portalocker.exceptions.BaseLockException:  # a file system without locks
        pass
    try:
        yield
    finally:
        # The file is removed while it is locked, or it could be the next suite's by then. Windows removes no open file,
        # so there the next suite's is safe.
        if os.name == "nt":
            lock.release()
        with contextlib.suppress(OSError):
            path.unlink()
        lock.release()
        with contextlib.suppress(OSError):
            if is_new:
                results_dir.rmdir()  # fails if there is something in it


def _is_at(path: Path, file: Any) -> bool:
    """Whether an open file is the one that is at `path`. Windows removes no open file, so there it is."""
    if os.name == "nt":
        return True
    with contextlib.suppress(OSError):
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    return False


def save(saved: Saved, results_dir: Path) -> None:
    """Write the file, in one go: whatever happens, there is the old one or the new one. Raises OSError."""
    content = {**asdict(saved), "version": VERSION, "outcomes": [asdict(one) for one in saved.outcomes.values()]}
    replaced.write(results_dir / FILE, json.dumps(content, indent=1).encode())


def forget(results_dir: Path) -> None:
    """Remove the file: nothing is left to be resumed."""
    with contextlib.suppress(OSError):
        (results_dir / FILE).unlink()


def load(results_dir: Path, asked: Mapping[str, str], machines: Sequence[str], scripts: Mapping[str, str]) -> Saved:
    """What a suite has left that was started with the same options on this machine. `scripts` are the file names of the
    speed tests that there are, by their names.

    Raises BadInput if there is no such file, if it is damaged, or if it is of another suite.
    """
    path = results_dir / FILE
    shown = screen.one_line(path)
    try:
        if path.stat().st_size > MOST_BYTES or not path.is_file():  # a device would never end
            raise ValueError
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict) and content.get("version") in range(1, VERSION):
            raise BadInput(f"--resume: {shown} is of an earlier version; leave the option out to start anew")
        saved = _checked(content)
    except FileNotFoundError:
        raise BadInput(
            f"--resume: {screen.one_line(results_dir)} has no suite that was ended early; leave the option out"
        ) from None
    except OSError as error:
        raise BadInput(f"--resume: {shown} cannot be read ({screen.reason(error)}); leave the option out") from None
    except (ValueError, RecursionError):
        raise BadInput(f"--resume: {shown} is damaged; leave the option out to start anew") from None
    if saved.machines != list(machines):
        raise BadInput(f"--resume: {shown} is of another machine; leave the option out to start anew")
    for option, value in asked.items():
        if saved.asked.get(option) != value:
            before = screen.one_line(saved.asked.get(option, ""), 80)
            raise BadInput(f"--resume: the suite was started with --{option}={before}; give the same, or start anew")
    if any(scripts.get(one.name) != one.script for one in saved.outcomes.values()):
        raise BadInput(f"--resume: {shown} names speed tests that are not here; leave the option out to start anew")
    return saved


# ---- Checking what was read ----


def _checked(content: Any) -> Saved:
    """`content` as a Saved; raises ValueError if anything in it is not as it is written."""
    fields = {"version", "asked", "machines", "outcomes", "given"}
    _require(isinstance(content, dict) and set(content) == fields and content["version"] == VERSION)
    asked, machines, given = (content[name] for name in ("asked", "machines", "given"))
    _require(_is_table(asked, _is_text) and _is_table(given, _is_seconds))
    _require(isinstance(machines, list) and all(map(_is_text, machines)) and isinstance(content["outcomes"], list))
    outcomes = [_outcome(one) for one in content["outcomes"]]
    by_name = {one.name: one for one in outcomes}
    _require(len(by_name) == len(outcomes))
    return Saved(asked, machines, by_name, given)


def _outcome(content: Any) -> Outcome:
    fields = {"name", "script", "status", "reason", "seconds", "run_ids"}
    _require(isinstance(content, dict) and set(content) == fields and content["status"] in STATUSES)
    _require(all(_is_text(content[name]) for name in ("name", "script", "reason")) and _is_seconds(content["seconds"]))
    ids = content["run_ids"]
    _require(isinstance(ids, list) and all(isinstance(one, str) and re.fullmatch(r"[0-9a-f]{12}", one) for one in ids))
    return Outcome(**{**content, "run_ids": tuple(ids)})


def _require(condition: object) -> None:
    if not condition:
        raise ValueError


def _is_table(value: Any, is_right: Any) -> bool:
    return isinstance(value, dict) and all(_is_text(key) and is_right(content) for key, content in value.items())


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= 1000


def _is_seconds(value: Any) -> bool:
    return isinstance(value, float) and 0 <= value <= MOST_SECONDS
