# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = [
#     "pandas>=2.2",
#     "matplotlib>=3.9",
#     "packaging>=24.0",
#     "tqdm>=4.66",
#     "psutil>=6.0",
#     "portalocker>=3.0",
#     "py-cpuinfo>=9.0",
#     "nvidia-ml-py>=12.535 ; sys_platform != 'darwin'",
#     "zeus-apple-silicon>=1.1 ; sys_platform == 'darwin' and platform_machine == 'arm64'",
# ]
# ///
"""How fast is this machine? All speed tests within half an hour, and a summary.

  uv run run_all.py
  uv run run_all.py --budget=10m --tests="pytorch_cifar100, llama2"

Gets packages and data ready first, which does not count as time. Then each
speed test runs in a process of its own, with a fair share of the budget. Rows
go into the CSVs in results/, and the summary into results/summary_MACHINE.md
and .png. Ctrl-C keeps what was measured; --resume goes on.
"""

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from speed_test import early_interrupt, replaced, screen
from speed_test.arguments import duration
from speed_test.command_line import BadInput, Options, Parser, check_writable, one_of, quoted
from speed_test.interrupt import Interrupt
from speed_test.machine import names_of_this_machine
from speed_test.scripts import PROJECT
from speed_test.suite import memory, packages, saved, shares
from speed_test.suite.before import say_plan, say_state
from speed_test.suite.found import SpeedTest, chosen, find
from speed_test.suite.outcome import Outcome
from speed_test.suite.suite import Suite

if TYPE_CHECKING:
    from speed_test.suite.summary import Summary

BUDGET = 1800.0  # seconds


def budget(text: str) -> float | None:
    """The type of --budget: seconds, None for "none"."""
    return None if text == "none" else duration(text)


def parse() -> Options:
    parser = Parser.of(__doc__)

    def add(flag: str, text: str, **settings) -> None:
        parser.add_argument(flag, help=text, **settings)

    time = "the time for all tests, such as 10m or 1h30m; none: all that each test measures by default (default: 30m)"
    where = {"type": Path, "metavar": "FOLDER"}
    which = {"type": one_of("auto", "real", "synthetic"), "metavar": "WHICH"}
    device = {"type": one_of("auto", "mps", "cuda", "cpu"), "metavar": "NAME"}
    add("--budget", time, type=budget, default=BUDGET, metavar="TIME")
    add(
        "--tests",
        "which tests to run, by their names in docs/measurement.md, such as llama2 (default: all)",
        metavar='"A, B"',
    )
    add("--data", "auto, real or synthetic, as in each speed test (default: %(default)s)", default="auto", **which)
    add("--data_dir", "where downloaded data are kept (default: %(default)s)", default=Path("data"), **where)
    add("--results_dir", "where CSVs and summary go (default: %(default)s)", default=Path("results"), **where)
    add("--device", "mps, cuda, cpu, or auto (default: %(default)s)", default="auto", **device)
    add(
        "--baseline",
        "the machine that this one is compared with, or a part of its name (default: the published Apple M1 Pro)",
        metavar="MACHINE",
    )
    add("--resume", "go on with a suite that was stopped; the other options have to be the same", action="store_true")
    return parser.parse_args()


def main(folder: Path = PROJECT) -> NoReturn:
    """Run the speed tests in `folder`, and exit.

    Exit status: 0 if a test has measured something, 1 if none has, 2 for bad input, 130 after Ctrl-C.
    """
    screen.open_streams()
    options = parse()
    with Interrupt() as interrupt:
        try:
            early_interrupt.raise_missed()
            sys.exit(run(options, folder, interrupt))
        except BadInput as error:
            screen.error(screen.one_line(f"{Path(sys.argv[0]).name}: {error}", 2000))
            sys.exit(2)
        except ModuleNotFoundError as error:
            screen.error(f"the package {error.name} is missing; python3 speed_test run_all.py installs it")
            sys.exit(1)
        except KeyboardInterrupt:
            sys.exit(interrupt.exit_status)
        finally:
            screen.close_streams()


def run(options: Options, folder: Path, interrupt: Interrupt) -> int:
    """Run a suite from its set-up to its summary; return the exit status."""
    from speed_test.suite import summary

    for name in ("pandas", "matplotlib"):  # missed now, and not half an hour later
        if find_spec(name) is None:
            raise ModuleNotFoundError(name=name)
    everything, problems = find(folder)
    tests = chosen(everything, options.tests)
    check_folders(options)
    summary.check_baseline(options.results_dir, options.baseline)
    with saved.locked(options.results_dir):
        so_far = start_or_resume(options, tests)
        for problem in problems:
            screen.warn(problem)
        with Suite(options, tests, so_far, interrupt) as suite:
            set_up(suite)
            measure(suite)
            return conclude(suite)


def check_folders(options: Options) -> None:
    """Raise BadInput if --results_dir cannot be written, or --data_dir is no folder."""
    try:
        check_writable(options.results_dir)
    except OSError as error:
        what = f"{quoted(options.results_dir)} cannot be written ({screen.reason(error)})"
        raise BadInput(f"--results_dir: {what}; name another folder") from None
    if os.path.lexists(options.data_dir) and not options.data_dir.is_dir():
        raise BadInput(f"--data_dir: {quoted(options.data_dir)} is no folder; name another one")


def start_or_resume(options: Options, tests: list[SpeedTest]) -> saved.Saved:
    """An empty suite, or with --resume what one has left that was stopped. Raises BadInput if there is none that fits,
    or if the budget is too small for so many tests."""
    asked = {
        "budget": "none" if options.budget is None else f"{options.budget:g}",
        "tests": ", ".join(test.name for test in tests),
        "data": options.data,
        "device": options.device,
    }
    machines = names_of_this_machine()
    if options.resume:
        return saved.load(options.results_dir, asked, machines, {test.name: test.script.name for test in tests})
    if options.budget is not None and options.budget < shares.least(len(tests)):
        needed = screen.duration(shares.least(len(tests)))
        what = f"{screen.count(len(tests), 'speed test')} need at least {needed}"
        raise BadInput(f"--budget: {what}; name fewer with --tests, or give them more time")
    return saved.Saved(asked, machines)


def set_up(suite: Suite) -> None:
    """Let each test install its packages and get its data; leave out those that cannot."""
    if suite.to_do():
        screen.say("Setting up, which is not part of the budget")
    for test in suite.to_do():
        if suite.interrupt.caught:
            return
        if packages.command(test.script, test.packages):
            suite.prepare(test)
            continue
        missing = packages.missing(test.packages)
        suite.leave_out(test, f"it needs packages that are not installed ({packages.names(missing)})")
        screen.say(f"  {packages.line_that_installs(missing)}")


def measure(suite: Suite) -> None:
    """Run one test after the other, each with an equal share of the time that is left."""
    if suite.interrupt.caught or not suite.to_do():
        return
    say_plan(suite)
    say_state(suite)
    screen.say()
    shares_memory = memory.shares_memory(suite.options.device)
    for test in suite.to_do():
        if suite.interrupt.caught:
            return
        left, needed = suite.left(), test.experiment.memory_gb
        if left is not None and left < shares.LEAST:
            suite.leave_out(test, "the time was up")
        elif shares_memory and (why := memory.too_little(needed, memory.free_gb())):
            suite.leave_out(test, why)
        else:
            suite.measure(test, f"{suite.tests.index(test) + 1} of {len(suite.tests)}")


def conclude(suite: Suite) -> int:
    """Print the summary and write it as text and as a picture; return the exit status."""
    outcomes = suite.outcomes()
    is_measured = suite.has_measured()
    screen.say()
    if is_measured:
        summary = summarise(suite.options, outcomes)
        say_budget(suite)
        write_summary(summary, suite.options)
    else:
        screen.say("Nothing was measured")
    if suite.has_failed:
        screen.say(f"What the speed tests printed is in\n  {suite.logs}")
    if suite.interrupt.caught:
        if suite.spent():
            screen.say("The same command with --resume goes on")
        return suite.interrupt.exit_status
    saved.forget(suite.options.results_dir)
    return 0 if is_measured and not suite.has_unwritten else 1


def summarise(options: Options, outcomes: list[Outcome]) -> "Summary":
    """The summary, printed."""
    from speed_test.suite import summary

    found = summary.summarise(options.results_dir, outcomes, options.baseline)
    for line in found.lines():
        screen.say(line)
    return found


def say_budget(suite: Suite) -> None:
    """Say why the budget was not kept, if it was not."""
    budget = suite.options.budget
    if budget is not None and not suite.interrupt.caught and (why := shares.explained(budget, suite.spent())):
        screen.say_sentence(why)


def as_typed(options: Options) -> str:
    """The options that say what is measured, as somebody types them who wants to measure the same."""
    typed = []
    if options.budget is None:
        typed.append("--budget=none")
    elif options.budget != BUDGET:
        typed.append(f"--budget={screen.exact_duration(options.budget)}")
    if options.tests:
        typed.append(f'--tests="{", ".join(name.strip() for name in options.tests.split(","))}"')
    typed += [f"--{name}={value}" for name in ("data", "device") if (value := getattr(options, name)) != "auto"]
    return " ".join(typed)


def write_summary(summary: "Summary", options: Options) -> None:
    """Write the summary as Markdown and as a picture into --results_dir, and say where everything is."""
    from speed_test.suite import card

    folder = options.results_dir
    text, picture = (folder / f"summary_{summary.machine}.{kind}" for kind in ("md", "png"))
    screen.say("\nThe summary is in")
    for path, write in (
        (text, lambda: replaced.write(text, summary.markdown(as_typed(options)).encode())),
        (picture, lambda: card.draw(summary, picture)),
    ):
        try:
            write()
        except Exception as error:  # of the disk, or of matplotlib: the rows are safe, and the rest is worth having
            screen.warn(screen.one_line(f"{path} could not be written ({screen.reason(error)})"))
            continue
        screen.say(f"  {screen.one_line(path)}")
    screen.say(f"The rows are in the CSVs in\n  {screen.one_line(folder)}")


if __name__ == "__main__":
    main()
