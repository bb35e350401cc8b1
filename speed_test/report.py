"""What a person sees: the header, a line for each epoch, warnings, and the table at the end."""

import contextlib
import os
import re
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from speed_test.command_line import Options
from speed_test.experiment import Experiment
from speed_test.machine import Device, Machine, power_source
from speed_test.results import Results

LONG_EPOCH_SECONDS = 3600


def open_streams() -> None:
    """See to it that this process can print: also started without a terminal, also to one that knows no Unicode."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever has started us, as `2>&-` does
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - open as long as the process lives
        getattr(sys, name).reconfigure(errors="backslashreplace")


def _print(text: str, stream: TextIO, end: str = "\n") -> None:
    """Print at once, also into a pipe. Where nobody reads any more (`| head`) or the disk is full, go on in silence:
    what is measured goes into the CSV."""
    try:
        print(text, end=end, file=stream, flush=True)
    except OSError:
        # In place of the file below it, so that nothing is left to fail when Python flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def say(text: str = "", end: str = "\n") -> None:
    _print(text, sys.stdout, end)


def error(text: str) -> None:
    _print(text, sys.stderr)


def warn(text: str) -> None:
    _print(f"WARNING: {text}", sys.stderr)


@contextlib.contextmanager
def working(text: str) -> Iterator[None]:
    """Show `text` on the terminal while something slow goes on, and take it away again."""
    if not sys.stderr.isatty():
        yield
        return
    _print(text + " ...", sys.stderr, end="\r")
    try:
        yield
    finally:
        _print(" " * (len(text) + 4), sys.stderr, end="\r")


def one_line(message: object, most: int = 300) -> str:
    """What a library says, on one line of `most` characters, without TensorFlow's names of its graph's nodes."""
    text = re.sub(r"\{\{.*?\}\}|\[\[.*?\]\]|\[Op:.*?\]", "", str(message))
    return " ".join(text.split())[:most].removesuffix(" name:")


def count(number: int, noun: str) -> str:
    """ "1 epoch", "2 epochs" """
    return f"{number:,} {noun}" + ("s" if number != 1 else "")


def duration(seconds: float) -> str:
    """Seconds as a person says them: "45 s", "12 min", "3 h 20 min"."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def header(experiment: Experiment, options: Options, device: Device, machine: Machine, results: Results) -> None:
    sizes = ", ".join(map(str, options.batch_sizes))
    say(f"{experiment.model} on {experiment.dataset} ({options.data}), {device.framework} {device.framework_version}")
    say(f"{experiment.samples:,} {experiment.samples_are}, {count(options.epochs, 'epoch')} at batch size {sizes}")
    _machine_and_results(device, machine, results)


def _machine_and_results(device: Device, machine: Machine, results: Results) -> None:
    cores = count(machine.cpu_cores, "CPU core") if machine.cpu_cores else None
    if device.type != "cpu":
        unit = "GPU core" if device.type == "mps" else "multiprocessor"
        cores = count(machine.gpu_cores, unit) if machine.gpu_cores else None
    memory = f"{machine.memory_gb} GB" if machine.memory_gb else None
    facts = ", ".join(fact for fact in (machine.chip, cores, memory, machine.os) if fact)
    say(f"{facts} -> {device.type}")
    say("Results go to")
    say(f"  {results.path}")
    if results.left_alone:
        warn(f"{results.left_alone} has other columns than this version writes, so it is left as it is")
    if power_source() == "battery":
        warn("on battery, which slows many laptops down: plug it in for a figure that lasts")
    say()


def warn_if_long(experiment: Experiment, options: Options, batch_size: int, rate: float) -> None:
    """Warn before an epoch of more than an hour; `rate` is the compute limit in samples per second."""
    seconds = experiment.samples / rate
    if options.max_steps:
        seconds = min(seconds, options.max_steps * batch_size / rate)
    if options.time_limit:
        seconds = min(seconds, options.time_limit)
    if seconds > LONG_EPOCH_SECONDS:
        warn(
            f"an epoch at batch size {batch_size} will take about {duration(seconds)}; "
            "--time_limit=60 stops each epoch after 60 s and estimates the rest"
        )


def _rate(samples_per_second: float) -> str:
    return f"{samples_per_second:,.{0 if samples_per_second >= 100 else 1}f}"


def epoch(row: dict, options: Options) -> None:
    about = "about " if row["estimated"] else ""
    say(
        f"batch size {row['batch_size']}, epoch {row['epoch']} of {options.epochs}: {about}"
        f"{row['epoch_seconds']:,.1f} s, {_rate(row['samples_per_second'])} samples/s, loss {row['train_loss']:.2f}"
    )


def failure(row: dict) -> None:
    say(f"batch size {row['batch_size']}: {row['status'].replace('_', ' ')}: {row['error']}")


def table(rows: list[dict], results: Results) -> None:
    """Print a line for each batch size: medians over its epochs."""
    lines = [("batch size", "seconds/epoch", "samples/s", "of limit", "peak memory", "status")]
    for batch_size in dict.fromkeys(row["batch_size"] for row in rows):
        lines.append(_summary([row for row in rows if row["batch_size"] == batch_size]))
    _aligned(lines)
    if any(row.get("estimated") for row in rows):
        say("* estimated from a part of the epoch")
    if any(_share(row) > 1.1 for row in rows if row["status"] == "ok"):
        say("Over 100%: the machine was busy while the limit was measured")
    _where(results)


def _aligned(lines: list[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    say()
    for line in lines:
        cells = [cell.rjust(width) for cell, width in zip(line[:-1], widths[:-1], strict=True)]
        say("   ".join([*cells, line[-1]]))


def _where(results: Results) -> None:
    if results.written:
        say("\nThe rows are in")
        say(f"  {results.path}")
        folder = results.path.parent.parent
        say("Next: python compare_results.py" + ("" if folder == Path("results") else f" {folder}"))


def _share(row: dict) -> float:
    """The part of the compute limit that an epoch reached."""
    return row["samples_per_second"] / row["compute_samples_per_second"]


def _summary(rows: list[dict]) -> tuple[str, ...]:
    done = [row for row in rows if row["status"] == "ok"]
    status = rows[-1]["status"].replace("_", " ")
    if not done:
        return str(rows[0]["batch_size"]), "", "", "", "", status
    if status != "ok":
        status += f" after {count(len(done), 'epoch')}"

    def median(value) -> float:
        return statistics.median(value(row) for row in done)

    peaks = [row["peak_memory_gb"] for row in done if row["peak_memory_gb"] is not None]
    return (
        str(rows[0]["batch_size"]),
        f"{median(lambda row: row['epoch_seconds']):,.1f}" + ("*" if done[0]["estimated"] else ""),
        _rate(median(lambda row: row["samples_per_second"])),
        f"{median(_share):.0%}",
        f"{max(peaks):.1f} GB" if peaks else "",
        status,
    )


def stopped(rows: list[dict], results: Results, unit: str) -> None:
    """`unit` is what a row is called: "epoch"."""
    finished = sum(row["status"] == "ok" for row in rows)
    if not finished:
        say(f"\nStopped; no {unit} was finished")
    elif results.written:
        say(f"\nStopped; {count(finished, f'finished {unit}')} {'is' if finished == 1 else 'are'} in")
        say(f"  {results.path}")


def rescue(results: Results) -> None:
    warn(f"these rows could not be written to {results.path}; copy them from here:")
    say(results.unwritten)


def generation_header(options: Options, device: Device, machine: Machine, results: Results, model: dict) -> None:
    """What llama2_test.py runs; `model` has the columns that describe it."""
    size = f"{model['parameters'] / 1e9:.1f} billion parameters, {model['model_size_gb']:.1f} GB"
    say(f"{model['model'] or 'A model without a name'} ({model['data']}), {model['quantization']}, {size}")
    times = "once" if options.num_times_per_question == 1 else f"{options.num_times_per_question} times"
    asked = f"{count(options.num_questions, 'question')}, {times} each, {options.max_tokens} tokens an answer"
    say(f"{asked}; {device.framework} {device.framework_version}, {count(options.threads, 'thread')}")
    _machine_and_results(device, machine, results)


def generation(row: dict) -> None:
    question = row["question"] if len(row["question"]) <= 40 else row["question"][:37] + "..."
    rate = _rate(row["generation_tokens_per_second"])
    say(f"{question:40} {row['question_iter']}: {rate} tokens/s, first after {row['time_to_first_token']:.2f} s")


def generation_table(rows: list[dict], results: Results) -> None:
    """Print medians over all answers, and how far they spread."""
    done = [row for row in rows if row["status"] == "ok"]
    if done:
        _aligned(
            [
                ("median", "lowest", "highest", "tokens/s of"),
                (*_spread(done, "prompt_tokens_per_second"), "the prompt"),
                (*_spread(done, "generation_tokens_per_second"), "generation"),
                (*_spread(done, "engine_generation_tokens_per_second"), "generation, as llama.cpp counts it itself"),
                (*_spread(done, "tokens_per_second"), "all of it: answer by total time"),
            ]
        )
        questions = count(len({row["question"] for row in done}), "question")
        answers = (
            f"{count(len(done), 'answer')} to {questions}, {sum(row['answer_token_len'] for row in done):,} tokens"
        )
        peaks = [row["peak_memory_gb"] for row in done if row["peak_memory_gb"] is not None]
        memory = f"; {max(peaks):.1f} GB peak memory" if peaks else ""
        say(f"\n{answers}{memory}")
    _where(results)


def _spread(rows: list[dict], column: str) -> tuple[str, str, str]:
    values = [row[column] for row in rows]
    return _rate(statistics.median(values)), _rate(min(values)), _rate(max(values))
