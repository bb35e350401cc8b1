"""Which batch sizes a sweep has, and until when each is measured: all of --batch_sizes, or what fits into --budget."""

import time
from collections.abc import Iterator

from speed_test import steady
from speed_test.budget import Measured, Share, Shares
from speed_test.clock import costs
from speed_test.command_line import Options
from speed_test.resume import Found

TAIL_SECONDS = 1.0  # from the last word of a child to its end, as long as none has been measured
SUMMARY_SECONDS = 0.3  # for what is said at the end of a run
MUCH = 0.1  # of the budget: that it is left is worth a sentence
LATE = 0.06  # of the budget, for a step that takes longer than it seemed; but at least...
LATE_SECONDS = 1  # ...so long may a silent child live on after its end; ending it may take two seconds more


class Timetable:
    """The batch sizes of each run. `began` is the time.monotonic() at which the time of --budget began, `found` what
    --resume has found, and `memory_gb` the memory of the device, if it is known."""

    def __init__(self, options: Options, began: float, found: Found, memory_gb: float | None) -> None:
        self._options = options
        self._found = found
        self._tail = TAIL_SECONDS
        self._shares: Shares | None = None
        if options.budget:
            self._end = began + options.budget - SUMMARY_SECONDS
            self._shares = Shares(
                options.batch_sizes, costs(), options.has_chosen_sizes, memory_gb, options.runs, found.out_of_memory
            )

    def of_run(self, run: int) -> Iterator[tuple[int | None, Options]]:
        """The batch sizes of a run, from 1 (None: of a test without them), each with the options of its child."""
        if not self._shares:
            yield from ((batch_size, self._options) for batch_size in self._options.batch_sizes or (None,))
            return
        for batch_size, seconds in self._shares.of_run(run, lambda: self.left, self._done(run)):
            now = time.monotonic()
            share = Share(now, now + seconds - self._tail, self._end - self._tail, self._shares.following)
            yield batch_size, self._options.changed(share=share)

    def _done(self, run: int) -> set[int | None]:
        """The batch sizes of which --resume has found a row, be it of a part of an epoch; a test without batch sizes
        is done if it has enough rows for an interval."""
        rows = self._found.rows.get(run, frozenset())
        if not self._options.batch_sizes:
            return {None} if len(rows) >= steady.TOO_FEW else set()
        return {int(batch_size) for batch_size, epoch in rows if batch_size and epoch}

    @property
    def left(self) -> float:
        """Seconds that are left of the budget."""
        return self._end - time.monotonic()

    @property
    def child_has_to_end(self) -> float | None:
        """When a child that shows no sign of life is ended, by time.monotonic(); None without a budget."""
        if not self._options.budget:
            return None
        return self._end + max(LATE * self._options.budget, LATE_SECONDS)

    def why_skipped(self, batch_size: int | None) -> str:
        """Why a batch size cannot be measured any more, "" if it can."""
        return self._shares.why_skipped(batch_size, self.left) if self._shares else ""

    def has_time_for(self, seconds: float) -> bool:
        """Whether a child of so many seconds fits."""
        return not self._shares or seconds + self._tail <= self.left

    def ended(self, batch_size: int | None, found: Measured | None, tail: float | None, status: str) -> None:
        """The child of a batch size has ended, `tail` seconds after its last word (None: unknown): what was `found` of
        its speed, and with which status it failed ("" if it did not)."""
        if not self._shares:
            return
        if tail is not None:
            self._tail = max(tail, 0 if self._tail == TAIL_SECONDS else self._tail)
        if found:
            self._shares.measured(found)
        if batch_size is not None and status in ("out_of_memory", "skipped"):
            self._shares.too_large(batch_size)

    def sentences(self) -> list[str]:
        """What was left out, and why; and how much of the budget was not used, if it is much."""
        if not self._shares or not self._options.budget:
            return []
        rest = self.left
        unused = [f"{rest:,.0f} s of --budget were left."] if rest > MUCH * self._options.budget else []
        return [*self._shares.sentences(), *unused]
