"""The sweep: one batch size after the other, each in a fresh process, and every row safe as soon as it exists.

The parent imports no framework, so that it survives whatever ends a child: an exception, the system that
kills it for its memory, a crash in a driver. Children are spawned, not forked: nothing of one batch size
is left for the next, and it works the same on every system.
"""

import contextlib
import importlib
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
import uuid
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path

from speed_test import data, machine, report
from speed_test.clock import Clock
from speed_test.command_line import BadInput, Options, Parser, parse
from speed_test.experiment import Experiment
from speed_test.results import Results, file_name

# How the frameworks say that memory is at its end: CUDA, MPS (the second and third), PyTorch's CPU
# allocator, TensorFlow, cuBLAS and cuDNN. MPS and the CPU raise a plain RuntimeError.
OUT_OF_MEMORY = (
    "out of memory",
    "Invalid buffer size",
    "can't allocate memory",
    "OOM when allocating",
    "ALLOC_FAILED",
)

SECONDS_TO_EXIT = 30  # for a child that has said all, to take its driver and its workers down
SECONDS_TO_END = 2  # for one that is stopped, to tidy up before it is killed


def main(
    experiment: Experiment, load_data: Callable, train: Callable, add_options: Callable[[Parser], None] | None = None
) -> None:
    """Run a speed test from the command line, and exit: the whole of a script's `main`.

    `load_data(options)` reads or makes the data, see speed_test.data. `train(batch_size, options, clock)`
    builds the model and ends in `clock.time_epochs(...)`; it runs in a child process, and so has to stand
    at the top level of the script. `add_options(parser)` adds options that only this script has.

    Exit status: 0 with at least one measured epoch, 1 without, 2 for bad input, 130 after Ctrl-C.
    """
    report.open_streams()
    # Python tidies up what a killed child leaves behind, and warns of it; there is nothing for a user to do.
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, [os.environ.get("PYTHONWARNINGS"), "ignore:resource_tracker"]))
    script = sys.modules[load_data.__module__]
    with _Interrupt() as interrupt:
        options = parse(experiment, script.__doc__ or "", add_options=add_options)
        try:
            sys.exit(_run(experiment, options, load_data, train, interrupt))
        except BadInput as error:
            _fail(2, error)
        except (data.DataUnavailable, ChildFailed) as error:
            _fail(1, error)
        except KeyboardInterrupt:
            _fail(130, "stopped before anything was measured")


def _fail(status: int, reason: object) -> None:
    report.error(f"{Path(sys.argv[0]).name}: {reason}")
    sys.exit(status)


def _run(
    experiment: Experiment, options: Options, load_data: Callable, train: Callable, interrupt: "_Interrupt"
) -> int:
    with report.working(f"Getting {experiment.framework} and {experiment.dataset} ready"):
        device, options = _prepare(experiment, options, load_data, interrupt)
    here = machine.describe(device)
    path = options.results_dir / experiment.results / file_name(experiment, here.machine, options.data)
    try:
        results = Results(path)
    except OSError as error:
        raise BadInput(f"--results_dir: {path} cannot be written ({error.strerror}); name another folder") from None
    report.header(experiment, options, device, here, results)
    _stay_awake()
    run = _Run(experiment, options, device, here, results)
    try:
        for batch_size in options.batch_sizes:
            run.time_batch_size(batch_size, train, interrupt)
    except KeyboardInterrupt:
        run.rescue_rows(patience=1)
        report.stopped(run.rows, results)
        return 130
    except BaseException:
        run.rescue_rows(patience=1)
        raise
    run.rescue_rows(patience=10)
    report.table(run.rows, results)
    return 0 if any(row["status"] == "ok" for row in run.rows) and not results.unwritten else 1


def _prepare(
    experiment: Experiment, options: Options, load_data: Callable, interrupt: "_Interrupt"
) -> tuple[machine.Device, Options]:
    """Let a child find the device and the data; return the first, and the options settled by both."""
    # Read by the libraries when they are imported. Whoever has set them has a better place for the files.
    os.environ.setdefault("HF_HOME", str((options.data_dir / "huggingface").resolve()))
    os.environ.setdefault("KERAS_HOME", str((options.data_dir / "keras").resolve()))
    child = _Child(_prepare_child, (experiment, options, load_data), interrupt)
    found = {}
    for kind, content in child.messages():
        if kind == "warning":
            report.warn(content)
        else:
            found[kind] = content
    if "raise" in found:
        raise found["raise"]
    if "data" not in found:
        _, reason = found.get("failed") or child.how_it_ended()
        raise ChildFailed(f"the preparation of the run failed: {reason}")
    which, why_not_real = found["data"]
    if why_not_real:
        report.warn(f"SYNTHETIC DATA, not {experiment.dataset}: {why_not_real}")
    device = found["device"]
    idle = machine.idle_gpu(device) if options.device == "auto" else None
    if idle:
        report.warn(idle)
    # All is fetched by now: in a batch size's own process nothing needs to ask the hub again.
    os.environ["HF_HUB_OFFLINE"] = "1"
    return device, options.but(device=device.type, data=which)


def _prepare_child(send: Callable[[str, object], None], experiment: Experiment, options: Options, load_data) -> None:
    device = _backend(experiment).describe_device(options.device)
    send("device", device)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", data.DataWarning)
        settled = data.settle(options.but(device=device.type), load_data)
    for warning in caught:
        if issubclass(warning.category, data.DataWarning):
            send("warning", str(warning.message))
    send("data", settled)


def _train_child(
    send: Callable[[str, object], None], experiment: Experiment, options: Options, train: Callable, batch_size: int
) -> None:
    warnings.simplefilter("ignore", data.DataWarning)  # said once, when the run was prepared
    backend = _backend(experiment)
    backend.start(options.device)
    train(batch_size, options, Clock(experiment, options, batch_size, backend, send))
    send("done", None)


def _backend(experiment: Experiment):
    return importlib.import_module(f"speed_test.{experiment.framework}")


class _Run:
    """The rows of one run: what is the same in all of them, and what came in so far."""

    def __init__(
        self, experiment: Experiment, options: Options, device: machine.Device, here: machine.Machine, results: Results
    ) -> None:
        self.experiment = experiment
        self.options = options
        self.results = results
        self.rows: list[dict] = []
        self._out_of_memory_at: int | None = None
        self._same = {
            "data": options.data,
            "experiment": experiment.name,
            "framework": experiment.framework,
            "framework_version": device.framework_version,
            "model": experiment.model,
            "dataset": experiment.dataset,
            "input_size": experiment.input_size,
            "precision": experiment.precision,
            "device": device.type,
            **asdict(here),
            "run_id": uuid.uuid4().hex[:12],
            "code_version": machine.code_version(),
            "tf32": device.tf32,
        }

    def time_batch_size(self, batch_size: int, train: Callable, interrupt: "_Interrupt") -> None:
        """Train and time one batch size in a child of its own; whatever becomes of it is in the rows.

        Raises KeyboardInterrupt after Ctrl-C, with the child gone and its finished epochs saved.
        """
        if self._out_of_memory_at is not None and batch_size > self._out_of_memory_at:
            reason = f"batch size {self._out_of_memory_at} ran out of memory already"
            self._failed(batch_size, None, "skipped", reason)
            return
        job = (self.experiment, self.options, train, batch_size)
        child = _Child(_train_child, job, interrupt)
        epochs, done, failure = 0, False, None
        for kind, content in child.messages():
            if kind == "rate":
                report.warn_if_long(self.experiment, self.options, batch_size, content)
            elif kind == "row":
                epochs += 1
                self._save({**self._same, **content, "power": machine.power_source()})
                report.epoch(self.rows[-1], self.options)
            elif kind == "say":
                report.say(content)
            elif kind == "failed":
                failure = content
            elif kind == "done":
                done = True
        if not done:
            self._failed(batch_size, epochs + 1, *(failure or child.how_it_ended()))

    def _failed(self, batch_size: int, epoch: int | None, status: str, reason: str) -> None:
        if status == "out_of_memory":
            self._out_of_memory_at = min(batch_size, self._out_of_memory_at or batch_size)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        row = {"batch_size": batch_size, "epoch": epoch, "status": status, "error": reason, "started_at": now}
        self._save({**self._same, **row})
        report.failure(row)

    def _save(self, row: dict) -> None:
        self.rows.append(row)
        try:
            self.results.append(row)
        except OSError as error:
            report.warn(f"{self.results.path} cannot be written ({error.strerror}); the row is kept and tried again")

    def rescue_rows(self, patience: float) -> None:
        """Try once more what the disk has refused, and print it if it still does."""
        try:
            self.results.flush(patience)
        except OSError:
            report.rescue(self.results)


class ChildFailed(Exception):
    """The child that prepares a run ended without an answer. Its text is one sentence."""


class _Interrupt:
    """Turns Ctrl-C into a flag, so that it can never come between a row and the disk."""

    caught = False

    def __enter__(self) -> "_Interrupt":
        signal.signal(signal.SIGINT, self._catch)
        return self

    def __exit__(self, *_) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def _catch(self, *_) -> None:
        self.caught = True

    def start(self, process: multiprocessing.Process) -> None:
        """Start a child deaf to Ctrl-C from its first instruction on: the terminal sends it to all of us."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            process.start()
        finally:
            signal.signal(signal.SIGINT, self._catch)


class _Child:
    """A spawned process that runs `job(send, *arguments)`, and what it sends."""

    def __init__(self, job: Callable, arguments: tuple, interrupt: _Interrupt) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, childs_end = context.Pipe()
        self._interrupt = interrupt
        self._kills = _system_kills()
        self._process = context.Process(target=_child_main, args=(childs_end, job, arguments))
        interrupt.start(self._process)
        childs_end.close()  # so that the pipe ends with the child

    def messages(self) -> Iterator[tuple[str, object]]:
        """Yield (kind, content) until the child has ended.

        Raises KeyboardInterrupt after Ctrl-C, once the child is gone and all that it had sent was yielded.
        """
        try:
            while True:
                # Asked before the pipe: what a child sent before its end is read before the loop ends. And asked
                # for again and again, for workers of a dead child may keep its end of the pipe open.
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

    def _stop(self) -> Iterator[tuple[str, object]]:
        """End the child, and yield what it had sent by then."""
        _end(self._process)
        try:
            while self._pipe.poll(0):
                yield self._pipe.recv()
        except (EOFError, OSError):
            return

    def how_it_ended(self) -> tuple[str, str]:
        """Status and reason for a child that ended without a word."""
        code = self._process.exitcode
        if code is None or code >= 0:
            return "failed", f"ended without a word, with exit status {code}"
        if code == -signal.SIGKILL and _system_kills() > self._kills:
            return "out_of_memory", "was killed by the system, which had run out of memory"
        name = signal.Signals(-code).name
        hint = ", as the system does when memory runs out" if name == "SIGKILL" else ""
        return "failed", f"was killed by {name}{hint}"


def _end(process: multiprocessing.Process) -> None:
    """Make sure that a child and all that it started are gone."""
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
    """How often Linux has killed a process for its memory since it started; 0 where nothing tells."""
    try:
        counters = dict(line.split() for line in Path("/proc/vmstat").read_text().splitlines())
        return int(counters["oom_kill"])
    except (OSError, KeyError, ValueError):
        return 0


def _child_main(pipe: Connection, job: Callable, arguments: tuple) -> None:
    """The child: run the job, and send its end if that is an exception."""
    report.open_streams()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # lets it tidy up what it began
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _allow_open_files()

    def send(kind: str, content: object) -> None:
        """Return once the parent is done with it, so that it saves and prints nothing while an epoch is timed."""
        pipe.send((kind, content))
        pipe.recv()

    try:
        job(send, *arguments)
    except (BadInput, data.DataUnavailable) as error:
        send("raise", error)
    except Exception as error:
        send("failed", _explain(error))


def _end_with_parent() -> None:
    """A parent that was killed can end nobody: its children have to see to that themselves."""
    multiprocessing.parent_process().join()
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


def _explain(error: Exception) -> tuple[str, str]:
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
    message = report.one_line(message)
    if out_of_memory:
        return "out_of_memory", message or kind
    where = traceback.extract_tb(error.__traceback__)[-1]
    return "failed", f"{kind}: {message or 'no message'} ({Path(where.filename).name}, line {where.lineno})"


def _stay_awake() -> None:
    """Keep a Mac from falling asleep in the middle of an epoch, as long as this process lives."""
    if sys.platform == "darwin" and shutil.which("caffeinate"):
        subprocess.Popen(["caffeinate", "-i", "-w", str(os.getpid())])
