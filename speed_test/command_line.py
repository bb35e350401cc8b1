"""The command line that all speed tests share. Standard library only: `--help` must be instant."""

import argparse
import contextlib
import difflib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from speed_test.arguments import (
    argument,
    batch_sizes,
    cooldown,
    existing_file,
    one_of,
    percent,
    prices,
    processes,
    quoted,
    seconds,
    whole_number,
)
from speed_test.experiment import Experiment
from speed_test.screen import reason
from speed_test.switches import PRECISIONS

__all__ = [
    "BadInput",
    "Options",
    "Parser",
    "argument",
    "existing_file",
    "make_parser",
    "one_of",
    "parse",
    "prices",
    "whole_number",
]


class BadInput(Exception):
    """An argument that cannot be used. Its text is one sentence; the program ends with exit status 2."""


class Options(argparse.Namespace):
    """The parsed command line, with the options that a script has added.

    In a child process `data` and `device` are never "auto".
    """

    epochs: int
    batch_sizes: tuple[int, ...]
    data: str
    data_dir: Path
    max_steps: int | None
    time_limit: float | None
    results_dir: Path
    device: str
    stall_timeout: float
    resume: bool
    runs: int
    until: float | None
    cooldown: float | str | None
    precision: str
    compile: bool
    channels_last: bool
    best: bool
    processes: int | str
    # For --best, in a child: None, or how many steps' losses are compared (0: of float32, which the others are compared
    # with). And how long a step of float32 takes, where that is known.
    trial: int | None
    trial_seconds: float
    # What --resume has found of this run in the CSV: the cells of Experiment.identity, of each row that need not be
    # measured again.
    done: frozenset[tuple[str, ...]]
    done_rates: list[list[float]]  # the rates of the blocks of each of these

    def changed(self, **changes: object) -> "Options":
        """A copy with some options changed."""
        return Options(**{**vars(self), **changes})


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that says what is wrong in one sentence, without the usage in front of it."""

    @classmethod
    def of(cls, description: str) -> "Parser":
        """A parser whose --help is headed by `description`, as it is written."""
        return cls(description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")

    def parse_args(self, args=None, namespace=None) -> Options:  # type: ignore[override]
        parsed, unknown = self.parse_known_args(args, namespace or Options())
        if unknown:
            self.error(self._unknown(unknown[0]))
        for action in self._actions:
            # Python 3.11 takes the "--" of `--option=--` for the end of all options, and leaves an empty list.
            if action.option_strings and getattr(parsed, action.dest, None) == []:
                self.error(f"argument {action.option_strings[0]}: '--' is no value; write --option=value")
        return parsed

    def _unknown(self, argument: str) -> str:
        flags = [flag for action in self._actions for flag in action.option_strings if flag.startswith("--")]
        flag = argument.split("=")[0]
        if not flag.startswith("-"):
            return f"{quoted(argument)} belongs to no option; write --option=value, with quotes around a list"
        near = difflib.get_close_matches(flag, flags, n=1)
        return f"there is no option {quoted(flag)}; " + (f"did you mean {near[0]}?" if near else "see --help")


def make_parser(experiment: Experiment, description: str) -> Parser:
    """The parser of a speed test; `description` heads its --help."""
    parser = Parser.of(description)
    if experiment.batch_sizes:
        _add_training_options(parser, experiment)
    else:
        parser.set_defaults(epochs=1, batch_sizes=(), max_steps=None, time_limit=None)
    _add_switches(parser, experiment.switches)
    _add_data_options(parser, experiment.real_data)
    parser.add_argument(
        "--device",
        type=one_of("auto", "mps", "cuda", "cpu"),
        default="auto",
        metavar="NAME",
        help="mps (Apple GPU), cuda (NVIDIA GPU), cpu, or auto: the first of these there is (default: %(default)s)",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="leave out what the CSV already has from the same machine, data, versions and code",
    )
    parser.add_argument(
        "--stall_timeout",
        type=seconds,
        default=1800.0,
        metavar="SECONDS",
        help="end a batch size in which no step has ended for so long (default: 1800)",
    )
    _add_options_of_trust(parser, experiment.row_is)
    parser.set_defaults(done=frozenset(), done_rates=[], trial=None, trial_seconds=0.0)
    return parser


def _add_options_of_trust(parser: Parser, row_is: str) -> None:
    """Add the options that make a figure surer; `row_is` is what a row measures."""
    parser.add_argument(
        "--runs",
        type=whole_number(1),
        default=1,
        metavar="N",
        help="repeat all of it so many times in fresh processes, which differ more than what one process measures "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--until",
        type=percent,
        metavar="PERCENT",
        help=f"stop before the last {row_is} once the figure is sure to so many percent, such as 2%%, or can get no "
        "surer",
    )
    parser.add_argument(
        "--cooldown",
        type=cooldown,
        metavar="SECONDS",
        help="rest so long before the next batch size and run; auto: until the machine is as cool as at the start, "
        "5 minutes at most",
    )


def _add_switches(parser: Parser, offered: tuple[str, ...]) -> None:
    """Add the options that say how the work is done, as far as a test has them; the others keep their defaults."""
    parser.set_defaults(precision=PRECISIONS[0], compile=False, channels_last=False, best=False, processes=1)
    if "precision" in offered:
        parser.add_argument(
            "--precision",
            type=one_of(*PRECISIONS),
            metavar="TYPE",
            help=f"numbers that most of the work is done in: {', '.join(PRECISIONS)} (default: %(default)s)",
        )
    if "compile" in offered:
        parser.add_argument("--compile", action="store_true", help="compile the training step before it is timed")
    if "channels_last" in offered:
        parser.add_argument(
            "--channels_last",
            action="store_true",
            help="keep the colours of each pixel side by side in memory, in place of one plane for each",
        )
    if offered:
        parser.add_argument(
            "--best",
            action="store_true",
            help="try all that this device can do of these at each batch size, and measure with the fastest",
        )
    if "processes" in offered:
        parser.add_argument(
            "--processes",
            type=processes,
            metavar="N",
            help="train in so many processes together, each with the whole batch size; all: one for each GPU "
            "(default: %(default)s)",
        )


def _add_training_options(parser: Parser, experiment: Experiment) -> None:
    whole = whole_number(1)
    sizes = ", ".join(map(str, experiment.batch_sizes))
    parser.add_argument(
        "--epochs",
        type=whole,
        default=experiment.epochs,
        metavar="N",
        help=f"how many times to train on all {experiment.samples:,} samples at each batch size (default: %(default)s)",
    )
    parser.add_argument(
        "--batch_sizes",
        type=batch_sizes(experiment.samples, experiment.smallest_batch),
        default=experiment.batch_sizes,
        metavar='"A, B"',
        help=f'how many samples a training step takes; each size is timed on its own (default: "{sizes}")',
    )
    parser.add_argument(
        "--max_steps",
        type=whole,
        metavar="N",
        help="stop each epoch after N training steps and estimate the rest: for a quick look",
    )
    parser.add_argument(
        "--time_limit",
        type=seconds,
        metavar="SECONDS",
        help="stop each epoch after so many seconds and estimate the rest: for slow machines",
    )


def _add_data_options(parser: Parser, dataset: str) -> None:
    """Add the options that say where data come from and where results go; `dataset` is the name of the real data."""
    parser.add_argument(
        "--data",
        type=one_of("auto", "real", "synthetic"),
        default="auto",
        metavar="WHICH",
        help=f"real: {dataset} itself, downloaded once; synthetic: made-up samples that cost the machine "
        "the same work, in a CSV of their own; auto: real if it can be had, else synthetic (default: %(default)s)",
    )
    parser.add_argument(
        "--data_dir",
        type=Path,
        default=Path("data"),
        metavar="FOLDER",
        help="where downloaded data are kept (default: %(default)s)",
    )
    parser.add_argument(
        "--results_dir",
        type=Path,
        default=Path("results"),
        metavar="FOLDER",
        help="where the CSV goes (default: %(default)s)",
    )


def parse(
    experiment: Experiment,
    description: str,
    arguments: list[str] | None = None,
    add_options: Callable[[Parser], None] | None = None,
) -> Options:
    """Read the command line (`arguments`, default sys.argv) and check the folders it names.

    `add_options(parser)` adds options that only one script has. If something cannot be used, prints one sentence to
    standard error and exits with status 2.
    """
    parser = make_parser(experiment, description)
    if add_options:
        add_options(parser)
    options = parser.parse_args(arguments)
    _check_switches(parser, options)
    _check_folders(parser, options, experiment.results)
    return options


def _check_switches(parser: Parser, options: Options) -> None:
    """Exit with status 2 if --best stands beside an option that it makes no sense with."""
    if not options.best:
        return
    for flag, given in (
        ("--precision", options.precision != PRECISIONS[0]),
        ("--compile", options.compile),
        ("--channels_last", options.channels_last),
    ):
        if given:
            parser.error(f"--best: it tries {flag} itself; leave one of the two out")
    if options.processes != 1:
        parser.error("--best: it tries one process; measure with --processes and the options that it finds")
    if options.resume:
        parser.error("--best: it chooses anew each time, so there is nothing to --resume; leave one of the two out")


def _check_folders(parser: Parser, options: Options, results: str) -> None:
    """Exit with status 2 if --data_dir is no folder, or `results` in --results_dir cannot be written."""
    try:
        _check_folder(options.data_dir)
    except OSError as error:
        parser.error(f"--data_dir: {quoted(options.data_dir)} cannot be read ({reason(error)}); name another folder")
    try:
        check_writable(options.results_dir / results)
    except OSError as error:
        parser.error(
            f"--results_dir: {quoted(options.results_dir)} cannot be written ({reason(error)}); name another folder"
        )


def _check_folder(folder: Path) -> None:
    """Raise the OSError that reading `folder` would raise, unless that is only not there yet."""
    with contextlib.suppress(FileNotFoundError):
        os.scandir(folder).close()


def check_writable(folder: Path) -> None:
    """Raise the OSError that writing a file into `folder` would raise; leave no trace of having tried.

    Trying is the only sure way: access bits say nothing about read-only file systems, and root ignores them.
    """
    missing = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    finally:
        for path in missing:
            try:
                path.rmdir()
            except OSError:  # never made, or another run has put its file there in the meantime
                break
