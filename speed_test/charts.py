"""One PNG an experiment: grouped bars, batch sizes across, a bar for each machine."""

from pathlib import Path

from speed_test.comparison import Series, Title, groups

# Sets that colour-blind people can tell apart: strong ones of Okabe and Ito for measured machines, with a dark
# edge (https://jfly.uni-koeln.de/color/), Paul Tol's light ones for published ones (https://sronpersonalpages.nl/~pault/).
MEASURED = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
PUBLISHED = ("#77AADD", "#EE8866", "#EEDD88", "#FFAABB", "#44BB99", "#BBCC33", "#AAAA00", "#DDDDDD")
HATCHES = ("", "///", "...", "xxx")
MOST = 24  # machines in a chart; more make it too wide for any screen
# How text stands above a point: upright, 3 points from it.
UPRIGHT = {
    "xytext": (0, 3),
    "textcoords": "offset points",
    "rotation": 90,
    "ha": "center",
    "va": "bottom",
    "fontsize": 9,
}
LOG_FROM = 20  # the slowest so many times as slow as the fastest: on a linear scale the fastest would be gone


def label(series: Series) -> str:
    """The machine, and what is special about its figures."""
    said = ["published" if series.machine.published else "", *series.marks]
    said = ", ".join(filter(None, said))
    return f"{series.machine.label} ({said})" if said else series.machine.label


def looks(together: dict[str, list[Series]]) -> dict[str, tuple[str, str]]:
    """Series.id -> colour and hatch: the same in all charts, and no two the same among the first 16 of a kind."""
    everyone = {one.id: one.machine.published for some in together.values() for one in some}
    found = {}
    for published, colours in ((False, MEASURED), (True, PUBLISHED)):
        ids = [one for one, is_published in everyone.items() if is_published == published]
        for number_of, one in enumerate(ids):
            found[one] = colours[number_of % len(colours)], HATCHES[number_of // len(colours) % len(HATCHES)]
    return found


def is_wide(some: list[Series]) -> bool:
    """Whether the slowest is so much slower than the fastest that bars need a logarithmic scale."""
    values = [cell.median for series in some for cell in series.cells.values() if cell.values]
    return bool(values) and max(values) > LOG_FROM * min(values)


def fastest(some: list[Series], title: Title) -> list[Series]:
    """The MOST series that are the fastest at their best, in the order that they were in."""
    done = [one for one in some if one.best(title.lower_is_better)]
    done.sort(key=lambda one: one.best(title.lower_is_better).median, reverse=not title.lower_is_better)
    kept = {one.id for one in done[:MOST]}
    return [one for one in some if one.id in kept]


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def draw(title: Title, some: list[Series], look: dict[str, tuple[str, str]], path: Path) -> None:
    """Write the chart of `some` series, each with its `look`, to `path`, a .png.

    Raises OSError where that cannot be done.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    heading = str(title)
    if len(some) > MOST:
        heading += f": the {MOST} fastest of {len(some)}"
        some = fastest(some, title)
    across = groups(some)
    bars = [
        [(place, series.cells[group]) for place, group in enumerate(across) if group in series.cells] for series in some
    ]
    # A quarter of an inch for a bar: so much its figure, written upright, needs.
    wide = max(9.0, 0.26 * (len(some) + 1.2) * len(across) + 1.2)
    legend_columns = max(1, min(len(some), int(wide // 4.4)))
    legend_rows = -(-len(some) // legend_columns)
    legend_height = 0.215 * legend_rows + 0.05
    height = 5.2 + legend_height
    figure, axes = plt.subplots(figsize=(wide, height), dpi=100)
    values = [cell.median for one in bars for _, cell in one if cell.values]
    logarithmic = is_wide(some)
    if logarithmic:
        axes.set_yscale("log")
    foot = min(values) / 2 if logarithmic and values else 0
    top = max(values, default=1)
    width = 0.86 / len(some)
    for number_of, (series, cells) in enumerate(zip(some, bars, strict=True)):
        colour, hatch = look[series.id]
        left = -0.43 + width * (number_of + 0.5)
        done = [(place + left, cell.median) for place, cell in cells if cell.values]
        measured = not series.machine.published
        axes.bar(
            [place for place, _ in done],
            [value - foot for _, value in done],
            width,
            bottom=foot,
            color=colour,
            hatch=hatch,
            edgecolor="black" if measured else "white",
            linewidth=1.2 if measured else 0.5,
            label=label(series),
        )
        for place, value in done:
            axes.annotate(number(value), (place, value), **UPRIGHT, fontweight="bold" if measured else "normal")
        for place, cell in cells:
            if not cell.values:
                said = cell.status.replace("_", " ")
                axes.annotate(said, (place + left, foot), **UPRIGHT, color="#B00020", fontstyle="italic")
    scale = ", logarithmic" if logarithmic else ""
    axes.set_ylabel(f"{title.unit}\n({title.better}{scale})", fontsize=11)
    axes.set_xlabel(title.across, fontsize=11)
    axes.set_xticks(range(len(across)), [str(group) for group in across], fontsize=11)
    axes.set_xlim(-0.55, len(across) - 0.45)
    # Room for the figures above the highest bar, of up to 13 letters.
    if logarithmic:
        axes.set_ylim(foot, top * (top / foot) ** 0.22)
        axes.yaxis.set_minor_formatter("")
    else:
        axes.set_ylim(0, top * 1.22)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.7)
    axes.tick_params(axis="x", length=0)
    figure.suptitle(heading, fontsize=14, fontweight="bold", x=0.01, ha="left", y=1 - 0.1 / height, va="top")
    figure.legend(
        loc="upper left",
        bbox_to_anchor=(0.005, 1 - 0.42 / height),
        ncols=legend_columns,
        frameon=False,
        fontsize=10,
        handlelength=1.4,
        columnspacing=1.5,
    )
    figure.tight_layout(rect=(0, 0, 1, 1 - (0.45 + legend_height) / height))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    plt.close(figure)
