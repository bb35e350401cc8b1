"""A suite that runs: its speed tests, how each ended, and the time that is left."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from speed_test import run_ids, screen
from speed_test.command_line import BadInput, Options
from speed_test.interrupt import Interrupt
from speed_test.results import UNWRITTEN
from speed_test.suite import measured, packages, process, saved, shares
from speed_test.suite.bar import Bar, bar
from speed_test.suite.found import SpeedTest
from speed_test.suite.outcome import Outcome
from speed_test.suite.saved import Saved

WARNING = "WARNING: "  # as screen.warn begins
NOTED = 10.0  # seconds between two notes of how long a test has been running
PASSED_ON = ("data", "data_dir", "results_dir", "device")  # options that all speed tests have


class Suite:
    """The speed tests of one suite and what has become of them. Use it with `with`: what the tests print goes to files
    in a folder of their own, `logs`, which is kept if one of them failed.

    `so_far` is what an ended suite has left, or an empty one. What it left out gets another chance.
    """

    def __init__(self, options: Options, tests: Sequence[SpeedTest], so_far: Saved, interrupt: Interrupt) -> None:
        self.options = options
        self.tests = tests
        self.interrupt = interrupt
        self._said: set[str] = set()  # the beginnings of warnings
        self.has_failed = False
        self.has_unwritten = False  # rows that the disk has refused
        self._so_far = so_far
        self._outcomes = so_far.outcomes
        for name, one in list(self._outcomes.items()):
            if one.status == "left out" and one.run_ids:
                self._outcomes[name] = replace(one, status="stopped")  # it was stopped before it was left out
            elif one.status == "left out":
                del self._outcomes[name]

    def __enter__(self) -> "Suite":
        try:
            self.logs = Path(tempfile.mkdtemp(prefix="run_all_"))
        except OSError as error:
            what = f"the system's folder for temporary files cannot be written ({screen.reason(error)})"
            raise BadInput(f"{what}; set TMPDIR to another one") from None
        return self

    def __exit__(self, *_) -> None:
        if not self.has_failed:
            shutil.rmtree(self.logs, ignore_errors=True)

    # ---- What is to do, and in which time ----

    def to_do(self) -> list[SpeedTest]:
        """The tests that have to run yet."""
        return [
            test
            for test in self.tests
            if test.name not in self._outcomes or self._outcomes[test.name].status == "stopped"
        ]

    def outcomes(self) -> list[Outcome]:
        """How each test ended."""
        not_begun = "before its turn"
        return [
            self._outcomes.get(test.name) or Outcome(test.name, test.script.name, "stopped", not_begun)
            for test in self.tests
        ]

    def spent(self) -> list[shares.Spent]:
        """What each test that has run was given, and took."""
        given = self._so_far.given
        return [shares.Spent(one.name, given.get(one.name), one.seconds) for one in self.outcomes() if one.seconds]

    def left(self) -> float | None:
        """The seconds that are left of the budget, not counting the test that runs; None without a budget."""
        budget = self.options.budget
        return None if budget is None else budget - sum(one.took for one in self.spent())

    def share(self, test: SpeedTest) -> float | None:
        """The budget in seconds for `test`, which is the next; None without a budget. One that was interrupted gets
        what is left of the share that it had."""
        left = self.left()
        if left is None:
            return None
        equal = shares.budget_of_next(left, len(self.to_do()), self.spent())
        had, before = self._so_far.given.get(test.name), self._outcomes.get(test.name)
        return equal if had is None or before is None else max(shares.LEAST_BUDGET, min(equal, had - before.seconds))

    def has_measured(self) -> bool:
        """Whether there is a row of the suite that has measured something."""
        folder = self.options.results_dir
        return any(
            measured.ok(measured.rows_of(folder, test, one.run_ids))
            for test, one in zip(self.tests, self.outcomes(), strict=True)
            if one.run_ids
        )

    # ---- Running a test ----

    def need_not_say(self, warning: str) -> None:
        """Let no test repeat a warning of the machine, whatever its numbers are by then."""
        self._said.add(" ".join(warning.split()[:3]))

    def leave_out(self, test: SpeedTest, reason: str) -> None:
        """Note that `test` does not run, and say why."""
        before = self._outcomes.get(test.name) or Outcome(test.name, test.script.name, "left out")
        self._end(replace(before, status="left out", reason=reason))
        screen.say_sentence(f"{test.name}: left out: {reason}", indent=2)

    def prepare(self, test: SpeedTest) -> None:
        """Let `test` get its packages and its data ready; where that fails it is left out."""
        log = process.Log(self.logs / f"{test.script.stem}_preparation.txt")
        with bar(f"Setting up {test.name}", None) as shown:
            ended = self._run(test, ["--prepare"], (), log, self._watch(test, shown), lambda seconds: False)
        if not ended.status:
            screen.say(f"{test.name}: ready, after {screen.duration(ended.seconds)}")
        elif not self.interrupt.caught:
            self.has_failed = True
            self.leave_out(test, f"it could not be set up: {_last_words(test, log, ended)}")

    def measure(self, test: SpeedTest, place: str) -> None:
        """Run `test` within its share of the time; `place` says which one it is, such as "3 of 7"."""
        given = self.share(test)
        before = self._outcomes.get(test.name) or Outcome(test.name, test.script.name, "stopped", "while it ran")
        before = replace(before, run_ids=(*before.run_ids, run_ids.new()))
        arguments = [] if given is None else [f"--budget={given:g}"]
        if test.name in self._outcomes:
            arguments.append("--resume")
        elif given is not None:
            self._so_far.given[test.name] = given
        self._end(before)  # should this process be killed, the file says which test was running

        log = process.Log(self.logs / f"{test.script.stem}.txt")
        total = None if given is None else given + shares.overhead(self.spent())
        with bar(f"{place}: {test.name}", total) as shown:
            is_too_long = self._is_too_long(given)
            watch = self._keeping(before, self._watch(test, shown, self.left()))
            ended = self._run(test, arguments, before.run_ids, log, watch, is_too_long)
        rows = measured.rows_of(self.options.results_dir, test, before.run_ids)
        seconds = before.seconds + ended.seconds
        outcome = replace(before, reason="", seconds=seconds, run_ids=measured.ids(rows))
        if self.interrupt.caught and ended.status:
            outcome = replace(outcome, status="stopped", reason="while it ran")
        elif measured.ok(rows):
            outcome = replace(outcome, status="measured")
        else:
            reason = measured.failure(rows) or _last_words(test, log, ended)
            outcome = replace(outcome, status="failed", reason=reason)
        self._end(outcome)
        self._say(test, outcome, rows, log, ended)

    def _run(
        self,
        test: SpeedTest,
        arguments: list[str],
        ids: Sequence[str],
        log: process.Log,
        watch: process.Watch,
        is_too_long: process.IsTooLong,
    ) -> process.Ended:
        start = packages.command(test.script, test.packages) or []
        arguments += [f"--{name}={getattr(self.options, name)}" for name in PASSED_ON]
        environment = {
            run_ids.GIVEN: " ".join(ids),
            "PIP_QUIET": os.environ.get("PIP_QUIET", "2"),  # errors only: its warnings would be taken for the test's
        }
        try:
            return process.run([*start, *arguments], environment, log, self.interrupt, watch, is_too_long)
        except OSError as error:  # Python, uv or the script was removed meanwhile
            with contextlib.suppress(OSError):
                log.path.write_text(f"{test.script.name} cannot be started ({screen.reason(error)})", encoding="utf-8")
            return process.Ended(1, 0.0)

    def _watch(self, test: SpeedTest, shown: Bar, left: float | None = None) -> process.Watch:
        """Show the warnings of `test` once, and how far it is."""

        def watch(seconds: float, lines: list[str]) -> None:
            for line in lines:
                text = line.removeprefix(WARNING)
                is_told = text.startswith((*self._said, UNWRITTEN))  # the last is told with the place, see `_say`
                if text != line and not is_told:
                    self._said.add(text)
                    shown.warn(screen.one_line(f"{test.name}: {text}", 1000))
            shown.show(seconds, None if left is None else left - seconds)

        return watch

    def _keeping(self, running: Outcome, watch: process.Watch) -> process.Watch:
        """The same, and note now and then how long the test has been `running`: should this process be killed, a
        resumed suite knows what is left of the test's share."""
        noted = 0.0

        def watch_and_note(seconds: float, lines: list[str]) -> None:
            nonlocal noted
            watch(seconds, lines)
            if seconds - noted >= NOTED:
                noted = seconds
                self._end(replace(running, seconds=running.seconds + seconds))

        return watch_and_note

    def _is_too_long(self, given: float | None) -> Callable[[float], bool]:
        return lambda seconds: given is not None and shares.is_too_long(given, seconds)

    # ---- Keeping and telling how it ended ----

    def _end(self, outcome: Outcome) -> None:
        """Note an outcome, also in the file for --resume."""
        self._outcomes[outcome.name] = outcome
        try:
            saved.save(self._so_far, self.options.results_dir)
        except OSError as error:
            what = f"--resume will not know of this: {saved.FILE} cannot be written ({screen.reason(error)})"
            if what not in self._said:
                self._said.add(what)
                screen.warn(what)

    def _say(
        self,
        test: SpeedTest,
        outcome: Outcome,
        rows: Sequence[measured.Row],
        log: process.Log,
        ended: process.Ended,
    ) -> None:
        """A line of a test that has ended, with the best of what it has measured."""
        found = measured.line(test, rows) if measured.ok(rows) else ""
        if outcome.status == "failed":
            found = f"failed: {outcome.reason}"
        elif outcome.status == "stopped":
            found = f"stopped{': ' if found else ''}{found}"
        screen.say_sentence(f"{test.name}: {found}", indent=2)
        self.has_failed |= outcome.status == "failed"
        if log.holds(UNWRITTEN):
            self.has_failed = self.has_unwritten = True
            screen.warn(
                f"{test.name}: rows that the disk has refused are at the end of {log.path}; copy them from there"
            )
        # 1: it has measured nothing this time, which a resumed test need not.
        if outcome.status == "measured" and (ended.hung or ended.status not in (0, 1)):
            self.has_failed = True
            screen.warn(f"{test.name} did not end well: {_last_words(test, log, ended)}")


def _last_words(test: SpeedTest, log: process.Log, ended: process.Ended) -> str:
    """Why a test has ended, as far as its process tells."""
    if ended.hung:
        return f"it hung, and was ended after {screen.duration(ended.seconds)}"
    name = f"{test.script.name}: "  # a script says so what is wrong
    return (
        screen.one_line(log.last_line(name), 200).removeprefix(name)
        or f"it ended without a word, with exit status {ended.status}"
    )
