"""--budget in the child of a batch size: what still fits before its deadline.

Deadlines are times of `time.monotonic()`, which is one clock for all processes of a machine.
"""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from speed_test import budget
from speed_test.budget import Costs, Share
from speed_test.child import Skipped

if TYPE_CHECKING:
    from speed_test.command_line import Options

MUCH = 0.1  # of the time for epochs: that it is left is worth a line
LIMIT_SHARE = 0.1  # of what is left of a share: for the compute limit before the first epoch, or for two seconds of it
LATE = 1.1  # the first piece of work may take so many times what is left, since that is an estimate


class Pace:
    """What a child measures in its `share`. `now()` is the time."""

    def __init__(self, share: Share, costs: Costs, now: Callable[[], float] = time.monotonic) -> None:
        self._share = share
        self._deadline = share.deadline
        self._costs = costs
        self._now = now
        self._may_reach_end = True
        self._limit_seconds = 0.0
        self.overhead = 0.0

    @property
    def left(self) -> float:
        """Seconds until the end of the budget."""
        return self._share.end - self._now()

    @property
    def _left_of_share(self) -> float:
        return max(self._deadline - self._now(), 0.0)

    # ---- Epochs ----

    def needs_another_step(self, seconds: Sequence[float]) -> bool:
        """After steps of the warm-up that took `seconds`: whether one more is needed to tell how long a step takes.

        The first one may be long, for it compiles and chooses kernels. Raises Skipped if too little is left.
        """
        step, left = min(seconds), self.left
        if budget.fits(step, left, self._costs):
            return False
        if len(seconds) == 1 and step <= left:
            return True
        what = "the first step took" if len(seconds) == 1 else "a step takes"
        raise Skipped(f"{what} {step:,.3g} s, and {max(left, 0):,.0f} s were left of --budget")

    def may_reach_end(self, epoch: float) -> bool:
        """Whether an epoch, of so many seconds at the compute limit, may fit, so that its last batch has to be warmed
        up on. If not, only a part is planned."""
        self._may_reach_end = epoch / 2 <= self.left
        return self._may_reach_end

    def plan_epochs(
        self,
        options: "Options",
        rate: float,
        batch_size: int,
        samples: int,
        warm_up: float,
        limit: float,
    ) -> "Options":
        """The options with as many epochs of so many `samples` as fit, and a time limit.

        `rate` is the compute limit in samples per second. Warm-up and limit took `warm_up` and `limit` seconds.
        """
        now, step = self._now(), batch_size / rate
        # What compiling and choosing kernels took of the warm-up is overhead too: it comes again at each batch size.
        self.overhead = now - self._share.started - min(warm_up, self._costs.warm_up(step)) - limit
        self._rate, self._step, self._most = rate, step, options.epochs
        self._limit_seconds = self._reserve = limit
        least = now + budget.FEWEST_STEPS * step + self._reserve
        self._deadline = budget.deadline_of(self._share, least, rate, self.overhead, self._costs)
        if self._left_of_share < self._reserve + step:
            self._reserve = 0.0
        self._epoch_began = self._now()
        self._planned_seconds = left = self._left_of_share - self._reserve
        self._plan = budget.plan(left, self._reserve, samples / rate, step, options.epochs, self._may_reach_end)
        self._done = 0
        return options.changed(epochs=self._plan.epochs, time_limit=self._plan.time_limit)

    def plan_next(self, options: "Options", is_whole: bool, rate: float) -> "tuple[Options, bool, str]":
        """After an epoch at a `rate` in samples per second, of which all was measured if it `is_whole`: the options for
        the next one, whether there is none, and if so why."""
        now = self._now()
        if rate > self._rate:  # the compute limit was measured in a bad moment, and more can follow than it seemed
            self._step *= self._rate / rate
            self._rate = rate
            self._deadline = budget.deadline_of(self._share, now + self._reserve, rate, self.overhead, self._costs)
        last, self._epoch_began = now - self._epoch_began, now
        self._done += 1
        left = self._left_of_share - self._reserve
        if is_whole or not self._plan.whole:
            following = budget.next_epoch(self._plan, self._done, left, self._reserve, last, self._step)
            if following:
                self._plan = following
                return options.changed(time_limit=following.time_limit), False, ""
        is_much = self._done < self._most and left > MUCH * self._planned_seconds
        return options, True, f"{left:,.0f} s are left, too few for another epoch" if is_much else ""

    @property
    def seconds_for_limit(self) -> float:
        """When the last block of the compute limit has to begin, in seconds from the first one.

        Before the first epoch a tenth of the share is for it. After the last one it takes as long as before, if so much
        is left.
        """
        if self._limit_seconds:
            return min(self._limit_seconds - self._step / 2, self.left - self._step)
        return min(max(LIMIT_SHARE * self._left_of_share, self._costs.limit_seconds), self.left / 2)

    @property
    def has_time_for_limit(self) -> bool:
        """Whether the compute limit can be measured once more, at least on half as many blocks: the last epoch may have
        ended a step or two too late."""
        return max(self._limit_seconds / 2, self._step) <= self.left

    # ---- Pieces of work ----

    def most_things(self, came: Sequence[float], items: int) -> int:
        """How many things each of `items` pieces of work may yield for ten of them to fit, where the first things
        `came` after so many seconds."""
        return budget.most_things(self._left_of_share, came[0], _each(came), items)

    def plan_pieces(self, came: Sequence[float], yields: int) -> int:
        """How many pieces of `yields` things fit, but at least one. Raises Skipped if not even one does."""
        self._piece = came[0] + _each(came) * (yields - 1)
        if self._piece > LATE * self.left:
            raise Skipped(f"it would take {self._piece:,.0f} s, and {max(self.left, 0):,.0f} s were left of --budget")
        self._pieces = 0
        return max(int(self._left_of_share / self._piece), 1)

    def piece_took(self, seconds: float) -> None:
        """A piece is done."""
        self._piece = seconds
        self._pieces += 1

    @property
    def has_time_for_a_piece(self) -> bool:
        """Whether another piece fits; for the first one there always is."""
        return not self._pieces or self._piece <= self._left_of_share


def _each(came: Sequence[float]) -> float:
    """Seconds of each thing after the first."""
    return (came[-1] - came[0]) / (len(came) - 1) if len(came) > 1 else 0.0
