"""Pieces of work on the clock, of a test that hands back `Repeats`."""

import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from speed_test import screen, steady
from speed_test.epoch import now_in_utc, stopped_seconds, stops
from speed_test.screen import progress_bar, working

if TYPE_CHECKING:
    from speed_test.clock import Clock
    from speed_test.experiment import Repeats

FEWEST_WARM_UP_YIELDS = 4  # with --budget: enough to tell how long one takes
WARM_UP_SHARE = 0.1  # of what is left of --budget
SECOND_LOOK_SHARE = 0.2  # the same


def time_repeats(clock: "Clock", repeats: "Repeats") -> None:
    """Warm up on the first item, then do and time the work of each; with --budget of as many as fit."""
    warmup_seconds, came = _warm_up(clock, repeats)
    yields = repeats.yields
    items = items_left(clock, repeats)
    if clock.pace:
        if repeats.fit and len(came) > 1:
            came = _times_when_warm(clock, repeats, came)
            yields = repeats.fit(clock.pace.most_things(came, len(items)))
        items = items[: clock.pace.plan_pieces(came, yields)]
    with progress_bar(clock.experiment.model, len(items) * yields, repeats.unit, repeats.quiet) as bar:

        def show() -> None:
            bar.update()
            clock.alive()

        for number, item in items:
            if clock.pace and not clock.pace.has_time_for_a_piece:
                break
            row = _piece(clock, repeats, number, item, warmup_seconds, show)
            clock.send_row(row)
            clock.say(repeats.line(row) if repeats.line else _line(clock, row, number, len(repeats.items)))
            if why := clock.until.enough(_rate_of(clock, row), number == items[-1][0] and not clock.pace):
                clock.say(why)
                break


def _piece(
    clock: "Clock", repeats: "Repeats", number: int, item: Any, warmup_seconds: float, show: Callable[[], None]
) -> dict:
    """Do the work of an item and time it: the columns of its row. `show()` is called for each thing that it yields."""
    if repeats.rewind:
        repeats.rewind()
    clock.begin()
    started_at = now_in_utc()
    yielded: list[Any] = []
    seconds: list[float] = []
    stops_before = stops()
    clock.wait()
    start = time.perf_counter()
    for thing in _things(repeats.work, item):
        seconds.append(time.perf_counter() - start)
        yielded.append(thing)
        show()
    clock.wait()
    seconds.append(time.perf_counter() - start)
    if clock.pace:
        clock.pace.piece_took(seconds[-1])
    if repeats.row:
        row = repeats.row(item, yielded, seconds)
    else:
        row = _row_of_a_piece(clock, number, seconds[-1]) | {"warmup_seconds": warmup_seconds}
    row["suspended_seconds"] = stopped_seconds(seconds, after_signal=stops() != stops_before)
    return {**clock.shared, "status": "ok", "started_at": started_at, **row}


def _rate_of(clock: "Clock", row: dict) -> list[float]:
    """The rate of a piece of work, which is a block."""
    figure = row.get(clock.experiment.figure)
    return [steady.as_rate(figure, clock.experiment.better)] if figure else []


def items_left(clock: "Clock", repeats: "Repeats") -> list[tuple[int, Any]]:
    """The items of which --resume has found no row, with their numbers from 1. A tuple is known by its values, anything
    else by its number. A piece that --budget has made shorter has been done as well."""
    end = -1 if clock.pace and repeats.fit else None
    done = {key[:end] for key in clock.options.done}
    items = enumerate(repeats.items, start=1)
    return [(number, item) for number, item in items if _key(number, item)[:end] not in done]


def _key(number: int, item: Any) -> tuple[str, ...]:
    return tuple(map(str, item)) if isinstance(item, tuple) else ("", str(number))


def _warm_up(clock: "Clock", repeats: "Repeats") -> tuple[float, list[float]]:
    """Work on the first item: how many seconds that took in all, and after how many each thing came."""
    most = clock.pace.left * WARM_UP_SHARE if clock.pace else None
    with working("Warming up"):
        start = time.perf_counter()
        came: list[float] = []
        if repeats.rewind:
            repeats.rewind()
        begin = time.perf_counter()
        for _ in _things(repeats.work, repeats.items[0]):
            came.append(time.perf_counter() - begin)
            clock.alive()
            is_long = most is not None and came[-1] > most and len(came) >= FEWEST_WARM_UP_YIELDS
            if len(came) == repeats.warm_up_yields or is_long:
                break
        clock.wait()
        return time.perf_counter() - start, came


def _times_when_warm(clock: "Clock", repeats: "Repeats", came: list[float]) -> list[float]:
    """When the first things come, without what only a first time takes, such as reading a model from the disk. `came`
    is when they came in the warm-up."""
    assert clock.pace
    if came[0] > clock.pace.left * SECOND_LOOK_SHARE:
        return came
    if repeats.rewind:
        repeats.rewind()
    start = time.perf_counter()
    things = _things(repeats.work, repeats.items[0])
    next(things)
    first = time.perf_counter() - start
    each = statistics.median(after - before for before, after in itertools.pairwise(came))
    return [first + number * each for number in range(len(came))]


def _line(clock: "Clock", row: dict, number: int, pieces: int) -> str:
    figure = screen.number(row[clock.experiment.figure])
    return f"{clock.experiment.row_is} {number} of {pieces}: {figure} {clock.experiment.unit}"


def _row_of_a_piece(clock: "Clock", number: int, seconds: float) -> dict:
    samples = clock.experiment.samples
    return {
        "epoch": number,
        "epoch_seconds": seconds,
        "samples_per_second": samples / seconds if samples else None,
        "estimated": False,
        "measured_seconds": seconds,
        "measured_samples": samples or None,
    }


def _things(work: Callable[[Any], Any], item: Any) -> Iterator[Any]:
    """What the work yields; of work that is no generator, its result."""
    result = work(item)
    if isinstance(result, Iterator):
        yield from result
    else:
        yield result
