"""The sweep: prepare, then one fresh child process for each batch size, and every row saved as soon as it exists.

The parent imports no framework, so that it survives whatever ends a child: an exception, the system that kills it
for its memory, a crash in a driver.
"""

import contextlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, NoReturn

from speed_test import early_interrupt, launchers, machine, report, resume, run_ids, screen, state, switches
from speed_test.budget import Measured
from speed_test.child import Child, ChildFailed
from speed_test.command_line import BadInput, Options, Parser, parse
from speed_test.cooldown import Cooldown
from speed_test.data import sources
from speed_test.experiment import Experiment, Timed
from speed_test.interrupt import Interrupt
from speed_test.prepare import Describe, LoadData, prepare
from speed_test.ranks import RankLost, Ranks
from speed_test.results import COLUMNS, Results
from speed_test.rows import Rows
from speed_test.search import Search
from speed_test.shared import shared_columns
from speed_test.switches import Switches
from speed_test.timetable import Timetable
from speed_test.train import Training, train
from speed_test.until import Until

SECONDS_TO_CHANGE = 60


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
            early_interrupt.raise_missed()
            if launchers.local_rank():
                screen.silence()  # the first process of each machine says what is wrong, until all know each other
            options = parse(experiment, script.__doc__ or "", add_options=add_options)
            place = launchers.place(experiment, options)
            options = launchers.relaunch(experiment, options, interrupt)
            with Ranks(place, interrupt) as ranks:
                started = Script(experiment, options, load_data, training, describe, interrupt, ranks)
                if ranks.follows:
                    _follow(started)
                with state.Monitor(launcher=os.getppid() if place else None) as monitor, state.Sweeps() as sweeps:
                    sys.exit(_run(started, monitor, sweeps))
        except BadInput as error:
            _fail(2, error)
        except (sources.DataUnavailable, ChildFailed, RankLost) as error:
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


class Script(NamedTuple):
    """What a script hands to `main`, and how it was started."""

    experiment: Experiment
    options: Options
    load_data: LoadData
    training: Training
    describe: Describe | None
    interrupt: Interrupt
    ranks: Ranks

    def prepare(self) -> tuple[machine.Device, Options, Experiment, list[Switches]]:
        """See speed_test/prepare.py."""
        return prepare(self.experiment, self.options, self.load_data, self.describe, self.interrupt, self.ranks)


def _run(script: Script, monitor: state.Monitor, sweeps: state.Sweeps) -> int:
    monitor.begin()
    experiment, ranks = script.experiment, script.ranks
    with screen.working(f"Getting {experiment.framework} and {experiment.real_data} ready"):
        device, options, experiment, supported = script.prepare()
    if options.prepare:
        report.ready(experiment, options)
        return 0
    began = time.monotonic()
    here = machine.describe(device)
    name = machine.file_name(experiment, here.machine, options.data)
    results = _open_results(options.results_dir / experiment.results / name, experiment.columns or COLUMNS)
    shared = shared_columns(experiment, options, device, here, ranks)
    monitor.watch(device.type, device.uuid)
    at_start = {**shared, **monitor.now(), "other_sweeps": sweeps.others()}
    report.header(experiment, options, device, here, results, at_start)
    found = _found(experiment, options, results, shared) if options.resume else resume.NOTHING
    rows = Rows(experiment, options, results, shared, monitor, sweeps)
    cooldown = Cooldown(options.cooldown, monitor, at_start, script.interrupt)
    timetable = Timetable(options, began, found, here.memory_gb)
    script = script._replace(experiment=experiment, options=options)
    sweep = _Sweep(script, rows, found, cooldown, timetable, supported)
    return rows.saved_by(sweep.time_all, script.interrupt, has_before=bool(found.rates))


def _follow(script: Script) -> NoReturn:
    """As a rank other than 0: start a child whenever rank 0 says so, until it tells the exit status."""
    _, options, experiment, _ = script.prepare()
    while True:
        order = script.ranks.told("order")
        changes = {"epochs": order["epochs"], "done": frozenset(map(tuple, order["done"]))}
        arguments = (experiment, options.changed(**changes), script.training, order["batch_size"])
        child = script.ranks.child(train, arguments, options.stall_timeout)
        for _ in child.messages():
            pass  # rank 0's rows are those of all
        script.ranks.verdict(child.failure())


def _found(experiment: Experiment, options: Options, results: Results, shared: dict[str, object]) -> resume.Found:
    """What the CSV has already, for --resume; says how much."""
    estimates = bool(options.max_steps or options.time_limit or options.budget)
    found = resume.done(results.path, results.fitting(shared), experiment.identity, estimates, run_ids.given())
    rows = sum(len(found.rows.get(run, ())) for run in range(1, options.runs + 1))
    screen.say(f"{screen.count(rows, experiment.row_is)} found in the CSV already, from an earlier run")
    if found.out_of_memory:
        screen.say_sentence(
            f"Batch size {found.out_of_memory} ran out of memory then, so it and larger ones are left out; without "
            "--resume they are tried again"
        )
    screen.say()
    return found


def _open_results(path: Path, columns: tuple[str, ...]) -> Results:
    """The CSV at `path`. Raises BadInput if it cannot be written."""
    try:
        return Results(path, columns)
    except OSError as error:
        what = screen.reason(error)
        raise BadInput(f"--results_dir: {path} cannot be written ({what}); name another folder") from None


class _Sweep:
    """Times one batch size after the other, as often as --runs says."""

    def __init__(
        self,
        script: Script,
        rows: Rows,
        found: resume.Found,
        cooldown: Cooldown,
        timetable: Timetable,
        supported: list[Switches],
    ) -> None:
        self.experiment = script.experiment
        self.options = script.options
        self.training = script.training
        self.ranks = script.ranks
        self.rows = rows
        self._found = found
        self._timetable = timetable
        self._cooldown = cooldown
        self._supported = supported
        self._out_of_memory_at = found.out_of_memory
        self._skipped: set[int] = set()
        self._first: _First | None = None

    def time_all(self) -> None:
        """Time all batch sizes, or the one piece of work of a test without them.

        Raises KeyboardInterrupt after Ctrl-C, with the child gone and its finished epochs saved.
        """
        search = Search(self._supported, self._child)
        for run in range(1, self.options.runs + 1):
            self.rows.start_run(run)
            if self.options.runs > 1:
                screen.say(f"Run {run} of {self.options.runs}")
            for batch_size, options in self._timetable.of_run(run):
                done = self._found.rows.get(run, frozenset())
                if batch_size is not None:
                    done = frozenset(key for key in done if key[0] == str(batch_size))
                rates = self._found.rates.get((run, str(batch_size or "")), [])
                if self._is_to_be_timed(batch_size, done, rates):
                    options = options.changed(done=done, done_rates=rates)
                    if options.best and batch_size is not None:
                        options = search.options(batch_size, options)
                    self._cooldown.rest()
                    self._time(batch_size, options)
                if self.ranks.lost:
                    screen.warn(f"{self.ranks.lost}; what was still to be measured is left out")
                    return
        for sentence in self._timetable.sentences():
            screen.say_sentence(sentence)
        self._measure_first_limit_again()

    def _is_to_be_timed(
        self, batch_size: int | None, done: frozenset[tuple[str, ...]], rates: list[list[float]]
    ) -> bool:
        """Whether a batch size may fit into the memory and anything of it is left to measure, by what --resume has
        found: the rows that are `done`, and the `rates` of the blocks of each. Saves a row if it may not fit."""
        until = Until(self.options.until, self.experiment.row_is, batch_size)
        if any(until.enough(some, is_last=False) for some in rates):
            return False
        if why := self._timetable.why_skipped(batch_size):
            report.failure(self.rows.save_failure("skipped", why, batch_size, None))
            return False
        if batch_size is None:
            return True
        smaller = self._out_of_memory_at
        if smaller and batch_size > smaller and not done and batch_size not in self._skipped:
            self._skipped.add(batch_size)
            reason = f"batch size {smaller} ran out of memory already"
            report.failure(self.rows.save_failure("skipped", reason, batch_size, None))
        has_all = len(done) >= self.options.epochs and not self.options.budget
        return not has_all and (not smaller or batch_size < smaller)

    def _time(self, batch_size: int | None, options: Options) -> None:
        """Time one batch size in a child of its own, and save its rows, or one that says why it failed."""
        started = time.monotonic()
        child = self._child(batch_size, options)
        epoch: int | None = 1  # the one that a failure would be of
        learnt: Measured | None = None
        for kind, content in child.messages():
            if kind == "begin":
                self.rows.begin()
            elif kind in ("row", "held"):
                row = self.rows.save(content) if kind == "row" else self.rows.hold(content)
                epoch = row["epoch"] + 1 if kind == "row" and batch_size is not None else None
                if batch_size is not None:
                    report.epoch(row, options)
                learnt = learnt and learnt.with_epoch(row)
            elif kind == "rest":
                self.rows.release(content)
                child.has_to_end = None  # all is measured
            elif kind == "rate" and batch_size is not None:
                now = time.monotonic()
                self._first = self._first or _First(batch_size, content, now, now - started, options)
                learnt = Measured(batch_size, content)
                report.warn_if_long(self.experiment, options, batch_size, content, self.ranks.size)
            elif kind == "plan" and learnt:
                options = options.changed(epochs=content["epochs"])
                learnt = learnt._replace(overhead=content["overhead"])
            elif kind == "say":
                screen.say(content)
        self.rows.release()
        status, reason = self.ranks.verdict(child.failure()) or ("", "")
        # One that was killed had its last word long before.
        tail = child.seconds_of_ending if status in ("", "skipped") else None
        self._timetable.ended(batch_size, learnt, tail, status)
        if status:
            if status == "out_of_memory" and batch_size is not None:
                self._out_of_memory_at = min(batch_size, self._out_of_memory_at or batch_size)
            # What was skipped is no epoch.
            of_epoch = None if status == "skipped" else epoch
            row = self.rows.save_failure(status, reason, batch_size, of_epoch, self._switches(options))
            report.failure(row)

    def _switches(self, options: Options) -> dict[str, object]:
        found = switches.columns(self.experiment.switches, options, self.experiment.precision)
        return {**found, "compiled": True} if options.compile else found  # --best has chosen it

    def _child(self, batch_size: int | None, options: Options) -> Child:
        order = {"batch_size": batch_size, "epochs": options.epochs, "done": sorted(options.done)}
        arguments = (self.experiment, options, self.training, batch_size)
        child = self.ranks.child(train, arguments, options.stall_timeout, order)
        child.has_to_end = self._timetable.child_has_to_end
        return child

    def _measure_first_limit_again(self) -> None:
        """Tell whether the machine has become slower since the first batch size was measured.

        The last one is measured again by its own child. And within a minute a machine hardly changes.
        """
        if not self._first or not self._timetable.has_time_for(self._first.seconds):
            return
        batch_size, rate, when, _, options = self._first
        last = self.rows.rows[-1].get("batch_size")
        if time.monotonic() - when < SECONDS_TO_CHANGE or (batch_size == last and self.options.runs == 1):
            return
        with contextlib.suppress(KeyboardInterrupt):  # all has been measured, and only this is left out
            child = self._child(batch_size, options.changed(epochs=0, share=None))
            for kind, content in child.messages():
                if kind == "rate":
                    report.change(batch_size, rate, content)
            self.ranks.verdict(child.failure())


class _First(NamedTuple):
    """The first compute limit of a sweep: its batch size, when it was measured, so many seconds after its child was
    started, and with which options."""

    batch_size: int
    rate: float
    when: float
    seconds: float
    options: Options
