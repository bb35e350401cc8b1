# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = [
#     "matplotlib>=3.9",
#     "pandas>=2.2",
#     "plotly>=6.0",
#     "psutil>=6.0",
#     "py-cpuinfo>=9.0",
# ]
# ///
"""Which machine is faster, and by how much? All CSVs beside published machines.

  python compare_results.py

Prints how fast each machine is over all tests and in each of them, and writes
a chart of each test into results/. With --html=comparison.html it writes a page
as well, to look into the figures; --format=markdown, csv or json prints the
tables for a README or a program, and --check tells whether the CSVs are fit to
be contributed.

How long would my own work take? --like=pytorch_imdb --samples=200000 --epochs=3
prints it for each machine, and with --price and --rent what it costs.
"""

import itertools
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from speed_test import early_interrupt, screen
from speed_test.arguments import argument
from speed_test.command_line import BadInput, Options, Parser, one_of
from speed_test.compare import like_flags
from speed_test.compare.cells import one_line
from speed_test.compare.check import problems
from speed_test.compare.facts import Measurement
from speed_test.compare.read import Unreadable, find, frame, published, read
from speed_test.compare.records import print_records

if TYPE_CHECKING:
    import pandas as pd

RESULTS = Path("results")
MAX_NOTES = 5  # printed for a file
MAX_PROBLEMS = 20  # of --check, for a file


def _html(text: str) -> Path:
    if not text.lower().endswith((".html", ".htm")):  # a CSV of somebody who takes --html for a switch
        raise ValueError
    return Path(text)


html = argument(_html, "the name of a page, such as comparison.html")


def parse() -> Options:
    parser = Parser.of(__doc__)
    parser.add_argument(
        "paths",
        nargs="*",
        type=Path,
        metavar="PATH",
        help=f"files, and folders with files in them, to read (default: {RESULTS})",
    )
    parser.add_argument(
        "--baseline",
        metavar="MACHINE",
        help="whose speed the others are compared with, or a part of its name (default: this machine; where it has "
        "no figures, the slowest)",
    )
    parser.add_argument(
        "--format",
        type=one_of("text", "markdown", "csv", "json"),
        default="text",
        metavar="FORMAT",
        help="text: tables on the screen, and charts; markdown: tables; csv, json: all figures, unrounded "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--charts",
        type=Path,
        default=RESULTS,
        metavar="FOLDER",
        help="where the charts go (default: %(default)s)",
    )
    parser.add_argument("--html", type=html, metavar="FILE", help="write one page with all of it, to open in a browser")
    parser.add_argument("--check", action="store_true", help="only tell what is wrong with the CSVs, if anything is")
    like_flags.add(parser)
    options = parser.parse_args()
    like_flags.check(parser, options)
    return options


def main() -> None:
    screen.open_streams()
    options = parse()
    try:
        sys.exit(check(options) if options.check else compare(options))
    except BadInput as error:
        screen.error(one_line(f"{Path(sys.argv[0]).name}: {error}"))
        sys.exit(2)
    except ModuleNotFoundError as error:
        screen.error(f"the package {error.name} is missing; python3 speed_test compare_results.py installs it")
        sys.exit(1)


def files(options: Options) -> list[Path]:
    """The CSVs to read; none if there is no results folder yet."""
    found: list[Path] = []
    for path in options.paths or ([RESULTS] if os.path.lexists(RESULTS) else []):
        try:
            found += find([path])
        except (FileNotFoundError, ValueError):
            raise BadInput(f"{path} is not there; name a file or a folder with CSVs") from None
        except OSError as error:
            raise BadInput(
                f"{path} cannot be read ({screen.reason(error)}); name a file or a folder with CSVs"
            ) from None
    return list(dict.fromkeys(found))


def check(options: Options) -> int:
    """Print what is wrong; return the exit status, 1 if anything is."""
    paths = files(options)
    is_wrong = False
    for path in paths:
        found = list(itertools.islice(problems(path), MAX_PROBLEMS + 1))
        is_wrong |= bool(found)
        for problem in found[:MAX_PROBLEMS]:
            screen.error(one_line(f"{path} {problem}"))
        if len(found) > MAX_PROBLEMS:
            screen.error(one_line(f"{path} has more of these"))
    if not is_wrong:
        screen.say(f"Nothing is wrong with the {screen.count(len(paths), 'CSV')}")
    return 1 if is_wrong else 0


def measurements(options: Options) -> list[Measurement]:
    """All measurements, published ones first. Warns of what cannot be read."""
    found = list(published())
    for path in files(options):
        try:
            measured, notes = read(path)
        except Unreadable as error:
            warn(f"{path} {error}; it is left out")
            continue
        found += measured
        for note in notes[:MAX_NOTES]:
            warn(f"{path}: {note}; it is left out")
        if len(notes) > MAX_NOTES:
            warn(f"{path}: {len(notes) - MAX_NOTES:,} more lines are left out")
    return found


def warn(text: str) -> None:
    """Print a warning. It stays on its line: the name of a file, for example, may hold a newline."""
    screen.warn(one_line(text))


def compare(options: Options) -> int:
    """Print and draw what --format asks for; return the exit status."""
    # These import pandas when they are used, which takes most of a second: --check and --help do without.
    from speed_test.compare import speeds, table, text
    from speed_test.compare.curves import with_curves
    from speed_test.machine import names_of_this_machine

    early_interrupt.raise_missed()
    cells = table.cells(frame(measurements(options)))
    if options.baseline and not speeds.machines_called(cells, options.baseline):
        names = "; ".join(sorted(cells["machine_label"].unique()))
        raise BadInput(f"--baseline: there is no machine {options.baseline!r}; there are {names}")
    compared = speeds.compare(cells, options.baseline, names_of_this_machine())
    if options.like is not None:
        return print_like(compared, options)
    records = speeds.records(compared) if options.html or options.format in ("csv", "json") else []
    if options.format == "text":
        text.print_text(compared)
        draw_charts(compared, options.charts)
    elif options.format == "markdown":
        text.print_markdown(compared)
    else:
        print_records(speeds.KEYS, records, options.format)
    if options.html:
        write_page(with_curves(records, compared), options)
    return 0


def print_like(compared: "pd.DataFrame", options: Options) -> int:
    """Print how long the work of --like takes; return the exit status."""
    from speed_test.compare import like, like_text

    try:
        work = like.work(compared, options.like, options.samples, options.epochs, options.tokens)
        work = like.with_money(work, compared, options.price, options.rent)
    except like.Impossible as error:
        raise BadInput(str(error)) from None
    if options.format == "text":
        like_text.print_text(work)
    elif options.format == "markdown":
        like_text.print_markdown(work)
    else:
        print_records(*like.records(work), options.format)
    return 0


def draw_charts(compared: "pd.DataFrame", folder: Path) -> None:
    """Draw a chart of each test into `folder`."""
    from speed_test.compare import charts

    look = charts.looks(compared)
    screen.say("\nCharts")
    drawn = compared.loc[charts.chosen_for_chart(compared), "test"].unique()
    for _, test in compared[compared["test"].isin(drawn)].groupby("test", sort=False):
        path = folder / f"{test['chart'].iloc[0]}.png"
        try:
            charts.draw(test, look, path)
        except OSError as error:
            place = error.filename or path
            raise BadInput(f"{place} cannot be written ({screen.reason(error)}); name another folder") from None
        except Exception as error:  # of matplotlib: the other charts are worth having
            warn(f"{path} could not be drawn ({screen.one_line(error)})")
            continue
        screen.say(f"  {one_line(str(path))}")
    if left_out := compared["test"].nunique() - len(drawn):
        screen.say(f"  none of {screen.count(left_out, 'more test')}")


def write_page(records: list[dict], options: Options) -> None:
    """Write the page that --html names."""
    from speed_test.compare import page

    try:
        page.write(records, options.html)
    except OSError as error:
        place = error.filename or options.html
        raise BadInput(f"{place} cannot be written ({screen.reason(error)}); name another place") from None
    if options.format == "text":
        screen.say(f"\nThe page is {one_line(str(options.html))}; open it in a browser")


if __name__ == "__main__":
    main()
