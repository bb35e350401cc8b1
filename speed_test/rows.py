"""The rows of a sweep: where they come together, and how they are saved whatever happens."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType

from speed_test import report, resume, run_ids, screen
from speed_test.command_line import Options
from speed_test.epoch import now_in_utc
from speed_test.experiment import Experiment
from speed_test.interrupt import Interrupt
from speed_test.results import Results
from speed_test.state import Monitor, Sweeps

NOTHING: Mapping[str, object] = MappingProxyType({})


class Rows:
    """The rows of a sweep, and where they are saved. `shared` are the columns that all of them have in common."""

    def __init__(
        self,
        experiment: Experiment,
        options: Options,
        results: Results,
        shared: Mapping[str, object],
        monitor: Monitor,
        sweeps: Sweeps,
    ) -> None:
        self.experiment = experiment
        self.options = options
        self.results = results
        self.rows: list[dict] = []
        self._shared = dict(shared)
        self._monitor = monitor
        self._sweeps = sweeps
        self._held: dict | None = None
        self._disk_refuses = False

    def _earlier(self) -> list[dict[str, str]]:
        """The rows of earlier runs in the same CSV, and in those beside it."""
        ours = {row.get("run_id") for row in self.rows}
        return [row for row in resume.rows_of(self.results.first) if row.get("run_id") not in ours]

    def begin(self) -> None:
        """An epoch or piece of work begins: look at the machine."""
        self._monitor.begin()

    def start_run(self, number: int) -> None:
        """The rows that follow are of repetition `number`, from 1."""
        given = run_ids.given() if number == 1 else ()
        self._shared |= {"run": number, "run_id": given[-1] if given else run_ids.new()}

    def saved_by(self, measure: Callable[[], None], interrupt: Interrupt, has_before: bool) -> int:
        """Let `measure()` save rows, then print the table; return the exit status. It is 0 if anything has been
        measured, or if nothing was left to be measured because --resume `has_before` what it found.

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
            report.table(self.experiment, self.options, self.rows, self._earlier(), self.results)
        worked = any(row["status"] == "ok" for row in self.rows) if self.rows else has_before
        return 0 if worked and not self.results.unwritten else 1

    def save(self, row: dict) -> dict:
        """Add the shared columns and the machine's state to a row, append it to the CSV, and return it."""
        row = self._complete(row)
        self._append(row)
        return row

    def hold(self, row: dict) -> dict:
        """The same for a row that still lacks columns: it is appended when `release` brings them, or in any case when
        the batch size has ended."""
        self._held = self._complete(row)
        return self._held

    def release(self, rest: Mapping[str, object] | None = None) -> None:
        """Append the row that was held, if there is one, with the `rest` of its columns."""
        row, self._held = self._held, None
        if row:
            row.update(self.results.fitting(rest or {}))
            self._append(row)

    def _complete(self, row: dict) -> dict:
        state = self._monitor.end()
        # The machine may have slept, and the child alone may have been stopped.
        seconds = [columns.get("suspended_seconds") for columns in (state, row)]
        known = [second for second in seconds if isinstance(second, float)]
        state |= {"suspended_seconds": sum(known) if known else None, "other_sweeps": self._sweeps.others()}
        row = {**self._shared, **row}
        # It was read of one of several GPUs or machines.
        if (row.get("num_processes") or 1) != 1 and ((row.get("num_nodes") or 1) != 1 or row.get("device") != "cpu"):
            state["energy_joules"] = None
        row = self.results.fitting({**row, **state})
        self.rows.append(row)
        return row

    def _append(self, row: dict) -> None:
        left_alone = len(self.results.left_alone)
        try:
            self.results.append(row)
        except OSError as error:
            if not self._disk_refuses:
                what = screen.reason(error)
                screen.warn(f"{self.results.path} cannot be written ({what}); the rows are kept and tried again")
            self._disk_refuses = True
            return
        if self._disk_refuses:
            screen.say("The disk takes rows again: all are written")
            self._disk_refuses = False
        if len(self.results.left_alone) > left_alone:
            screen.warn(
                f"{self.results.left_alone[-1]} has got other columns, so it is left as it is; rows now go to "
                f"{self.results.path}"
            )

    def save_failure(
        self, status: str, reason: str, batch_size: int | None, epoch: int | None, more: Mapping[str, object] = NOTHING
    ) -> dict:
        """Save a row that says why something did not work, with `more` columns."""
        where: dict[str, object] = {} if batch_size is None else {"batch_size": batch_size, "epoch": epoch}
        if batch_size is not None and isinstance(processes := self._shared.get("num_processes"), int):
            where["global_batch_size"] = batch_size * processes
        return self.save({"status": status, "error": reason, "started_at": now_in_utc(), **where, **more})

    def _rescue(self, patience: float) -> None:
        """Append a row that is still held, try once more to write what the disk has refused, write again what has
        been removed, and print what still cannot be written."""
        self.release()
        lost = 0
        with contextlib.suppress(OSError):
            self.results.flush(patience)
        with contextlib.suppress(OSError):  # also if that has failed: all that is not in the file is to be printed
            lost = self.results.restore(patience)
        if self.results.unwritten:
            report.rescue(self.results)
        elif lost:
            screen.warn(f"{screen.count(lost, 'row')} had been removed from the CSV during the run; written again")


def _stay_awake() -> None:
    """Keep a Mac from falling asleep in the middle of an epoch, as long as this process lives."""
    if sys.platform == "darwin" and shutil.which("caffeinate"):
        subprocess.Popen(["caffeinate", "-i", "-w", str(os.getpid())])
