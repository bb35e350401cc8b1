"""The options that all speed tests share, and which of them cannot stand together."""

from argparse import ArgumentParser
from pathlib import Path
from typing import TYPE_CHECKING

from speed_test.arguments import (
    batch_sizes,
    cooldown,
    duration,
    one_of,
    percent,
    processes,
    seconds,
    whole_number,
)
from speed_test.experiment import Experiment
from speed_test.switches import PRECISIONS

if TYPE_CHECKING:
    from speed_test.command_line import Options

LEAST_BUDGET = 1.0  # seconds
UNTIL_OF_A_BUDGET = 0.01  # --until beside --budget, unless it is given: what is sure leaves its time to the rest


def add(parser: ArgumentParser, experiment: Experiment) -> None:
    """Add the options of a speed test, and what stands in `Options` without one."""
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
    _add_budget(parser, bool(experiment.batch_sizes))
    _add_options_of_trust(parser, experiment.row_is, bool(experiment.batch_sizes))
    parser.set_defaults(done=frozenset(), done_rates=[], trial=None, trial_seconds=0.0, share=None)


def _add_budget(parser: ArgumentParser, has_batch_sizes: bool) -> None:
    chosen = "three batch sizes and parts of epochs" if has_batch_sizes else "fewer and shorter pieces of work"
    parser.add_argument(
        "--budget",
        type=duration,
        metavar="TIME",
        help=f"take so long, such as 4m, 1h30m or 90s, once the data are there: measure {chosen} if need be",
    )
    parser.add_argument("--prepare", action="store_true", help="download or make what a run needs, and measure nothing")


def _add_options_of_trust(parser: ArgumentParser, row_is: str, has_batch_sizes: bool) -> None:
    """Add the options that make a figure surer; `row_is` is what a row measures."""
    parser.add_argument(
        "--runs",
        type=whole_number(1),
        default=1,
        metavar="N",
        help="repeat all of it so many times in fresh processes, which differ more than what one process measures"
        f"{'; batch sizes take turns' if has_batch_sizes else ''} (default: %(default)s)",
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


def _add_switches(parser: ArgumentParser, offered: tuple[str, ...]) -> None:
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


def _add_training_options(parser: ArgumentParser, experiment: Experiment) -> None:
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


def _add_data_options(parser: ArgumentParser, dataset: str) -> None:
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


def check(parser: ArgumentParser, options: "Options") -> None:
    """End with exit status 2 if --best or --budget stands beside an option that it makes no sense with."""
    if options.best:
        _check_best(parser, options)
    if options.budget:
        _check_budget(parser, options)


def _check_best(parser: ArgumentParser, options: "Options") -> None:
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


def _check_budget(parser: ArgumentParser, options: "Options") -> None:
    for flag, given in (("--time_limit", options.time_limit), ("--max_steps", options.max_steps)):
        if given:
            parser.error(f"--budget: it chooses how much is measured, as {flag} does; leave one of the two out")
    if options.budget and options.budget < LEAST_BUDGET:
        parser.error(f"--budget: {options.budget:g} s are too few to measure anything in; write 1m, for example")
    if options.cooldown:
        parser.error("--budget: all of it is for measuring; leave it or --cooldown out")
    if options.best:
        parser.error("--budget: --best takes as long as it needs; measure with the options that it finds")
    if options.processes != 1:
        parser.error("--budget: it is for one process; leave it or --processes out")
