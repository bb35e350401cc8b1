# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = [
#     "matplotlib>=3.9",
#     "plotly>=6.0",
#     "psutil>=6.0",
#     "py-cpuinfo>=9.0",
# ]
# ///
"""Which machine is faster, and by how much? All CSVs in results/ beside the published machines.

  python compare_results.py

Prints a table for each experiment and writes a chart of each into results/.
With --html=comparison.html it writes a page as well, to look into the figures;
--format=markdown, csv or json prints the tables for a README or a program, and
--check tells whether the CSVs are fit to be contributed.
"""

import csv
import json
import sys
from pathlib import Path

from speed_test import report
from speed_test.charts import draw, label, looks, number
from speed_test.command_line import BadInput, Parser, one_of
from speed_test.comparison import (
    EXPERIMENTS,
    MARKS,
    Cell,
    Machine,
    Series,
    Title,
    Unreadable,
    collect,
    find,
    groups,
    problems,
    published,
    read,
    speed,
)
from speed_test.machine import names_of_this_machine

RESULTS = Path("results")
NOTHING = Cell()
SHORT = {"out_of_memory": "memory"}  # in a table's cell
LETTERS = {
    "published": "published in December 2023, of the same size as ours but not the same to\n"
    "    the percent: see published/README.md",
    **MARKS,
}


def parse():
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
    parser.add_argument("--html", type=Path, metavar="FILE", help="write one page with all of it, to open in a browser")
    parser.add_argument("--check", action="store_true", help="only tell what is wrong with the CSVs, if anything is")
    return parser.parse_args()


def main():
    report.open_streams()
    options = parse()
    try:
        sys.exit(check(options) if options.check else compare(options))
    except BadInput as error:
        report.error(f"{Path(sys.argv[0]).name}: {error}")
        sys.exit(2)
    except ModuleNotFoundError as error:
        report.error(f"the package {error.name} is missing; pip install -r requirements.txt brings it")
        sys.exit(1)


def files(options) -> list[Path]:
    """The CSVs to read; none where there is no results folder yet."""
    try:
        return find(options.paths or ([RESULTS] if RESULTS.exists() else []))
    except FileNotFoundError as error:
        raise BadInput(f"{error} is not there; name a file or a folder with CSVs") from None


def check(options) -> int:
    """Print what is wrong; return the exit status, 1 where anything is."""
    paths = files(options)
    found = [f"{path} {what}" for path in paths for what in problems(path)]
    for problem in found:
        report.error(problem)
    if not found:
        report.say(f"Nothing is wrong with the {report.count(len(paths), 'CSV')}")
    return 1 if found else 0


def compare(options) -> int:
    figures = list(published())
    for path in files(options):
        try:
            read_figures, notes = read(path)
        except Unreadable as error:
            report.warn(f"{path} {error}; it is left out")
            continue
        figures += read_figures
        for note in notes[:5]:
            report.warn(f"{path}: {note}; it is left out")
        if len(notes) > 5:
            report.warn(f"{path}: {len(notes) - 5} more lines are left out")
    together = collect(figures)
    here = names_of_this_machine()
    bases = {name: baseline(some, EXPERIMENTS[name], options.baseline, here) for name, some in together.items()}
    if options.baseline and not any(matches(base, options.baseline) for base in bases.values()):
        names = sorted({series.machine.label for some in together.values() for series in some})
        raise BadInput(f"--baseline: there is no machine {options.baseline!r}; there are {'; '.join(names)}")

    print_as = {"text": print_text, "markdown": print_markdown, "csv": print_csv, "json": print_json}
    print_as[options.format](together, bases)
    try:
        if options.format == "text":
            report.say("\nCharts")
            look = looks(together)
            for experiment, some in together.items():
                title = EXPERIMENTS[experiment]
                path = options.charts / f"{title.chart}.png"
                draw(title, some, look, path)
                report.say(f"  {path}")
        if options.html:
            from speed_test.page import write

            write(together, bases, options.html)
            if options.format == "text":
                report.say(f"\nThe page is {options.html}; open it in a browser")
    except OSError as error:
        raise BadInput(f"{error.filename} cannot be written ({error.strerror}); name another place") from None
    return 0


# ---- Who is compared with whom ----


def matches(series: Series, wanted: str) -> bool:
    names = (series.machine.key, series.machine.name, series.machine.label)
    return any(wanted.lower().replace("_", " ") in name.lower().replace("_", " ") for name in names)


def baseline(some: list[Series], title: Title, wanted: str | None, here: list[str]) -> Series:
    """The series that the others of an experiment are compared with.

    That is one of the machine `wanted` or, where none is, of this machine, whose keys are `here`; else the slowest.
    """
    if wanted:  # a name that is one machine's own goes before one that is a part of others': "M3" before "M3 Max"
        mine = [one for one in some if wanted.lower() in (one.machine.key.lower(), one.machine.name.lower())]
        mine = mine or [one for one in some if matches(one, wanted)]
    else:
        mine = [one for one in some if one.machine.key in here]
    mine = [one for one in mine if any(cell.values for cell in one.cells.values())]
    if mine:  # of several kinds of figures the one that most others can be compared with
        return min(mine, key=lambda one: (-sum(bool(one.cells.keys() & other.cells) for other in some), len(one.marks)))
    # The slowest where most of them can be compared.
    group = max(groups(some), key=lambda group: sum(bool(one.cells.get(group, NOTHING).values) for one in some))
    there = [one for one in some if one.cells.get(group, NOTHING).values] or some
    slowest = max if title.lower_is_better else min
    return slowest(there, key=lambda one: one.cells[group].median)


def ratio(cell: Cell | None, base: Cell | None, title: Title) -> str:
    """How many times as fast, for people: "1.85", or "tie" where the spreads overlap."""
    if not (cell and base and cell.values and base.values):
        return ""
    if cell is not base and cell.ties_with(base):
        return "tie"
    value = speed(cell, base, title.lower_is_better)
    return f"{value:.2f}" if value < 10 else f"{value:,.1f}"


# ---- Tables ----


def shown(cell: Cell | None) -> str:
    if cell is None:
        return ""
    return number(cell.median) if cell.values else SHORT.get(cell.status, cell.status)


def times_table(some: list[Series], names: list[str]) -> list[list[str]]:
    across = groups(some)
    lines = [[name, *(shown(one.cells.get(group)) for group in across)] for name, one in zip(names, some, strict=True)]
    return [["", *map(str, across)], *lines]


def speeds_table(some: list[Series], names: list[str], base: Series, title: Title) -> list[list[str]]:
    """Against `base`, at each batch size that it has, and each machine's best against its best."""
    across = [group for group in groups(some) if base.cells.get(group, NOTHING).values]
    sizes = title.across == "batch size"
    lines = [["", *map(str, across), *(["best"] if sizes else [])]]
    for name, one in zip(names, some, strict=True):
        cells = [ratio(one.cells.get(group), base.cells[group], title) for group in across]
        if sizes:
            best = title.lower_is_better
            cells.append(ratio(one.best(best), base.best(best), title))
        if any(cells):
            lines.append([name, *cells])
    return lines


def letters(one: Series) -> str:
    """What is special about its figures, a letter for each."""
    marks = (["published"] if one.machine.published else []) + list(one.marks)
    return ", ".join(mark[0] if mark in LETTERS else mark for mark in marks)


def print_text(together: dict[str, list[Series]], bases: dict[str, Series]) -> None:
    everyone = {one.machine.key: one.machine for some in together.values() for one in some}
    report.say("Machines")
    for machine in sorted(everyone.values(), key=lambda machine: machine.order):
        report.say(f"  {machine.label}" + (" (published)" if machine.published else ""))
    for experiment, some in together.items():
        title, base = EXPERIMENTS[experiment], bases[experiment]
        chips = [one.machine.name for one in {one.machine.key: one for one in some}.values()]
        names = []
        for one in some:
            name = one.machine.name if chips.count(one.machine.name) == 1 else one.machine.label
            names.append(f"{name} ({letters(one)})" if letters(one) else name)
        report.say(f"\n{title}\n{title.unit}, median; {title.better}\n")
        print_aligned(times_table(some, names))
        report.say(f"\nspeed, {names[some.index(base)]} being 1; higher is better\n")
        print_aligned(speeds_table(some, names, base, title))
    said = {letter for some in together.values() for one in some for letter in letters(one).split(", ")}
    report.say()
    for mark, what in LETTERS.items():
        if mark[0] in said:
            report.say(f"({mark[0]}) {what}")
    if any(
        "tie" in ratio(one.cells.get(group), bases[name].cells.get(group), EXPERIMENTS[name])
        for name, some in together.items()
        for one in some
        for group in one.cells
    ):
        report.say("tie: from the lowest to the highest of their figures, the two overlap")


def print_aligned(lines: list[list[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for name, *cells in lines:
        padded = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
        report.say("  ".join([name.ljust(widths[0]), *padded]).rstrip())


def print_markdown(together: dict[str, list[Series]], bases: dict[str, Series]) -> None:
    kinds: dict[Machine, set[str]] = {}
    for one in (one for some in together.values() for one in some):
        said = "published, December 2023" if one.machine.published else "measured with these scripts"
        kinds.setdefault(one.machine, set()).add(", ".join([said, *one.marks]))
    machines = sorted(kinds, key=lambda machine: machine.order)
    lines = [[machine.label, "; ".join(sorted(kinds[machine]))] for machine in machines]
    print_pipes([["machine", "figures"], *lines], numbers=False)
    report.say()
    for experiment, some in together.items():
        title, base = EXPERIMENTS[experiment], bases[experiment]
        names = [label(one) for one in some]
        if experiment != next(iter(together)):
            report.say()
        report.say(f"**{title}:** {title.unit}, median; {title.better}\n")
        print_pipes(times_table(some, names))
        report.say(f"\nSpeed, {label(base)} being 1; higher is better\n")
        print_pipes(speeds_table(some, names, base, title))


def print_pipes(lines: list[list[str]], numbers: bool = True) -> None:
    for number_of, line in enumerate(lines):
        report.say("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |")
        if number_of == 0:
            report.say("| --- |" + (" ---: |" if numbers else " --- |") * (len(line) - 1))


def records(together: dict[str, list[Series]], bases: dict[str, Series]) -> list[dict]:
    """Everything, a record for each machine, kind and batch size (or model); unknown is None."""
    found = []
    for experiment, some in together.items():
        title, base = EXPERIMENTS[experiment], bases[experiment]
        for one in some:
            for group, cell in sorted(one.cells.items(), key=lambda item: (str(type(item[0])), item[0])):
                base_cell = base.cells.get(group)
                both = bool(cell.values and base_cell and base_cell.values)
                found.append(
                    {
                        "experiment": experiment,
                        "machine": one.machine.label,
                        "published": one.machine.published,
                        "marks": " ".join(one.marks),
                        title.across.replace(" ", "_"): group,
                        "unit": title.unit,
                        "median": cell.median,
                        "lowest": min(cell.values, default=None),
                        "highest": max(cell.values, default=None),
                        "count": len(cell.values),
                        "status": cell.status,
                        "baseline": label(base),
                        "speed": speed(cell, base_cell, title.lower_is_better) if both else None,
                        "tie": cell is not base_cell and cell.ties_with(base_cell) if both else None,
                    }
                )
    return found


def print_csv(together: dict[str, list[Series]], bases: dict[str, Series]) -> None:
    found = records(together, bases)
    columns = list(dict.fromkeys(["experiment", "machine", "published", "marks", "batch_size", "model", *found[0]]))
    writer = csv.DictWriter(sys.stdout, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)


def print_json(together: dict[str, list[Series]], bases: dict[str, Series]) -> None:
    report.say(json.dumps(records(together, bases), indent=1))


if __name__ == "__main__":
    main()
