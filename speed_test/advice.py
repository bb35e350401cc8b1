"""What is said at the end of a run. Each sentence is backed by columns; nothing is said that was not measured."""

import math
import statistics
from collections.abc import Mapping, Sequence

from speed_test import screen, steady
from speed_test.advice_limits import compiling, near_the_limit
from speed_test.faults import LOADS, Fault, Row, faults, number, text
from speed_test.results import HOST, SWITCHES, TEST, USUAL
from speed_test.verdict import grade, rate_of, series

NEAR_THE_LIMIT = 0.97  # of the compute limit: what is missing then is not worth a sentence
WAITED = 0.03  # of the time
SMALL = 0.8  # of the best compute limit of the run: a batch size below that cannot keep the device busy
GAIN = 1.03
SLOWER = 0.05

# Earlier rows that are alike in these are of the same measurement. Versions may differ.
SAME_MEASUREMENT = (
    *(*TEST, "quantization", "batch_size", "data", "estimated"),
    *(*SWITCHES, "device", "machine", *HOST, "measurement_version"),
)
# What may have changed since, and how it is called.
VERSIONS = {"framework_version": "", "python_version": "Python", "os": "system", "code_version": "code"}


def shown(rows: Sequence[Row]) -> tuple[str, str, str]:
    """For the line of a batch size, from its rows of this run: its half-width ("±0.4%", or "" where unknown), the
    letter of its grade, and the reason."""
    found = grade([row for row in rows if row.get("status") == "ok"])
    return half_width(found.half_width), found.letter, found.reason


def half_width(width: float | None) -> str:
    """ "±0.4%", or "" if it is not known"""
    if width is None:
        return ""
    return f"±{width:.1%}" if width < 0.1 else f"±{width:.0%}"


def sentences(rows: Sequence[Row], earlier: Sequence[Row], options: Mapping[str, object]) -> list[str]:
    """The sentences under the table of a run.

    `rows` are all rows of this run, also those that say why something did not work, and `earlier` those that were in
    the CSV before. `options` are those of the command line that the test has: runs, until, budget, time_limit,
    max_steps, epochs. One that is missing there is never proposed.
    """
    sizes = by_size([row for row in rows if row.get("status") == "ok"])
    if not sizes:
        return []
    return [
        *near_the_limit(sizes),
        *_lost(sizes),
        *_small_batches(sizes),
        *_gain(sizes),
        *_memory(rows, sizes),
        *compiling(sizes),
        *_notes(sizes),
        *_history(sizes, earlier),
        *_surer(sizes, options),
    ]


def by_size(done: Sequence[Row]) -> dict[float | None, list[Row]]:
    """The rows of each batch size; of a test without batch sizes all of them, at None."""
    found: dict[float | None, list[Row]] = {}
    for row in done:
        found.setdefault(number(row, "batch_size"), []).append(row)
    return found


def _at(sizes: Sequence[float | None], word: str = "at ") -> str:
    """ "at batch size 32", "at batch sizes 32, 64 and 128", with another `word` in front; "" without batch sizes"""
    names = [f"{size:.0f}" for size in sizes if size is not None]
    if not names:
        return ""
    return f"{word}batch size {names[0]}" if len(names) == 1 else f"{word}batch sizes {_list(names)}"


def _list(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


# ---- What took the rest of the compute limit ----


def _lost(sizes: Mapping[float | None, list[Row]]) -> list[str]:
    """What took the rest of the compute limit: waiting for data, heat, other programs."""
    waited: dict[float | None, float] = {}
    others: dict[str, list[float | None]] = {}
    for size, rows in sizes.items():
        share = _share_of_limit(rows)
        if share is None or share >= NEAR_THE_LIMIT:
            continue
        if part := lost_to_data(rows):
            waited[size] = part
        for fault in filter(_slows, faults(rows)):
            others.setdefault(fault.text, []).append(size)
    found = []
    if waited:
        parts = [f"{part:.0%} of the time{_at([size], ' at ')}" for size, part in waited.items()]
        found.append(f"Waiting for data took {_list(parts)}.")
    return found + [f"Below the compute limit{_at(at, ' at ')}: {cause}." for cause, at in others.items()]


def lost_to_data(rows: Sequence[Row]) -> float:
    """The part of the time that waiting for data cost at a batch size; 0 if that was little, or is not known."""
    share = _share_of_limit(rows)
    if share is None or share >= NEAR_THE_LIMIT:
        return 0.0
    # A GPU works on while the next batch is waited for, so no more was lost than what is missing of the limit.
    part = min(_waiting(rows), 1 - share)
    return part if part > WAITED else 0.0


def _slows(fault: Fault) -> bool:
    """Whether something takes from the speed of an epoch: heat, or what other programs and machines take."""
    return fault.kind in LOADS or fault.kind.startswith("heat")


def _share_of_limit(rows: Sequence[Row]) -> float | None:
    """The part of the compute limit that the epochs reached; None if that is not known."""
    shares = []
    for row in rows:
        rate, limit = number(row, "samples_per_second"), number(row, "compute_samples_per_second")
        if rate and limit:
            shares.append(rate / limit)
    return statistics.median(shares) if shares else None


def _waiting(rows: Sequence[Row]) -> float:
    """The part of the time in which the training waited for its next batch."""
    measured = math.fsum(number(row, "measured_seconds") or 0 for row in rows)
    return math.fsum(number(row, "data_wait_seconds") or 0 for row in rows) / measured if measured else 0.0


def small_batches(sizes: Mapping[float | None, Sequence[Row]]) -> tuple[dict[float, float], float | None]:
    """The batch sizes whose own compute limit is far below that of the best larger one: by which part it is, and that
    larger size (None if there are none)."""
    limits = {}
    for size, rows in sizes.items():
        found = [limit for row in rows if (limit := number(row, "compute_samples_per_second"))]
        if size is not None and found:
            limits[size] = statistics.median(found)
    if len(limits) < 2:
        return {}, None
    best = max(limits, key=lambda size: limits[size])
    small = [size for size in sorted(limits) if size < best and limits[size] < SMALL * limits[best]]
    return {size: 1 - limits[size] / limits[best] for size in small}, best if small else None


def _small_batches(sizes: Mapping[float | None, list[Row]]) -> list[str]:
    small, best = small_batches(sizes)
    if not small:
        return []
    below = _list([f"{part:.0%}" for part in small.values()])
    names = _list([f"{size:.0f}" for size in small])
    return [f"Small batches: even the compute limit of {names} is {below} below that of {best:.0f}."]


def _rate(rows: Sequence[Row]) -> float | None:
    """The median rate of some rows, by their figure."""
    rates = [rate for row in rows if (rate := rate_of(row))]
    return statistics.median(rates) if rates else None


def _gain(sizes: Mapping[float | None, list[Row]]) -> list[str]:
    """From which batch size on going up gains less than 3%."""
    rates = {size: rate for size, rows in sizes.items() if size is not None and (rate := _rate(rows))}
    for size in sorted(rates):
        larger = [rates[other] for other in rates if other > size]
        if larger and max(larger) < GAIN * rates[size]:
            return [f"Larger batches than {size:.0f} gain less than 3%."]
    return []


# ---- Memory ----


def _memory(rows: Sequence[Row], sizes: Mapping[float | None, list[Row]]) -> list[str]:
    """After a sweep that ran out of memory or swapped: the largest size that did not, and what the next would need."""
    swapped = {size for size, some in sizes.items() if any(fault.kind == "swap" for fault in faults(some))}
    failed = {number(row, "batch_size") for row in rows if row.get("status") == "out_of_memory"}
    too_large = [size for size in swapped | failed if size is not None]
    clean = sorted(size for size in sizes if size is not None and size < min(too_large, default=0))
    if not clean:
        return []
    points = []
    for size in clean:
        peaks = [peak for row in sizes[size] if (peak := number(row, "peak_memory_gb"))]
        if peaks:
            points.append((size, max(peaks)))
    said = f"The largest batch size that ran cleanly is {clean[-1]:.0f}"
    if len(points) > 1:
        slope, start = statistics.linear_regression(*zip(*points, strict=True))
        if slope > 0:
            needed = screen.number(start + slope * min(too_large))
            said += f"; {min(too_large):.0f} would need about {needed} GB (an estimate)"
    return [said + "."]


# ---- Notes, history, and what would make it surer ----


def _notes(sizes: Mapping[float | None, list[Row]]) -> list[str]:
    """What is no fault but worth knowing, and was not said of the compute limit already."""
    found: dict[str, list[float | None]] = {}
    for size, rows in sizes.items():
        for fault in faults(rows):
            if not fault.letter and not (_slows(fault) and (_share_of_limit(rows) or 1) < NEAR_THE_LIMIT):
                found.setdefault(fault.text, []).append(size)
        blocks = series(rows)
        if odd := sum(len(steady.outliers(rates)) for rates in blocks):
            said = f"{screen.count(odd, 'block')} of {sum(map(len, blocks))} far off the others"
            found.setdefault(said, []).append(size)
    return [f"Noted{_at(at, ' at ')}: {note}." for note, at in found.items()]


def _history(sizes: Mapping[float | None, list[Row]], earlier: Sequence[Row]) -> list[str]:
    """Whether this run is over 5% slower than the machine's own best of the same measurement, and what differs."""
    ours = {text(row, "run_id") for rows in sizes.values() for row in rows}
    before: dict[tuple[str, ...], dict[str, list[Row]]] = {}
    for row in earlier:
        if row.get("status") == "ok" and text(row, "run_id") not in ours:
            before.setdefault(_measurement(row), {}).setdefault(text(row, "run_id"), []).append(row)
    slower: dict[float | None, float] = {}
    best: dict[float | None, list[Row]] = {}
    for size, rows in sizes.items():
        now = _rate(rows)
        for some in before.get(_measurement(rows[0]), {}).values():
            then = _rate(some)
            if now and then and now / then - 1 < min(slower.get(size, 0), -SLOWER):
                slower[size], best[size] = now / then - 1, some
    if not slower:
        return []
    worst = min(slower, key=lambda size: slower[size])
    how_much = f"{'up to ' if len(slower) > 1 else ''}{-slower[worst]:.0%} slower than this machine's own best"
    said = ": ".join(filter(None, (_at(list(slower)), how_much)))
    date = screen.one_line(text(best[worst][0], "started_at"), 10)
    differs = _differences(sizes[worst], best[worst])
    said += (f", of {date}" if date else "") + (f": {_list(differs)}" if differs else "")
    return [said[0].upper() + said[1:] + "."]


def _measurement(row: Row) -> tuple[str, ...]:
    return tuple(text(row, column) or USUAL.get(column, "") for column in SAME_MEASUREMENT)


def _differences(now: Sequence[Row], then: Sequence[Row]) -> list[str]:
    """What was wrong this time and not then, and which versions differ; of the code only if nothing else does."""
    before = {fault.kind for fault in faults(then)}
    found = [f"{fault.text} this time" for fault in faults(now) if fault.kind not in before]
    for column, name in VERSIONS.items():
        old, new = text(then[0], column), text(now[0], column)
        if old and new and old != new and (column != "code_version" or not found):
            name = name or text(now[0], "framework")
            found.append(screen.one_line(f"{name} {new} in place of {old}", 80))
    return found


def _surer(sizes: Mapping[float | None, list[Row]], options: Mapping[str, object]) -> list[str]:
    """What would make the figures surer: of the options that there are, never one that was given."""
    grades = {size: grade(rows) for size, rows in sizes.items()}
    blocks = [
        sum(map(len, series(sizes[size]))) for size, one in grades.items() if one.letter and one.half_width is None
    ]
    widest = max((one.half_width or 0 for one in grades.values()), default=0)
    until = "until" in options and not options["until"]
    runs = number(options, "runs")
    found = []
    if blocks:
        if hint := _for_more_blocks(options, sizes):
            are = "is" if min(blocks) == 1 else "are"
            found.append(f"{screen.count(min(blocks), 'block')} {are} too few to tell: {hint}.")
    elif until and "epochs" in options and widest > (0.03 if runs and runs < 3 else 0.01):
        target = 2 if widest > 0.03 else 1
        found.append(f"--until={target}% --epochs=50 goes on until the figure is as sure as that.")
    if runs and runs < 3 and any(one.letter in ("B", "C") for one in grades.values()):
        found.append(f"{'One run' if runs == 1 else f'{runs:.0f} runs'}: --runs=3 would tell more.")
    return found


def _for_more_blocks(options: Mapping[str, object], sizes: Mapping[float | None, list[Row]]) -> str:
    limit, epochs = number(options, "time_limit"), number(options, "epochs")
    wanted = (epochs or math.inf) * (number(options, "runs") or 1)
    if options.get("budget") and any(_is_cut_short(rows, wanted) for rows in sizes.values()):
        return "a longer --budget gives more"
    if options.get("max_steps"):
        return "measure without --max_steps"
    if limit and limit < 60:
        return "--time_limit=60 gives more"
    if epochs and "until" in options and not options["until"]:
        return "--until=2% --epochs=50 goes on until there are enough"
    return "--epochs=10 gives more" if epochs and epochs < 10 else ""


def _is_cut_short(rows: Sequence[Row], wanted: float) -> bool:
    """Whether there are fewer epochs than `wanted`, or only parts of some."""
    return len(rows) < wanted or any(text(row, "estimated") == "True" for row in rows)
