"""--budget: what is measured within a time. Functions of numbers; nothing here reads a clock.

All times are in seconds. The parent shares the budget out to batch sizes (`Shares`). The child of a batch size gets
until a deadline, and plans its epochs when it knows how long a step takes (`plan`, `next_epoch`).
"""

import math
import statistics
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

FEWEST_STEPS = 10  # that are to fit into an epoch or a part of it, for a batch size to be tried
LAST_RESORT_STEPS = 3  # the same, where the batch size has been started already
FEWEST_BLOCKS = 10  # of a part of an epoch, if there are several: as many as steady.py looks at first
MOST_PARTS = 3
BLOCK_SECONDS = 1.0  # as epoch.BLOCK_SECONDS
MARGIN = 1.05  # an epoch that takes so many times its estimate still has to fit
MEMORY_SHARE = 0.9
PIECES = 10  # that are to fit, where pieces of work can be made shorter


class Costs(NamedTuple):
    """What the clock measures before the first epoch: so many steps or seconds of warm-up on a batch, and so many
    blocks and seconds, at least, of the compute limit."""

    warmup_steps: int
    warmup_seconds: float
    limit_blocks: int
    limit_seconds: float

    def warm_up(self, step: float) -> float:
        """Seconds of the warm-up on one batch, if a step takes `step`."""
        return step * min(self.warmup_steps, 1 + self.warmup_seconds // step)

    def limit(self, step: float) -> float:
        """Seconds of measuring the compute limit once."""
        return max(self.limit_seconds, self.limit_blocks * step)

    def fewest(self, step: float) -> float:
        """Seconds of the least that is worth measuring: warm-up, compute limit before and after, and some steps."""
        return self.warm_up(step) + 2 * self.limit(step) + FEWEST_STEPS * step


# ---- In the parent: batch sizes ----


class Share(NamedTuple):
    """What a child may use of the budget, in times of `time.monotonic()`.

    It was `started` then, and plans up to `deadline`. It goes on to `end`, the end of the whole budget, if too little
    were measured or nothing could follow. `following` is the smallest batch size that could; None if others follow in
    any case, or nothing does.
    """

    started: float
    deadline: float
    end: float
    following: int | None = None


class Measured(NamedTuple):
    """What is known of a batch size that has been measured: its highest `rate` in samples per second, which is mostly
    the compute limit, and the seconds that its process took beside warm-up, compute limit and epochs."""

    batch_size: int
    rate: float
    overhead: float = 0.0
    peak_memory_gb: float | None = None

    def with_epoch(self, row: Mapping[str, Any]) -> "Measured":
        """What is known after an epoch, by its row."""
        rate = max(self.rate, row["samples_per_second"])
        return self._replace(rate=rate, peak_memory_gb=row["peak_memory_gb"])


class LeftOut(NamedTuple):
    """Why a batch size is not tried: it `needs` more seconds, or GB, than there `are`."""

    unit: str
    needs: float
    are: float


def three_of(sizes: Sequence[int]) -> tuple[int, ...]:
    """The smallest, the middle and the largest of `sizes`, or all if there are no more than three."""
    ordered = sorted(sizes)
    if len(ordered) <= 3:
        return tuple(ordered)
    return ordered[0], ordered[(len(ordered) - 1) // 2], ordered[-1]


class Shares:
    """Shares a budget out to the batch sizes of a sweep, in each of its `runs`.

    All of `sizes` are measured in their order if they `are_chosen` by the user. Else these are three: the smallest,
    then the middle one, then the largest, and in place of one that does not fit the next smaller that was not tried.
    A size fits if its process needs no more than its share of the time, and 90% of `memory_gb` (None: unknown).
    Sizes from `out_of_memory` on are not tried. A test without batch sizes has the one size None.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        costs: Costs,
        are_chosen: bool = True,
        memory_gb: float | None = None,
        runs: int = 1,
        out_of_memory: int | None = None,
    ) -> None:
        self._sizes = sorted(sizes)
        self._goals: tuple[int | None, ...] = (tuple(sizes) if are_chosen else three_of(sizes)) or (None,)
        self._costs = costs
        self._are_chosen = are_chosen
        self._memory_gb = memory_gb
        self._runs = runs
        self._known: list[Measured] = []
        self._tried: set[int | None] = set()
        self._too_large: float = out_of_memory or math.inf
        self._chosen: list[int | None] = []
        self.left_out: dict[int, LeftOut] = {}

    def of_run(
        self, run: int, left: Callable[[], float], done: Collection[int | None] = ()
    ) -> Iterator[tuple[int | None, float]]:
        """The batch sizes of a run, from 1, and how many seconds each gets. `left()` tells how many are left of the
        budget, and `done` are the sizes that need not be measured in this run."""
        is_free = not self._are_chosen and self._goals != (None,)
        goals = [size for size in (self._chosen if is_free and run > 1 else self._goals) if size not in done]
        if is_free and run == 1:
            goals, reached = self._still_to_reach(done)
            self._chosen += reached
            self._tried |= set(done)
        for number, goal in enumerate(goals):
            still = len(goals) - number
            of_a_later_run = len(self._chosen) + still if is_free and run == 1 else len(goals)
            tasks = still + (self._runs - run) * of_a_later_run
            if goal is None or not is_free or run > 1:
                yield goal, left() / tasks
            else:
                yield from self._towards(goal, lambda tasks=tasks: left() / tasks)  # type: ignore[misc]

    def _still_to_reach(self, done: Collection[int | None]) -> tuple[list[int | None], list[int]]:
        """The goals that are left where the sizes `done` are there already, and those that stand for the others: the
        largest up to each goal, and above the one before."""
        goals: list[int | None] = []
        reached = []
        previous = 0
        for goal in filter(None, self._goals):
            near = [size for size in self._sizes if size in done and previous < size <= goal]
            if near:
                reached.append(near[-1])
            else:
                goals.append(goal)
            previous = goal
        return goals, reached

    def _towards(self, goal: int, share: Callable[[], float]) -> Iterator[tuple[int, float]]:
        """The largest size up to `goal` that fits, and if that fails the next smaller one."""
        while (size := self._largest_that_fits(goal, share())) is not None:
            self._tried.add(size)
            self._chosen.append(size)
            yield size, share()
            if self._too_large > size:
                return
            self._chosen.remove(size)

    def _largest_that_fits(self, goal: int, share: float) -> int | None:
        for size in reversed(self._sizes):
            if size > goal or size in self._tried or size >= self._too_large:
                continue
            why = self.why_not(size, share)
            if not why:
                self.left_out.pop(size, None)
                return size
            self.left_out[size] = why
        return None

    @property
    def following(self) -> int | None:
        """The smallest batch size that may still be tried, if that is not certain anyway."""
        if self._are_chosen or self._runs > 1:
            return None
        return min((size for size in self._sizes if size not in self._tried and size < self._too_large), default=None)

    def measured(self, found: Measured) -> None:
        """A batch size has been measured."""
        self._known = [*(known for known in self._known if known.batch_size != found.batch_size), found]

    def too_large(self, size: int) -> None:
        """A batch size was out of memory, or too slow."""
        self._too_large = min(size, self._too_large)

    def why_not(self, size: int, seconds: float) -> LeftOut | None:
        """Why a batch size does not fit into so many `seconds`, or into memory; None if it does, as far as known."""
        if seconds <= 0:
            return LeftOut("s", 0, 0)
        if not self._known:
            return None
        needs = self.seconds_of(size)
        if needs > seconds:
            return LeftOut("s", needs, seconds)
        memory = self._memory_of(size)
        if memory and self._memory_gb and memory > MEMORY_SHARE * self._memory_gb:
            return LeftOut("GB", memory, self._memory_gb)
        return None

    def seconds_of(self, size: int) -> float:
        """The least that a process takes at a batch size, with the rate of the next smaller one measured: larger
        batches are rarely slower."""
        smaller = [known for known in self._known if known.batch_size <= size]
        if smaller:
            rate = max(smaller, key=lambda known: known.batch_size).rate
        else:
            rate = min(self._known, key=lambda known: known.batch_size).rate
        return max(known.overhead for known in self._known) + self._costs.fewest(size / rate)

    def _memory_of(self, size: int) -> float | None:
        """The peak memory in GB, on a line through those measured; None with fewer than two."""
        points = [(known.batch_size, known.peak_memory_gb) for known in self._known if known.peak_memory_gb]
        if len(points) < 2:
            return None
        slope, start = statistics.linear_regression(*zip(*points, strict=True))
        return start + max(slope, 0.0) * size

    def why_skipped(self, size: int | None, left: float) -> str:
        """Why a batch size cannot be measured in all that is `left`, "" if it can. What a row says in `error`."""
        if left <= 0:
            return "no time was left of --budget"
        why = self.why_not(size, left) if size is not None else None
        return f"{_of_time(why)} of --budget" if why and why.unit == "s" else ""

    def sentences(self) -> list[str]:
        """Which batch sizes were left out, and why."""
        found = []
        for unit in ("s", "GB"):
            sizes = sorted(size for size, why in self.left_out.items() if why.unit == unit)
            if sizes:
                found.append(f"{_batch_sizes(sizes)} left out: {self._reason(sizes[0], len(sizes) > 1)}.")
        return found

    def _reason(self, size: int, is_one_of_several: bool) -> str:
        why = self.left_out[size]
        if why.unit == "s":
            return _of_time(why, f" of {size}" if is_one_of_several else "")
        needs = f"{size if is_one_of_several else 'it'} would need about {why.needs:.1f} GB"
        return f"{needs} of the {why.are:.1f} GB of memory"


def _of_time(why: LeftOut, whose: str = "") -> str:
    """ "10 steps and the compute limit would take 190 s, and 80 s were left" """
    if not why.needs:
        return "no time was left"
    digits = 0 if why.needs >= 10 else 1
    takes = f"{FEWEST_STEPS} steps{whose} and the compute limit would take {why.needs:,.{digits}f} s"
    return f"{takes}, and {why.are:,.{digits}f} s were left"


def _batch_sizes(sizes: Sequence[int]) -> str:
    if len(sizes) == 1:
        return f"Batch size {sizes[0]} was"
    return f"Batch sizes {', '.join(map(str, sizes[:-1]))} and {sizes[-1]} were"


# ---- In the child: epochs ----


def fits(step: float, left: float, costs: Costs) -> bool:
    """Whether some steps and the compute limit fit into what is `left`."""
    return costs.limit(step) + LAST_RESORT_STEPS * step <= left


class Plan(NamedTuple):
    """So many `epochs`, `whole` ones or parts; the next one ends after `time_limit` in any case."""

    epochs: int
    whole: bool
    time_limit: float


def plan(left: float, reserve: float, epoch: float, step: float, most: int, may_be_whole: bool = True) -> Plan:
    """What to measure in what is `left`, before a `reserve` for the compute limit after the last epoch.

    `epoch` and `step` are the seconds of a whole epoch and of a step at the compute limit, and `most` is how many
    epochs there may be. An epoch may turn out to be far longer, where loading data is slow.
    """
    whole = int(left / (MARGIN * epoch)) if may_be_whole else 0
    if whole:
        return Plan(min(whole, most), True, left + reserve)
    parts = min(MOST_PARTS, most, int(left / (FEWEST_BLOCKS * max(BLOCK_SECONDS, step))))
    return Plan(max(parts, 1), False, _part(left, max(parts, 1), step))


def _part(left: float, parts: int, step: float) -> float:
    """The time limit of each of `parts` equal ones. The last step goes half a step beyond it, on average."""
    return max(left / parts - step / 2, step / 2)


def deadline_of(share: Share, least: float, rate: float, overhead: float, costs: Costs) -> float:
    """Until when to measure, if the `least` worth measuring takes until then: to the end if the next batch size has no
    chance after that, by what `Shares` will know of this one."""
    deadline = min(max(share.deadline, least), share.end)
    if share.following is None:
        return deadline
    return deadline if deadline + overhead + costs.fewest(share.following / rate) <= share.end else share.end


def next_epoch(now: Plan, done: int, left: float, reserve: float, last: float, step: float) -> Plan | None:
    """What is to follow the epochs that are `done`, the last of which took `last` in all; None if nothing fits."""
    parts = now.epochs - done
    if parts < 1:
        return None
    if now.whole:
        return now._replace(time_limit=left + reserve) if MARGIN * last <= left else None
    limit = _part(left, parts, step)
    # A last part that is much shorter than the others would only blur their spread.
    return now._replace(time_limit=limit) if left > step and limit > now.time_limit / 2 else None


# ---- In the child: pieces of work ----


def most_things(left: float, first: float, each: float, items: int) -> int:
    """How many things, such as tokens, a piece of work may yield for ten of them, or all `items`, to fit into what is
    `left`: the first one comes after `first` seconds, and then one after `each`. At least 1."""
    return 1 + max(int((left / min(PIECES, max(items, 1)) - first) / each), 0)
