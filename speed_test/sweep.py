"""The sweep: prepare, then one fresh child process for each batch size, and every row saved as soon as it exists.

The parent imports no framework, so that it survives whatever ends a child: an exception, the system that kills it
for its memory, a crash in a driver.
"""

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

from speed_test import frameworks, machine, report, resume, screen
from speed_test.child import Child, ChildFailed, Interrupt
from speed_test.clock import Clock
from speed_test.command_line import BadInput, Options, Parser, parse
from speed_test.data import sources
from speed_test.experiment import Epochs, Experiment, KerasFit, Repeats, Timed
from speed_test.results import COLUMNS, MEASUREMENT_VERSION, Results
from speed_test.state import Sweeps, power_source

LoadData = Callable[[Options], object]
Training = Callable[[int | None, Options], Timed]
Describe = Callable[[Options], Experiment]
Send = Callable[[str, object], None]


def main(
    experiment: Experiment,
    load_data: LoadData,
    training: Callable[..., Timed],
    add_options: Callable[[Parser], None] | None = None,
    describe: Describe | None = None,
) -> None:
    """Run a speed test from the command line, and exit.

    `load_data(options)` reads or makes the data, see speed_test/data/sources.py. `training(batch_size, options)` builds
    the model and returns what is to be timed: `Epochs`, `KerasFit` or `Repeats`. It runs in a child process, so it has
    to stand at the top level of the script; a test without batch sizes gets None. `add_options(parser)` adds options
    that only this script has. `describe(options)` returns the experiment with what only this run knows, such as the
    facts of a model's file; it runs once the data are there.

    Exit status: 0 with at least one measured row and all of them saved, 1 without, 2 for bad input, 130 after Ctrl-C.
    """
    script = sys.modules[load_data.__module__]
    screen.open_streams()
    # Python cleans up what a killed child leaves behind, and warns of it; a user can do nothing about that.
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, [os.environ.get("PYTHONWARNINGS"), "ignore:resource_tracker"]))
    with Interrupt() as interrupt:
        try:
            options = parse(experiment, script.__doc__ or "", add_options=add_options)
            _refuse_launchers()
            sys.exit(_run(experiment, options, load_data, training, describe, interrupt))
        except BadInput as error:
            _fail(2, error)
        except (sources.DataUnavailable, ChildFailed) as error:
            _fail(1, error)
        except ModuleNotFoundError as error:
            _fail(1, f"the package {error.name} is missing; python3 speed_test {Path(sys.argv[0]).name} installs it")
        except KeyboardInterrupt:
            _fail(interrupt.exit_status, "stopped before anything was measured")
        finally:
            screen.close_streams()


def _fail(status: int, reason: object) -> None:
    screen.error(f"{Path(sys.argv[0]).name}: {reason}")
    sys.exit(status)


def _refuse_launchers() -> None:
    """Raise BadInput under torchrun and the like: each of their processes would write rows of its own."""
    for variable in ("RANK", "LOCAL_RANK"):
        if variable in os.environ:
            raise BadInput(
                f"{variable} is set, as torchrun and other launchers do, but a speed test runs as one process; "
                f"start it with python {Path(sys.argv[0]).name}"
            )


def _run(
    experiment: Experiment,
    options: Options,
    load_data: LoadData,
    training: Training,
    describe: Describe | None,
    interrupt: Interrupt,
) -> int:
    with screen.working(f"Getting {experiment.framework} and {experiment.real_data} ready"):
        device, options, experiment = _prepare(experiment, options, load_data, describe, interrupt)
    here = machine.describe(device)
    name = machine.file_name(experiment, here.machine, options.data)
    results = _open_results(options.results_dir / experiment.results / name, experiment.columns or COLUMNS)
    report.header(experiment, options, device, here, results)
    shared = _shared_columns(experiment, options, device, here)
    out_of_memory_at = None
    if options.resume:
        estimates = bool(options.max_steps or options.time_limit)
        known = {column: value for column, value in shared.items() if column in results.columns}
        done, out_of_memory_at = resume.done(results.path, known, experiment.identity, estimates)
        options = options.changed(done=done)
        screen.say(f"{screen.count(len(done), experiment.row_is)} found in the CSV already, from an earlier run\n")
    with Sweeps() as sweeps:
        if sweeps.others():
            screen.warn("another speed test is running on this machine: both slow down; wait until it has ended")
        rows = Rows(experiment, results, shared, sweeps)
        sweep = _Sweep(experiment, options, rows, interrupt, out_of_memory_at)
        return rows.saved_by(lambda: sweep.time_all(training), interrupt)


def _open_results(path: Path, columns: tuple[str, ...]) -> Results:
    """The CSV at `path`. Raises BadInput if it cannot be written."""
    try:
        return Results(path, columns)
    except OSError as error:
        what = screen.reason(error)
        raise BadInput(f"--results_dir: {path} cannot be written ({what}); name another folder") from None


def _shared_columns(
    experiment: Experiment, options: Options, device: machine.Device, here: machine.Machine
) -> dict[str, object]:
    """The columns that all rows of a run share: experiment, machine, versions and run."""
    return {
        "experiment": experiment.name,
        "framework": experiment.framework,
        "framework_version": device.framework_version,
        "model": experiment.model,
        "dataset": experiment.dataset,
        "input_size": experiment.input_size,
        "precision": experiment.precision,
        "data": options.data,
        "device": device.type,
        **asdict(here),
        "run_id": uuid.uuid4().hex[:12],
        "code_version": machine.code_version(),
        "tf32": device.tf32,
        "measurement_version": MEASUREMENT_VERSION,
        "figure": experiment.figure,
        "unit": experiment.unit,
        "better": experiment.better,
        **experiment.facts,
    }


def _prepare(
    experiment: Experiment, options: Options, load_data: LoadData, describe: Describe | None, interrupt: Interrupt
) -> tuple[machine.Device, Options, Experiment]:
    """Let a child find the device and the data; return the device, and the options and the experiment as they are
    with both known."""
    # The libraries read these when they are imported. A user who has set them has a better place for the files.
    os.environ.setdefault("HF_HOME", str((options.data_dir / "huggingface").resolve()))
    os.environ.setdefault("KERAS_HOME", str((options.data_dir / "keras").resolve()))
    found = Child(_prepare_child, (experiment, options, load_data, describe), interrupt).answers()
    device = found["device"]
    idle = machine.idle_gpu(device) if options.device == "auto" else None
    if idle:
        screen.warn(idle)
    # Everything is downloaded by now: the child of a batch size does not need to ask the hub again.
    os.environ["HF_HUB_OFFLINE"] = "1"
    return device, options.changed(device=device.type, data=found["data"]), found["experiment"]


def _prepare_child(
    send: Send, experiment: Experiment, options: Options, load_data: LoadData, describe: Describe | None
) -> None:
    try:
        device = frameworks.load(experiment.framework).describe_device(options.device)
        options = options.changed(device=device.type)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", sources.DataWarning)
            data, why_not_real = sources.choose(options, load_data)
        if why_not_real:
            what = "DATA" if experiment.dataset else "MODEL"
            send("warning", f"SYNTHETIC {what}, not {experiment.real_data}: {why_not_real}")
        for warning in caught:
            if issubclass(warning.category, sources.DataWarning):
                send("warning", str(warning.message))
        send("experiment", describe(options.changed(data=data)) if describe else experiment)
        send("device", device)
        send("data", data)
    except (BadInput, sources.DataUnavailable, ModuleNotFoundError) as error:
        send("raise", error)


def _train_child(
    send: Send, experiment: Experiment, options: Options, training: Training, batch_size: int | None
) -> None:
    warnings.simplefilter("ignore", sources.DataWarning)  # printed already, when the run was prepared
    framework = frameworks.load(experiment.framework)
    framework.start(options.device)
    timed = training(batch_size, options)
    clock = Clock(experiment, options, batch_size, framework, send)
    if isinstance(timed, Epochs):
        clock.time_epochs(timed)
    elif isinstance(timed, KerasFit):
        frameworks.load_keras(experiment.framework).time_fit(clock, timed)
    elif isinstance(timed, Repeats):
        clock.time_repeats(timed)
    else:
        raise TypeError(f"a script hands back Epochs, KerasFit or Repeats, not {type(timed).__name__}")
    if timed.after:
        clock.say(timed.after())
    send("done", None)


class Rows:
    """The rows of one run, and where they are saved. `shared` are the columns that all of them have in common."""

    def __init__(self, experiment: Experiment, results: Results, shared: dict, sweeps: Sweeps) -> None:
        self.experiment = experiment
        self.results = results
        self.rows: list[dict] = []
        self._shared = {column: value for column, value in shared.items() if column in results.columns}
        self._sweeps = sweeps
        self._disk_refuses = False

    def saved_by(self, measure: Callable[[], None], interrupt: Interrupt) -> int:
        """Let `measure()` save rows, then print the table; return the exit status.

        Whatever ends `measure`, each row is on the disk or on the screen.
        """
        _stay_awake()
        try:
            measure()
        except KeyboardInterrupt:
            self._rescue(patience=1)
            report.stopped(self.experiment, self.rows, self.results)
            return interrupt.exit_status
        except BaseException:
            self._rescue(patience=1)
            raise
        self._rescue(patience=10)
        if self.rows:
            report.table(self.experiment, self.rows, self.results)
        worked = any(row["status"] == "ok" for row in self.rows) or not self.rows
        return 0 if worked and not self.results.unwritten else 1

    def save(self, row: dict) -> dict:
        """Add the shared columns to a row, append it to the CSV, and return it."""
        state = {"power": power_source(), "other_sweeps": self._sweeps.others()}
        row = {**self._shared, **row, **{name: state[name] for name in state if name in self.results.columns}}
        self.rows.append(row)
        left_alone = len(self.results.left_alone)
        try:
            self.results.append(row)
        except OSError as error:
            if not self._disk_refuses:
                what = screen.reason(error)
                screen.warn(f"{self.results.path} cannot be written ({what}); the rows are kept and tried again")
            self._disk_refuses = True
            return row
        if self._disk_refuses:
            screen.say("The disk takes rows again: all are written")
            self._disk_refuses = False
        if len(self.results.left_alone) > left_alone:
            screen.warn(
                f"{self.results.left_alone[-1]} has got other columns, so it is left as it is; rows now go to "
                f"{self.results.path}"
            )
        return row

    def save_failure(self, status: str, reason: str, batch_size: int | None, epoch: int | None) -> dict:
        """Save a row that says why something did not work."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        where = {} if batch_size is None else {"batch_size": batch_size, "epoch": epoch}
        return self.save({"status": status, "error": reason, "started_at": now, **where})

    def _rescue(self, patience: float) -> None:
        """Try once more to write what the disk has refused, write again what has been removed, and print what still
        cannot be written."""
        try:
            self.results.flush(patience)
            lost = self.results.restore(patience)
        except OSError:
            report.rescue(self.results)
            return
        if lost:
            screen.warn(f"{screen.count(lost, 'row')} had been removed from the CSV during the run; written again")


class _Sweep:
    """Times one batch size after the other."""

    def __init__(
        self, experiment: Experiment, options: Options, rows: Rows, interrupt: Interrupt, out_of_memory_at: int | None
    ) -> None:
        self.experiment = experiment
        self.options = options
        self.rows = rows
        self.interrupt = interrupt
        self._out_of_memory_at = out_of_memory_at

    def time_all(self, training: Training) -> None:
        """Time all batch sizes, or the one piece of work of a test without them.

        Raises KeyboardInterrupt after Ctrl-C, with the child gone and its finished epochs saved.
        """
        for batch_size in self.options.batch_sizes or (None,):
            done = {epoch for size, epoch in self.options.done if size == str(batch_size)} if batch_size else set()
            smaller = self._out_of_memory_at
            if batch_size is None or not smaller or batch_size < smaller:
                if len(done) < self.options.epochs:
                    self._time(batch_size, training)
            elif batch_size > smaller and not done:
                reason = f"batch size {smaller} ran out of memory already"
                report.failure(self.rows.save_failure("skipped", reason, batch_size, None))

    def _time(self, batch_size: int | None, training: Training) -> None:
        """Time one batch size in a child of its own, and save its rows, or one that says why it failed."""
        job = (self.experiment, self.options, training, batch_size)
        child = Child(_train_child, job, self.interrupt, self.options.stall_timeout)
        epochs = 0
        for kind, content in child.messages():
            if kind == "row":
                epochs += 1
                row = self.rows.save(content)
                if batch_size is not None:
                    report.epoch(row, self.options)
            elif kind == "rate" and batch_size is not None:
                report.warn_if_long(self.experiment, self.options, batch_size, content)
            elif kind == "say":
                screen.say(content)
        failure = child.failure()
        if failure:
            status, reason = failure
            if status == "out_of_memory" and batch_size is not None:
                self._out_of_memory_at = min(batch_size, self._out_of_memory_at or batch_size)
            report.failure(self.rows.save_failure(status, reason, batch_size, epochs + 1))


def _stay_awake() -> None:
    """Keep a Mac from falling asleep in the middle of an epoch, as long as this process lives."""
    if sys.platform == "darwin" and shutil.which("caffeinate"):
        subprocess.Popen(["caffeinate", "-i", "-w", str(os.getpid())])
