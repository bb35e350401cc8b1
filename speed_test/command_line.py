"""The command line that all speed tests share. Standard library only: `--help` must be instant."""

import argparse
import contextlib
import difflib
import math
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TypeVar

from speed_test.experiment import Experiment
from speed_test.screen import reason

Value = TypeVar("Value")


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
            return f"{_quoted(argument)} belongs to no option; write --option=value, with quotes around a list"
        near = difflib.get_close_matches(flag, flags, n=1)
        return f"there is no option {_quoted(flag)}; " + (f"did you mean {near[0]}?" if near else "see --help")


def _quoted(text: object) -> str:
    """`text` in quotes, cut if it would fill the screen."""
    text = str(text)
    return repr(text if len(text) <= 80 else text[:77] + "...")


def argument(convert: Callable[[str], Value], right: str) -> Callable[[str], Value]:
    """Turn `convert` into an argparse type whose error names the value and says what is `right`."""

    def parse(text: str) -> Value:
        try:
            return convert(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{_quoted(text)} is not {right}") from None

    return parse


def whole_number(lowest: int) -> Callable[[str], int]:
    """An argparse type: a whole number from `lowest` up."""

    def convert(text: str) -> int:
        number = int(text)
        if number < lowest:
            raise ValueError
        return number

    return argument(convert, f"a whole number from {lowest} up")


def _seconds(text: str) -> float:
    number = float(text)
    if not (math.isfinite(number) and number > 0):
        raise ValueError
    return number


def _percent(text: str) -> float:
    number = float(text.removesuffix("%"))
    if not 0 < number < 100:
        raise ValueError
    return number / 100


def _cooldown(text: str) -> float | str:
    return text if text == "auto" else _seconds(text)


def one_of(*words: str) -> Callable[[str], str]:
    """An argparse type: one of `words`."""

    def convert(text: str) -> str:
        if text not in words:
            raise ValueError
        return text

    return argument(convert, "one of " + ", ".join(words))


def existing_file(text: str) -> Path:
    """An argparse type: a file that is there."""
    shown = text if text.isprintable() and len(text) <= 80 else _quoted(text)
    if os.path.isdir(text):  # unlike pathlib's, these take a name that is too long for any file
        raise argparse.ArgumentTypeError(f"{shown} is a folder; name a file in it")
    if not os.path.isfile(text):
        raise argparse.ArgumentTypeError(f"{shown} is not there; name a file, or leave the option out")
    return Path(text)


def _batch_sizes(samples: int, smallest: int) -> Callable[[str], tuple[int, ...]]:
    def parse(text: str) -> tuple[int, ...]:
        if not text.strip():
            raise argparse.ArgumentTypeError('names no batch size; write for example "32, 64"')
        sizes: list[int] = []
        for part in text.split(","):
            try:
                size = whole_number(1)(part)
            except argparse.ArgumentTypeError:
                raise argparse.ArgumentTypeError(
                    f"{_quoted(part.strip())} in {_quoted(text)} is not a whole number from 1 up; "
                    'write for example "32, 64"'
                ) from None
            if size > samples:
                raise argparse.ArgumentTypeError(f"{size} is more than the {samples:,} samples of an epoch")
            if size < smallest or 0 < samples % size < smallest:
                last = "" if size < smallest else f"leaves a last batch of {samples % size}, which "
                raise argparse.ArgumentTypeError(f"{size} {last}is too small: a batch needs {smallest} samples")
            if size in sizes:
                raise argparse.ArgumentTypeError(f"{size} is there twice in {_quoted(text)}; name each size once")
            sizes.append(size)
        return tuple(sizes)

    return parse


def make_parser(experiment: Experiment, description: str) -> Parser:
    """The parser of a speed test; `description` heads its --help."""
    parser = Parser.of(description)
    if experiment.batch_sizes:
        _add_training_options(parser, experiment)
    else:
        parser.set_defaults(epochs=1, batch_sizes=(), max_steps=None, time_limit=None)
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
        type=argument(_seconds, "a number of seconds above 0"),
        default=1800.0,
        metavar="SECONDS",
        help="end a batch size in which no step has ended for so long (default: 1800)",
    )
    _add_options_of_trust(parser, experiment.row_is)
    parser.set_defaults(done=frozenset(), done_rates=[])
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
        type=argument(_percent, "a percentage above 0 and below 100, such as 2%"),
        metavar="PERCENT",
        help=f"stop before the last {row_is} once the figure is sure to so many percent, such as 2%%, or can get no "
        "surer",
    )
    parser.add_argument(
        "--cooldown",
        type=argument(_cooldown, "a number of seconds above 0, or auto"),
        metavar="SECONDS",
        help="rest so long before the next batch size and run; auto: until the machine is as cool as at the start, "
        "5 minutes at most",
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
        type=_batch_sizes(experiment.samples, experiment.smallest_batch),
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
        type=argument(_seconds, "a number of seconds above 0"),
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
    _check_folders(parser, options, experiment.results)
    return options


def _check_folders(parser: Parser, options: Options, results: str) -> None:
    """Exit with status 2 if --data_dir is no folder, or `results` in --results_dir cannot be written."""
    try:
        _check_folder(options.data_dir)
    except OSError as error:
        parser.error(f"--data_dir: {_quoted(options.data_dir)} cannot be read ({reason(error)}); name another folder")
    try:
        check_writable(options.results_dir / results)
    except OSError as error:
        parser.error(
            f"--results_dir: {_quoted(options.results_dir)} cannot be written ({reason(error)}); name another folder"
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
