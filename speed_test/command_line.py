"""The command line that all speed tests share. Standard library only: `--help` must be instant."""

import argparse
import contextlib
import difflib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from speed_test import flags
from speed_test.arguments import argument, existing_file, one_of, quoted, whole_number
from speed_test.experiment import Experiment
from speed_test.screen import reason

if TYPE_CHECKING:
    from speed_test.budget import Share

__all__ = [
    "BadInput",
    "Options",
    "Parser",
    "argument",
    "existing_file",
    "make_parser",
    "one_of",
    "parse",
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
    budget: float | None  # seconds
    prepare: bool
    has_chosen_sizes: bool  # by --batch_sizes
    share: "Share | None"  # of --budget, in a child
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
    flags.add(parser, experiment)
    return parser


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
    flags.check(parser, options)
    options.has_chosen_sizes = options.batch_sizes is not parser.get_default("batch_sizes")
    if options.budget:
        options.until = options.until or flags.UNTIL_OF_A_BUDGET
    _check_folders(parser, options, experiment.results)
    return options


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
