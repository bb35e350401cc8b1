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

from speed_test import frameworks, machine, report, screen
from speed_test.child import Child, ChildFailed, Interrupt
from speed_test.clock import Clock
from speed_test.command_line import BadInput, Options, Parser, parse
from speed_test.data import sources
from speed_test.experiment import Epochs, Experiment, KerasFit, Repeats, Timed
from speed_test.results import COLUMNS, MEASUREMENT_VERSION, Results
from speed_test.state import power_source

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

    Exit status: 0 with at least one measured row, 1 without, 2 for bad input, 130 after Ctrl-C.
    """
    script = sys.modules[load_data.__module__]
    screen.open_streams()
    # Python cleans up what a killed child leaves behind, and warns of it; a user can do nothing about that.
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, [os.environ.get("PYTHONWARNINGS"), "ignore:resource_tracker"]))
    with Interrupt() as interrupt:
        try:
            options = parse(experiment, script.__doc__ or "", add_options=add_options)
            sys.exit(_run(experiment, options, load_data, training, describe, interrupt))
        except BadInput as error:
            _fail(2, error)
        except (sources.DataUnavailable, ChildFailed) as error:
            _fail(1, error)
        except ModuleNotFoundError as error:
            _fail(1, f"the package {error.name} is missing; pip install -r requirements.txt brings it")
        except KeyboardInterrupt:
            _fail(130, "stopped before anything was measured")


def _fail(status: int, reason: object) -> None:
    screen.error(f"{Path(sys.argv[0]).name}: {reason}")
    sys.exit(status)


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
    rows = Rows(experiment, results, _shared_columns(experiment, options, device, here))
    sweep = _Sweep(experiment, options, rows)

    def measure() -> None:
        for batch_size in options.batch_sizes or (None,):
            sweep.time_batch_size(batch_size, training, interrupt)

    return rows.saved_by(measure)


def _open_results(path: Path, columns: tuple[str, ...]) -> Results:
    """The CSV at `path`. Raises BadInput if it cannot be written."""
    try:
        return Results(path, columns)
    except OSError as error:
        raise BadInput(f"--results_dir: {path} cannot be written ({error.strerror}); name another folder") from None


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
    except (BadInput, sources.DataUnavailable) as error:
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

    def __init__(self, experiment: Experiment, results: Results, shared: dict) -> None:
        self.experiment = experiment
        self.results = results
        self.rows: list[dict] = []
        self._shared = {column: value for column, value in shared.items() if column in results.columns}

    def saved_by(self, measure: Callable[[], None]) -> int:
        """Let `measure()` save rows, then print the table; return the exit status.

        Whatever ends `measure`, each row is on the disk or on the screen.
        """
        _stay_awake()
        try:
            measure()
        except KeyboardInterrupt:
            self._rescue(patience=1)
            report.stopped(self.experiment, self.rows, self.results)
            return 130
        except BaseException:
            self._rescue(patience=1)
            raise
        self._rescue(patience=10)
        report.table(self.experiment, self.rows, self.results)
        return 0 if any(row["status"] == "ok" for row in self.rows) and not self.results.unwritten else 1

    def save(self, row: dict) -> dict:
        """Add the shared columns to a row, append it to the CSV, and return it."""
        row = {**self._shared, **row}
        self.rows.append(row)
        try:
            self.results.append(row)
        except OSError as error:
            screen.warn(f"{self.results.path} cannot be written ({error.strerror}); the row is kept and tried again")
        return row

    def save_failure(self, status: str, reason: str, batch_size: int | None, epoch: int | None) -> dict:
        """Save a row that says why something did not work."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        where = {} if batch_size is None else {"batch_size": batch_size, "epoch": epoch}
        return self.save({"status": status, "error": reason, "started_at": now, **where})

    def _rescue(self, patience: float) -> None:
        """Try once more to write what the disk has refused, and print it if it still does."""
        try:
            self.results.flush(patience)
        except OSError:
            report.rescue(self.results)


class _Sweep:
    """Times one batch size after the other."""

    def __init__(self, experiment: Experiment, options: Options, rows: Rows) -> None:
        self.experiment = experiment
        self.options = options
        self.rows = rows
        self._out_of_memory_at: int | None = None

    def time_batch_size(self, batch_size: int | None, training: Training, interrupt: Interrupt) -> None:
        """Time one batch size in a child of its own, and save its rows, or one that says why it failed.

        Raises KeyboardInterrupt after Ctrl-C, with the child gone and its finished epochs saved.
        """
        smaller = self._out_of_memory_at
        if batch_size is not None and smaller is not None and batch_size > smaller:
            reason = f"batch size {smaller} ran out of memory already"
            report.failure(self.rows.save_failure("skipped", reason, batch_size, None))
            return
        child = Child(_train_child, (self.experiment, self.options, training, batch_size), interrupt)
        epochs = 0
        for kind, content in child.messages():
            if kind == "row":
                epochs += 1
                row = self.rows.save({**content, "power": power_source()})
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
                self._out_of_memory_at = min(batch_size, smaller or batch_size)
            report.failure(self.rows.save_failure(status, reason, batch_size, epochs + 1))


def _stay_awake() -> None:
    """Keep a Mac from falling asleep in the middle of an epoch, as long as this process lives."""
    if sys.platform == "darwin" and shutil.which("caffeinate"):
        subprocess.Popen(["caffeinate", "-i", "-w", str(os.getpid())])
