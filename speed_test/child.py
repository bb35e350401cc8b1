"""A process of its own for work that may fail, run out of memory or be killed, and what it reports to its parent.

Children are spawned, not forked: a child leaves nothing behind for the next one, and it works the same everywhere.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from speed_test import screen

# How the frameworks say that memory has run out: CUDA, MPS (the second and third), PyTorch's CPU
# allocator, TensorFlow, cuBLAS and cuDNN. MPS and the CPU raise a plain RuntimeError.
OUT_OF_MEMORY = (
    "out of memory",
    "Invalid buffer size",
    "can't allocate memory",
    "OOM when allocating",
    "ALLOC_FAILED",
)

SECONDS_TO_EXIT = 30  # for a child that is done, to shut down its driver and its workers
SECONDS_TO_END = 2  # for a child that is stopped, to clean up before it is killed


class ChildFailed(Exception):
    """The child that prepares a run ended without an answer. Its text is one sentence."""


class Interrupt:
    """Turns Ctrl-C into a flag, so that it cannot interrupt the writing of a row."""

    caught = False

    def __enter__(self) -> "Interrupt":
        signal.signal(signal.SIGINT, self._catch)
        return self

    def __exit__(self, *_) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def _catch(self, *_) -> None:
        self.caught = True

    def start(self, process: BaseProcess) -> None:
        """Start a child that ignores Ctrl-C from its first instruction on: the terminal sends it to all processes."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            process.start()
        finally:
            signal.signal(signal.SIGINT, self._catch)


class Child:
    """A spawned process that runs `job(send, *arguments)`, and what it sends."""

    def __init__(self, job: Callable, arguments: tuple, interrupt: Interrupt) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, childs_end = context.Pipe()
        self._interrupt = interrupt
        self._kills = _system_kills()
        self._done = False
        self._raised: tuple[str, str] | None = None
        self._process = context.Process(target=_main, args=(childs_end, job, arguments))
        interrupt.start(self._process)
        childs_end.close()  # so that the pipe ends with the child

    def messages(self) -> Iterator[tuple[str, Any]]:
        """Yield (kind, content) until the child has ended; `failure` then tells why, if it failed.

        Raises KeyboardInterrupt after Ctrl-C, once the child is gone and everything it had sent was yielded.
        """
        for kind, content in self._received():
            if kind == "done":
                self._done = True
            elif kind == "failed":
                self._raised = content
            else:
                yield kind, content

    def failure(self) -> tuple[str, str] | None:
        """Status and reason of a child that has ended without sending "done"; None if it has sent it."""
        return None if self._done else self._raised or self._ending()

    def _received(self) -> Iterator[tuple[str, Any]]:
        try:
            while True:
                # Looked at before the pipe, so that everything a child has sent before its end is read. And looked at
                # again and again, because workers of a dead child may keep its end of the pipe open.
                alive = self._process.is_alive()
                while not self._interrupt.caught and self._pipe.poll(0.1 if alive else 0):
                    yield self._pipe.recv()
                    with contextlib.suppress(OSError):  # the child is gone already
                        self._pipe.send("go on")
                if self._interrupt.caught:
                    raise KeyboardInterrupt
                if not alive:
                    return
        except (EOFError, ConnectionResetError):
            self._process.join(SECONDS_TO_EXIT)
        except KeyboardInterrupt:
            yield from self._stop()
            raise
        finally:
            _end(self._process)

    def answers(self) -> dict[str, Any]:
        """Everything that the child sends, by kind; its warnings are printed as they come.

        Raises the exception that it sends as "raise", and ChildFailed if it did not end well.
        """
        found: dict[str, Any] = {}
        for kind, content in self.messages():
            if kind == "warning":
                screen.warn(content)
            else:
                found[kind] = content
        if "raise" in found:
            raise found["raise"]
        if self._raised or self._process.exitcode:
            _, reason = self._raised or self._ending()
            raise ChildFailed(f"the preparation of the run failed: {reason}")
        return found

    def _stop(self) -> Iterator[tuple[str, Any]]:
        """End the child, and yield what it had sent by then."""
        _end(self._process)
        try:
            while self._pipe.poll(0):
                yield self._pipe.recv()
        except (EOFError, OSError):
            return

    def _ending(self) -> tuple[str, str]:
        """Status and reason for a child that ended without sending one."""
        code = self._process.exitcode
        if code is None or code >= 0:
            return "failed", f"ended without a word, with exit status {code}"
        if code == -signal.SIGKILL and _system_kills() > self._kills:
            return "out_of_memory", "was killed by the system, which had run out of memory"
        name = signal.Signals(-code).name
        hint = ", as the system does when memory runs out" if name == "SIGKILL" else ""
        return "failed", f"was killed by {name}{hint}"


def _end(process: BaseProcess) -> None:
    """End a child and all processes that it has started."""
    if not process.is_alive():
        return
    import psutil

    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.Error:
        family = []
    process.terminate()
    process.join(SECONDS_TO_END)
    for member in family:
        with contextlib.suppress(psutil.Error):
            member.kill()
    process.kill()
    process.join()


def _system_kills() -> int:
    """How often Linux has killed a process for its memory since it started; 0 if unknown."""
    try:
        counters = dict(line.split() for line in Path("/proc/vmstat").read_text().splitlines())
        return int(counters["oom_kill"])
    except (OSError, KeyError, ValueError):
        return 0


def _main(pipe: Connection, job: Callable, arguments: tuple) -> None:
    """The child: run the job, and send the exception that ended it, if one did."""
    screen.open_streams()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # runs `finally` blocks and exit handlers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _allow_open_files()

    def send(kind: str, content: object) -> None:
        """Return once the parent has dealt with it, so that nothing is saved or printed while an epoch is timed."""
        pipe.send((kind, content))
        pipe.recv()

    try:
        job(send, *arguments)
    except Exception as error:
        send("failed", explain(error))


def _end_with_parent() -> None:
    """End this child when its parent has died: a parent that was killed can end nobody."""
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
    signal.raise_signal(signal.SIGTERM)
    time.sleep(SECONDS_TO_END)
    os._exit(1)


def _allow_open_files() -> None:
    """Raise the soft limit of open files as far as it goes: 256, as on macOS, is too few for loader processes.

    The hard limit stays, and macOS takes no "unlimited" for the soft one, so falling sizes are tried.
    """
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (65536, 10240, 4096, hard):
        if soft == resource.RLIM_INFINITY or wanted <= soft:
            return
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            return


def explain(error: Exception) -> tuple[str, str]:
    """Status and one line of reason for an exception that ended a child: what, and where it was raised."""
    kind = type(error).__name__
    message = str(error)
    if "Traceback (most recent call last)" in message:  # of a loader process: its last line says what it was
        message = message.strip().rsplit("\n", 1)[-1]
    out_of_memory = (
        isinstance(error, MemoryError)
        or kind in ("OutOfMemoryError", "ResourceExhaustedError")
        or any(words in message for words in OUT_OF_MEMORY)
    )
    message = screen.one_line(message)
    if out_of_memory:
        return "out_of_memory", message or kind
    where = traceback.extract_tb(error.__traceback__)[-1]
    return "failed", f"{kind}: {message or 'no message'} ({Path(where.filename).name}, line {where.lineno})"
