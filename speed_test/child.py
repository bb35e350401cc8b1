"""A process of its own for work that may fail, run out of memory or be killed, and what it reports to its parent.

Children are spawned, not forked: a child leaves nothing behind for the next one, and it works the same everywhere.
"""

import atexit
import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterator, Mapping
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from speed_test import screen
from speed_test.family import family, kill
from speed_test.interrupt import STOP_SIGNALS, Interrupt

# How the frameworks and the system say that memory has run out: CUDA, MPS (the second and third), PyTorch's CPU
# allocator, TensorFlow, cuBLAS and cuDNN, the system, and its loader of libraries under `ulimit -v`. MPS and the CPU
# raise a plain RuntimeError.
OUT_OF_MEMORY = (
    "out of memory",
    "Invalid buffer size",
    "can't allocate memory",
    "OOM when allocating",
    "ALLOC_FAILED",
    "Cannot allocate memory",
    "failed to map segment",
)

LOADER = 127  # the exit status of a process that glibc's loader ends (_dl_fatal_printf)
KILL = 9  # signal.SIGKILL, which Windows does not have
SECONDS_OF_A_STOP = 5  # between two looks at a child, which are a tenth of a second apart
SECONDS_OF_SILENCE = 2  # of a child whose time is over
SECONDS_TO_NAME = 120  # without a sign of life, until the user is told
SECONDS_TO_EXIT = 30  # for a child that is done, to shut down its driver and its workers
SECONDS_TO_END = 2  # for a child that is stopped, to clean up before it is killed
SECONDS_STOPPED = 10  # that a child may be stopped (SIGSTOP) while other processes wait for it

Failure = tuple[str, str]  # status and reason


class Skipped(Exception):
    """A child found out that its work should not be done. Its text is the reason."""


class ChildFailed(Exception):
    """The child that prepares a run ended without an answer. Its text is one sentence."""


class Child:
    """A spawned process that runs `job(send, *arguments)`, and what it sends."""

    def __init__(
        self,
        job: Callable,
        arguments: tuple,
        interrupt: Interrupt,
        stall_timeout: float | None = None,
        has_to_stop: Callable[[], bool] | None = None,
    ) -> None:
        """If `stall_timeout` is given, a child that shows no sign of life for so many seconds is ended. A message is
        a sign of life, and so is a call of `send.alive()`.

        `has_to_stop`, if given, is asked ten times a second whether the child has to be ended because of other
        processes that work with it.
        """
        context = multiprocessing.get_context("spawn")
        self._pipe, childs_end = context.Pipe()
        self._pulse = context.RawValue("Q", 0)
        self._interrupt = interrupt
        self._stall_timeout = stall_timeout
        self.has_to_end: float | None = None  # the time.monotonic() after which silence is no longer borne, if any
        self.seconds_of_ending = 0.0  # from the last message to the end
        self._seen = (0, time.monotonic())
        self._looked = time.monotonic()
        self._named = False
        self._kills = _system_kills()
        self.reply: object = None  # what the child gets back for the message that is being dealt with
        self._done = False
        self._has_to_stop = has_to_stop
        self._is_stopped = False
        self._raised: Failure | None = None
        self._process = context.Process(target=_main, args=(childs_end, self._pulse, job, arguments))
        interrupt.start(self._process)
        childs_end.close()  # so that the pipe ends with the child

    def messages(self) -> Generator[tuple[str, Any], None, None]:
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

    def failure(self) -> Failure | None:
        """Status and reason of a child whose job has not come to its end; None if it has, whatever becomes of the child
        afterwards, or if it was ended because of others."""
        return None if self._done else self._raised or (None if self._is_stopped else self._ending())

    def _received(self) -> Iterator[tuple[str, Any]]:
        try:
            while True:
                # Looked at before the pipe, so that everything a child has sent before its end is read. And looked at
                # again and again, because workers of a dead child may keep its end of the pipe open.
                alive = self._process.is_alive()
                while not self._interrupt.caught and self._pipe.poll(0.1 if alive else 0):
                    yield self._pipe.recv()
                    self._seen = (self._pulse.value, time.monotonic())
                    with contextlib.suppress(OSError):  # the child is gone already
                        self._pipe.send(self.reply)
                    self.reply = None
                if self._interrupt.caught:
                    raise KeyboardInterrupt
                if not alive:
                    return
                if self._has_to_stop and self._has_to_stop():
                    self._is_stopped = self._process.is_alive()
                    yield from self._stop()
                    return
                self._check_for_life()
        except (EOFError, ConnectionError):  # on Windows, poll() raises BrokenPipeError (python/cpython#85180)
            self._process.join(SECONDS_TO_EXIT)
        except KeyboardInterrupt:
            yield from self._stop()
            raise
        finally:
            _end(self._process)
            self.seconds_of_ending = time.monotonic() - self._seen[1]

    def _check_for_life(self) -> None:
        """Warn of a child that shows no sign of life, and end it after the limit."""
        (pulse, since), looked, self._looked = self._seen, self._looked, time.monotonic()
        stopped_ourselves = self._looked - looked > SECONDS_OF_A_STOP  # by Ctrl-Z, which stops the child as well
        if self._pulse.value != pulse or stopped_ourselves:
            self._seen = (self._pulse.value, time.monotonic())
            self._named = False
            return
        silent = self._looked - since
        if self.has_to_end and self._looked > self.has_to_end and silent > SECONDS_OF_SILENCE:
            self._raised = "failed", f"showed no progress for {screen.duration(silent)}, and --budget was used up"
            _end(self._process)
            return
        if self._has_to_stop and silent >= SECONDS_STOPPED and self._is_suspended():
            self._raised = "failed", f"was stopped by a signal for {screen.duration(silent)}, while others waited"
            _end(self._process)
            return
        if not self._stall_timeout or silent < min(SECONDS_TO_NAME, self._stall_timeout):
            return
        if not self._named:
            self._named = True
            screen.warn(
                f"process {self._process.pid} has shown no progress for {screen.duration(silent)}; it will be ended "
                f"after {screen.duration(self._stall_timeout)} of that (--stall_timeout)"
            )
        if silent >= self._stall_timeout:
            self._raised = "failed", f"showed no progress for {screen.duration(silent)} and was ended"
            _end(self._process)

    def _is_suspended(self) -> bool:
        import psutil

        with contextlib.suppress(psutil.Error):
            return psutil.Process(self._process.pid).status() == psutil.STATUS_STOPPED
        return False

    def answers(self, handlers: Mapping[str, Callable[[Any], object]] | None = None) -> dict[str, Any]:
        """Everything that the child sends, by kind; its warnings are printed as they come.

        What one of the `handlers` takes, by its kind, is not kept; the child gets its reply.

        Raises the exception that it sends as "raise", and ChildFailed if it did not end well.
        """
        found: dict[str, Any] = {}
        with contextlib.closing(self.messages()) as messages:  # a handler may raise, and then the child is to end
            for kind, content in messages:
                if handlers and kind in handlers:
                    self.reply = handlers[kind](content)
                elif kind == "warning":
                    screen.warn(content)
                else:
                    found[kind] = content
        if "raise" in found:
            raise found["raise"]
        if not self._done:
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

    def _ending(self) -> Failure:
        """Status and reason for a child that ended without sending one."""
        code = self._process.exitcode
        if code == 128 + signal.SIGTERM:  # see _main
            return "failed", "was ended by SIGTERM"
        if code is None or code >= 0:
            hint = ": the system's loader of libraries gave up, mostly for want of memory" if code == LOADER else ""
            return "failed", f"ended without a word, with exit status {code}{hint}"
        if code == -KILL and _system_kills() > self._kills:
            return "out_of_memory", "was killed by the system, which had run out of memory"
        hint = ", as the system does when memory runs out" if code == -KILL else ""
        return "failed", f"was killed by {_signal_name(-code)}{hint}"


def _signal_name(number: int) -> str:
    """ "SIGSEGV"; a real-time signal has only a number."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _end(process: BaseProcess) -> None:
    """End a child and all processes that it has started."""
    if not process.is_alive():
        return
    members = family(process.pid)
    process.terminate()
    process.join(SECONDS_TO_END)
    kill(members)
    process.kill()
    process.join()


def _system_kills() -> int:
    """How often Linux has killed a process for its memory since it started; 0 if unknown."""
    try:
        counters = dict(line.split() for line in Path("/proc/vmstat").read_text().splitlines())
        return int(counters["oom_kill"])
    except (OSError, KeyError, ValueError):
        return 0


class Send:
    """What a child reports with: `send(kind, content)`, and `send.alive()` for each step of long work."""

    def __init__(self, pipe: Connection, pulse: Any) -> None:
        self._pipe = pipe
        self._pulse = pulse

    def __call__(self, kind: str, content: object) -> Any:
        """Return the parent's reply once it has dealt with it, so that nothing is saved or printed while an epoch is
        timed."""
        self._pipe.send((kind, content))
        return self._pipe.recv()

    def alive(self) -> None:
        """Show progress. Costs a tenth of a microsecond: it adds to a number in shared memory."""
        self._pulse.value += 1


def _main(pipe: Connection, pulse: Any, job: Callable, arguments: tuple) -> None:
    """The child: run the job, and send "done", or the exception that ended it."""
    screen.open_streams()
    _wake_with_parents_death()
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):  # blocked by Interrupt.start
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # runs `finally` blocks and exit handlers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _allow_open_files()
    send = Send(pipe, pulse)
    reported = threading.Event()
    atexit.register(_leave_out_teardown, reported)  # before the libraries register theirs, so it runs after them
    try:
        job(send, *arguments)
        send("done", None)
    except Exception as error:
        if hasattr(signal, "SIGCHLD"):  # torch's handler raises for a dead loader process, anywhere: here too
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        send("failed", explain(error))
    reported.set()


def _leave_out_teardown(reported: threading.Event) -> None:
    """End a child that has said how it went, before Python takes its modules apart: with PyTorch that takes a second,
    and gloo's threads may abort in it, see https://github.com/pytorch/pytorch/issues/190489"""
    if reported.is_set():
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(0)


def _wake_with_parents_death() -> None:
    """Let Linux continue this process, if it is stopped, when its parent dies, so that `_end_with_parent` can work."""
    pr_set_pdeathsig = 1  # https://man7.org/linux/man-pages/man2/pr_set_pdeathsig.2const.html
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGCONT)


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


def explain(error: Exception) -> Failure:
    """Status and one line of reason for an exception that ended a child: what, and where it was raised."""
    if isinstance(error, Skipped):
        return "skipped", str(error)
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
