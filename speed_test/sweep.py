"""The sweep: one batch size after the other, each in a fresh process, and every row safe as soon as it exists.

The parent imports no framework, so that it survives whatever ends a child: an exception, the system that
kills it for its memory, a crash in a driver. Children are spawned, not forked: nothing of one batch size
is left for the next, and it works the same on every system.
"""

import importlib
import os
import shutil
import subprocess
import sys
import uuid
import warnings
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from speed_test import data, machine, report
from speed_test.child import Child, ChildFailed, Interrupt
from speed_test.clock import Clock
from speed_test.command_line import BadInput, Options, Parser, parse
from speed_test.experiment import Experiment
from speed_test.results import COLUMNS, Results, file_name


def main(
    experiment: Experiment, load_data: Callable, train: Callable, add_options: Callable[[Parser], None] | None = None
) -> None:
    """Run a speed test from the command line, and exit: the whole of a script's `main`.

    `load_data(options)` reads or makes the data, see speed_test.data. `train(batch_size, options, clock)`
    builds the model and ends in `clock.time_epochs(...)`; it runs in a child process, and so has to stand
    at the top level of the script. `add_options(parser)` adds options that only this script has.
    """
    script = sys.modules[load_data.__module__]

    def run(interrupt: Interrupt) -> int:
        options = parse(experiment, script.__doc__ or "", add_options=add_options)
        return _run(experiment, options, load_data, train, interrupt)

    launch(run)


def launch(run: Callable[[Interrupt], int]) -> None:
    """Exit with what `run(interrupt)` returns, or with one sentence on why it could not.

    Exit status: 0 with at least one measured row, 1 without, 2 for bad input, 130 after Ctrl-C.
    """
    report.open_streams()
    # Python tidies up what a killed child leaves behind, and warns of it; there is nothing for a user to do.
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, [os.environ.get("PYTHONWARNINGS"), "ignore:resource_tracker"]))
    with Interrupt() as interrupt:
        try:
            sys.exit(run(interrupt))
        except BadInput as error:
            _fail(2, error)
        except (data.DataUnavailable, ChildFailed) as error:
            _fail(1, error)
        except ModuleNotFoundError as error:
            _fail(1, f"the package {error.name} is missing; pip install -r requirements.txt brings it")
        except KeyboardInterrupt:
            _fail(130, "stopped before anything was measured")


def _fail(status: int, reason: object) -> None:
    report.error(f"{Path(sys.argv[0]).name}: {reason}")
    sys.exit(status)


def _run(experiment: Experiment, options: Options, load_data: Callable, train: Callable, interrupt: "Interrupt") -> int:
    with report.working(f"Getting {experiment.framework} and {experiment.dataset} ready"):
        device, options = _prepare(experiment, options, load_data, interrupt)
    here = machine.describe(device)
    results = open_results(
        options.results_dir / experiment.results / file_name(experiment, here.machine, options.data), COLUMNS
    )
    report.header(experiment, options, device, here, results)
    rows = Rows(
        results,
        {
            **identity(device, here),
            "data": options.data,
            "experiment": experiment.name,
            "framework": experiment.framework,
            "model": experiment.model,
            "dataset": experiment.dataset,
            "input_size": experiment.input_size,
            "precision": experiment.precision,
        },
    )
    sweep = _Sweep(experiment, options, rows)

    def measure() -> None:
        for batch_size in options.batch_sizes:
            sweep.time_batch_size(batch_size, train, interrupt)

    return rows.saved_by(measure, "epoch", report.table)


def open_results(path: Path, columns: tuple[str, ...]) -> Results:
    """The CSV at `path`. Raises BadInput where it cannot be written."""
    try:
        return Results(path, columns)
    except OSError as error:
        raise BadInput(f"--results_dir: {path} cannot be written ({error.strerror}); name another folder") from None


def identity(device: machine.Device, here: machine.Machine) -> dict:
    """The columns on machine, versions and run."""
    return {
        "framework_version": device.framework_version,
        "device": device.type,
        **asdict(here),
        "run_id": uuid.uuid4().hex[:12],
        "code_version": machine.code_version(),
        "tf32": device.tf32,
    }


def _prepare(
    experiment: Experiment, options: Options, load_data: Callable, interrupt: "Interrupt"
) -> tuple[machine.Device, Options]:
    """Let a child find the device and the data; return the first, and the options settled by both."""
    # Read by the libraries when they are imported. Whoever has set them has a better place for the files.
    os.environ.setdefault("HF_HOME", str((options.data_dir / "huggingface").resolve()))
    os.environ.setdefault("KERAS_HOME", str((options.data_dir / "keras").resolve()))
    found = Child(_prepare_child, (experiment, options, load_data), interrupt).answers()
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


class Rows:
    """The rows of one run: what is the same in all of them, and what came in so far."""

    def __init__(self, results: Results, same: dict) -> None:
        self.results = results
        self.rows: list[dict] = []
        self._same = {column: value for column, value in same.items() if column in results.columns}

    def saved_by(self, measure: Callable[[], None], unit: str, table: Callable[[list[dict], Results], None]) -> int:
        """Let `measure()` save rows, then print the `table`; return the exit status.

        Whatever ends `measure`, each row is on the disk or on the screen; `unit` is what a row is called there.
        """
        _stay_awake()
        try:
            measure()
        except KeyboardInterrupt:
            self._rescue(patience=1)
            report.stopped(self.rows, self.results, unit)
            return 130
        except BaseException:
            self._rescue(patience=1)
            raise
        self._rescue(patience=10)
        table(self.rows, self.results)
        return 0 if any(row["status"] == "ok" for row in self.rows) and not self.results.unwritten else 1

    def save(self, row: dict) -> dict:
        """Append a row, what is the same in all of them added; return it."""
        row = {**self._same, **row}
        self.rows.append(row)
        try:
            self.results.append(row)
        except OSError as error:
            report.warn(f"{self.results.path} cannot be written ({error.strerror}); the row is kept and tried again")
        return row

    def save_failure(self, status: str, reason: str, **columns: object) -> dict:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return self.save({"status": status, "error": reason, "started_at": now, **columns})

    def _rescue(self, patience: float) -> None:
        """Try once more what the disk has refused, and print it if it still does."""
        try:
            self.results.flush(patience)
        except OSError:
            report.rescue(self.results)


class _Sweep:
    """One batch size after the other."""

    def __init__(self, experiment: Experiment, options: Options, rows: Rows) -> None:
        self.experiment = experiment
        self.options = options
        self.rows = rows
        self._out_of_memory_at: int | None = None

    def time_batch_size(self, batch_size: int, train: Callable, interrupt: Interrupt) -> None:
        """Train and time one batch size in a child of its own; whatever becomes of it is in the rows.

        Raises KeyboardInterrupt after Ctrl-C, with the child gone and its finished epochs saved.
        """
        if self._out_of_memory_at is not None and batch_size > self._out_of_memory_at:
            reason = f"batch size {self._out_of_memory_at} ran out of memory already"
            self._failed(batch_size, None, "skipped", reason)
            return
        job = (self.experiment, self.options, train, batch_size)
        child = Child(_train_child, job, interrupt)
        epochs = 0
        for kind, content in child.messages():
            if kind == "rate":
                report.warn_if_long(self.experiment, self.options, batch_size, content)
            elif kind == "row":
                epochs += 1
                report.epoch(self.rows.save({**content, "power": machine.power_source()}), self.options)
            elif kind == "say":
                report.say(content)
        failure = child.failure()
        if failure:
            self._failed(batch_size, epochs + 1, *failure)

    def _failed(self, batch_size: int, epoch: int | None, status: str, reason: str) -> None:
        if status == "out_of_memory":
            self._out_of_memory_at = min(batch_size, self._out_of_memory_at or batch_size)
        report.failure(self.rows.save_failure(status, reason, batch_size=batch_size, epoch=epoch))


def _stay_awake() -> None:
    """Keep a Mac from falling asleep in the middle of an epoch, as long as this process lives."""
    if sys.platform == "darwin" and shutil.which("caffeinate"):
        subprocess.Popen(["caffeinate", "-i", "-w", str(os.getpid())])
