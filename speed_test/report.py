"""What a person sees of a run: its header, a line for each row, warnings, and the table at the end."""

import os
import shlex
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from speed_test import advice, screen, verdict
from speed_test.command_line import Options
from speed_test.experiment import Experiment
from speed_test.machine import Device, Machine
from speed_test.results import UNWRITTEN, Results
from speed_test.screen import count, number, say, warn
from speed_test.scripts import as_started

LONG_EPOCH_SECONDS = 3600
CHANGED = 0.03  # a compute limit that differs less has not changed


def ready(experiment: Experiment, options: Options) -> None:
    """What --prepare has got ready."""
    if not experiment.batch_sizes:
        what = experiment.header.split("\n")[0] or experiment.model
    elif options.data == "real":
        what = f"{experiment.real_data}, {experiment.samples:,} {experiment.samples_are}"
    else:
        what = f"synthetic {experiment.dataset}, {experiment.samples:,} {experiment.samples_are}, made at each start"
    say(f"Ready: {what}")


def header(
    experiment: Experiment,
    options: Options,
    device: Device,
    machine: Machine,
    results: Results,
    state: Mapping[str, object],
) -> None:
    """What is about to be run, on which machine, where its rows go, and what of the machine's `state` (columns of a
    row) will spoil the result."""
    software = f"{device.framework} {device.framework_version}"
    if experiment.batch_sizes:
        say(f"{experiment.model} on {experiment.dataset} ({options.data}), {software}")
        screen.say_sentence(f"{experiment.samples:,} {experiment.samples_are}, {_extent(options)}", indent=2)
        processes, nodes = state.get("num_processes"), state.get("num_nodes")
        if isinstance(processes, int) and isinstance(nodes, int) and processes > 1:
            say(f"{processes} processes on {count(nodes, 'machine')} train together, with this batch size each")
    else:
        for line in (experiment.header or f"{experiment.model} ({options.data})").split("\n"):
            screen.say_sentence(line, indent=2)
        say(software)
    if options.budget:
        say(f"--budget: {screen.exact_duration(options.budget)} from here on")
    screen.say_sentence(f"{_machine(device, machine)} -> {device.type}", indent=2)
    say("Results go to")
    say(f"  {results.path}")
    for path in results.left_alone:
        warn(f"{path} has other columns than this version writes, so it is left as it is")
    for sentence in verdict.spoils(state, machine.cpu_cores):
        warn(sentence)
    say()


def _extent(options: Options) -> str:
    """ "5 epochs at batch size 32, 64" """
    epochs, sizes = count(options.epochs, "epoch"), options.batch_sizes
    if options.budget:
        free = len(sizes) > 3 and not options.has_chosen_sizes
        which = f"three batch sizes from {min(sizes)} to {max(sizes)}" if free else f"batch size {_list(sizes)}"
        return f"up to {epochs} at {which}"
    return f"{epochs} at batch size {_list(sizes)}"


def _list(sizes: Sequence[int]) -> str:
    return ", ".join(map(str, sizes))


def _machine(device: Device, machine: Machine) -> str:
    """ "Apple M3 Max, 30 GPU cores, 36 GB, macOS 15.1" """
    cores = count(machine.cpu_cores, "CPU core") if machine.cpu_cores else None
    if device.type != "cpu":
        unit = "GPU core" if device.type == "mps" else "multiprocessor"
        cores = count(machine.gpu_cores, unit) if machine.gpu_cores else None
    memory = f"{machine.memory_gb} GB" if machine.memory_gb else None
    return ", ".join(fact for fact in (machine.chip, cores, memory, machine.os) if fact)


def warn_if_long(experiment: Experiment, options: Options, batch_size: int, rate: float, processes: int = 1) -> None:
    """Warn before an epoch of more than an hour; `rate` is the compute limit in samples per second, of so many
    processes with this batch size each."""
    seconds = experiment.samples / rate
    if options.max_steps:
        seconds = min(seconds, options.max_steps * batch_size * processes / rate)
    if options.time_limit:
        seconds = min(seconds, options.time_limit)
    if seconds > LONG_EPOCH_SECONDS and not options.budget:
        warn(
            f"an epoch at batch size {batch_size} will take about {screen.duration(seconds)}; "
            "--time_limit=60 stops each epoch after 60 s and estimates the rest"
        )


def epoch(row: dict, options: Options) -> None:
    """The line for one epoch."""
    about = "about " if row["estimated"] else ""
    say(
        f"batch size {row['batch_size']}, epoch {row['epoch']} of {options.epochs}: {about}"
        f"{row['epoch_seconds']:,.1f} s, {number(row['samples_per_second'])} samples/s, loss {row['train_loss']:.2f}"
    )


def failure(row: dict) -> None:
    """The line for a row that says why something did not work."""
    at = f"batch size {row['batch_size']}: " if row.get("batch_size") else ""
    say(f"{at}{row['status'].replace('_', ' ')}: {row['error']}")


def change(batch_size: int, before: float, now: float) -> None:
    """Say how much slower or faster the machine is than at the start of the sweep, by two compute limits."""
    if abs(now / before - 1) > CHANGED:
        word = "slower" if now < before else "faster"
        screen.say_sentence(
            f"The machine is {abs(now / before - 1):.0%} {word} than when the run began: the compute limit of batch "
            f"size {batch_size} was {number(before)} samples/s and is {number(now)} now."
        )


def table(
    experiment: Experiment, options: Options, rows: list[dict], earlier: Sequence[Mapping], results: Results
) -> None:
    """The end of a run: medians of each batch size, or of the rates that the experiment sums up, what they are worth,
    and what is next. `earlier` are the rows of earlier runs in the CSV."""
    done = [row for row in rows if row["status"] == "ok"]
    sizes = dict.fromkeys(row.get("batch_size") for row in done)
    shown = {size: advice.shown([row for row in done if row.get("batch_size") == size]) for size in sizes}
    if experiment.batch_sizes:
        _table_of_batch_sizes(rows, done, shown)
    elif done:
        _table_of_rates(experiment, done)
    if done:
        say()
        _grades(shown)
        given = ("runs", "until", "budget", *(("time_limit", "max_steps", "epochs") if experiment.batch_sizes else ()))
        for sentence in advice.sentences(rows, earlier, {name: getattr(options, name) for name in given}):
            screen.say_sentence(sentence)
    if results.written:
        say("\nThe rows are in")
        _where(results)
        folder = results.path.parent.parent
        as_typed = f'"{folder}"' if os.name == "nt" else shlex.quote(str(folder))
        say(f"Next: {as_started('compare_results.py')}" + ("" if folder == Path("results") else f" {as_typed}"))


Shown = tuple[str, str, str]  # of advice.shown: half-width, grade, and its reason


def _table_of_batch_sizes(rows: list[dict], done: list[dict], shown: Mapping[int | None, Shown]) -> None:
    lines: list[tuple[str, ...]] = [("batch size", "seconds/epoch", "", "samples/s", "of limit", "memory", "grade")]
    for batch_size in dict.fromkeys(row["batch_size"] for row in rows):
        lines.append(_medians([row for row in rows if row["batch_size"] == batch_size], shown.get(batch_size)))
    _show(lines, left=(2, -1), gap=2)
    if any(row["estimated"] for row in done):
        say("* estimated from a part of the epoch")
    if any(_share_of_limit(row) > 1.1 for row in done):
        say("Over 100%: the machine was busy while the limit was measured")


def _medians(rows: list[dict], shown: Shown | None) -> tuple[str, ...]:
    """The line of one batch size. `shown` is missing where no epoch worked."""
    done = [row for row in rows if row["status"] == "ok"]
    status = rows[-1]["status"].replace("_", " ")
    if not shown:
        return str(rows[0]["batch_size"]), "", "", "", "", "", status
    half_width, grade, _ = shown
    if status != "ok":
        grade = f"{grade}, {status} after {count(len(done), 'epoch')}".removeprefix(", ")
    done = [row for row in done if not row["estimated"]] or done  # an epoch and a part of one are not the same
    seconds = statistics.median(row["epoch_seconds"] for row in done)
    return (
        str(rows[0]["batch_size"]),
        f"{seconds:,.1f}" + ("*" if done[0]["estimated"] else ""),
        half_width,
        number(statistics.median(row["samples_per_second"] for row in done)),
        f"{statistics.median(map(_share_of_limit, done)):.0%}",
        _peak_memory(done),
        grade,
    )


def _show(lines: list[tuple[str, ...]], left: tuple[int, ...], gap: int) -> None:
    say()
    for line in screen.aligned(lines, left, gap):
        say(line)


def _grades(shown: Mapping[int | None, Shown]) -> None:
    """The grades with their reasons; batch sizes that have the same share a line."""
    sizes: dict[tuple[str, str, str], list[str]] = {}
    for batch_size, (half_width, letter, reason) in shown.items():
        alike = (letter, reason, half_width if batch_size is None else "")
        sizes.setdefault(alike, []).append("" if batch_size is None else str(batch_size))
    for (letter, reason, half_width), names in sizes.items():
        if letter:
            at = f" at batch size {', '.join(names)}" if names != [""] else ""
            why = f": {reason}" if reason else ""
            screen.say_sentence(f"Grade {letter}{at}{f' ({half_width})' if half_width else ''}{why}")


def _share_of_limit(row: dict) -> float:
    """The part of the compute limit that an epoch reached."""
    return row["samples_per_second"] / row["compute_samples_per_second"]


def _table_of_rates(experiment: Experiment, done: list[dict]) -> None:
    """Median and spread of every rate in the rows, by the name of its column."""
    columns = [column for column in done[0] if column.endswith("_per_second") or column == experiment.figure]
    columns = [column for column in columns if column != "memory_gb_per_second"]  # is no rate of the test
    lines: list[tuple[str, ...]] = [("median", "lowest", "highest", "")]
    for column in columns:
        values = [row[column] for row in done if row[column] is not None]
        if values:
            spread = (statistics.median(values), min(values), max(values))
            lines.append((*map(number, spread), column))
    _show(lines, left=(-1,), gap=3)
    peak = _peak_memory(done)
    if peak:
        say(f"\n{peak} peak memory")


def _peak_memory(done: list[dict]) -> str:
    peaks = [row["peak_memory_gb"] for row in done if row["peak_memory_gb"] is not None]
    return f"{max(peaks):.1f} GB" if peaks else ""


def stopped(experiment: Experiment, rows: list[dict], results: Results) -> None:
    """The end of a run after Ctrl-C."""
    finished = sum(row["status"] == "ok" for row in rows)
    if not finished:
        say(f"\nStopped; no {experiment.row_is} was finished")
    elif results.written:
        what = count(finished, f"finished {experiment.row_is}")
        say(f"\nStopped; {what} {'is' if finished == 1 else 'are'} in")
        _where(results)


def _where(results: Results) -> None:
    """The files that the rows of this run are in."""
    for path, rows in results.written.items():
        say(f"  {path}" + (f" ({count(rows, 'row')})" if len(results.written) > 1 else ""))
    if results.unwritten:
        say("  except for those printed above")


def rescue(results: Results) -> None:
    """Print the rows that the disk has refused."""
    warn(f"{UNWRITTEN} to {results.path}; copy them from here:")
    if not say(results.unwritten):  # standard output may go to a file on the same full disk
        screen.error(results.unwritten)
