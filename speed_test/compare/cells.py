"""What a cell of a CSV may hold. Anybody can send a CSV: reading it and --check follow these same rules."""

import re
from typing import NamedTuple

LONGEST = 150  # characters of a text that is shown; the longest name of a machine has 130

# Python writes numbers so, "1e-05" included. float() takes more: "1_000", " 12 ", "nan", digits of other scripts.
PLAIN = re.compile(r"[0-9]{1,30}(\.[0-9]{0,30})?([eE][+-]?[0-9]{1,3})?")
# A spreadsheet takes a cell that begins so for a formula, some also the wide forms of these letters. Where ";" or a
# tab separates cells, a cell begins behind them too. See https://owasp.org/www-community/attacks/CSV_Injection
FORMULA = re.compile(r"(^|[,;|\t])(\s*)(?=[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20])")


class Range(NamedTuple):
    """What numbers are possible, and how that is said."""

    lowest: float
    highest: float
    words: str


BATCH_SIZE = Range(1, 10_000_000, "from 1 to 10,000,000")
SECONDS = Range(0.00001, 86_400_000, "from 10 microseconds to 1,000 days")
# From one item in 1,000 days to the largest batch in 10 microseconds. Counts and others are within it too.
OTHERS = Range(1e-8, 1e12, "from 0.00000001 to 1,000,000,000,000")
VERSION = Range(1, 9999, "from 1 to 9,999")
RUN = Range(1, 1_000_000, "from 1 to 1,000,000")
PROCESSES = Range(1, 1_000_000, "from 1 to 1,000,000")
GLOBAL_BATCH_SIZE = Range(1, 99_999_999_999, "from 1 to 99,999,999,999")
# The highest possible values of the machine's state: 100,000 percent are 1,000 cores.
HIGHEST = {
    **dict.fromkeys(("other_load_percent", "gpu_other_load_percent"), 100_000.0),
    **dict.fromkeys(("cpu_pressure_percent", "cpu_stolen_percent"), 100_000.0),
    **dict.fromkeys(("swap_growth_gb", "gpu_clock_mhz", "gpu_power_limit_w"), 1_000_000.0),
    **dict.fromkeys(("gpu_temperature_c", "matmul_share", "memory_share"), 1_000.0),
}
MOST_BLOCKS = 100  # in a cell; a script writes at most 60
# Usual rates, from 1 up. Millions of them may stand in a file, so these are not looked at one by one.
USUAL_RATE = r"[1-9][0-9]{0,10}(?:\.[0-9]{1,15})?"
USUAL_BLOCKS = re.compile(f"{USUAL_RATE}(?: {USUAL_RATE}){{0,{MOST_BLOCKS - 1}}}")


def range_of(column: str) -> Range:
    """What numbers a column may hold."""
    if column == "batch_size":
        return BATCH_SIZE
    in_seconds = column.endswith(("_seconds", "_time")) or column in ("avg_time_per_epoch", "train_runtime")
    if column in HIGHEST:
        return Range(0, HIGHEST[column], f"from 0 to {HIGHEST[column]:,.0f}")
    return SECONDS if in_seconds else OTHERS


def number(text: str, column: str) -> float:
    """The number above 0 in a cell of `column`. Raises ValueError, whose text completes "the cell ..."."""
    limits = range_of(column)
    value = float(text) if PLAIN.fullmatch(text) else 0.0
    if value <= 0:
        raise ValueError(f"is {quoted(text)}, {_what_is_wrong(text)}")
    if not limits.lowest <= value <= limits.highest:
        raise ValueError(f"is {quoted(text)}, not {limits.words}")
    return value


def number_from_0(text: str, column: str) -> float:
    """The same for a column in which 0 and very small numbers have a meaning, as a time without any waiting."""
    if not PLAIN.fullmatch(text) or not float(text) <= range_of(column).highest:
        raise ValueError(f"is {quoted(text)}, no number from 0 up to {range_of(column).highest:,.0f}")
    return float(text)


def whole(text: str, limits: Range) -> int:
    """The whole number above 0 in a cell. Raises ValueError, whose text completes "the cell ..."."""
    if not re.fullmatch("[1-9][0-9]*", text):
        raise ValueError(f"is {quoted(text)}, no whole number above 0")
    if len(text) > 12 or not limits.lowest <= int(text) <= limits.highest:
        raise ValueError(f"is {quoted(text)}, not {limits.words}")
    return int(text)


def check_blocks(text: str) -> None:
    """Look at the rates in a cell of `block_samples_per_second`, with single spaces between them.

    Raises ValueError, whose text completes "the cell ...".
    """
    if USUAL_BLOCKS.fullmatch(text):
        return
    rates = text.split(" ")
    if len(rates) > MOST_BLOCKS:
        raise ValueError(f"has {len(rates):,} numbers; at most {MOST_BLOCKS} are read")
    for rate in rates:
        number(rate, "block_samples_per_second")


def _what_is_wrong(text: str) -> str:
    try:
        if 0 < float(text) < float("inf"):
            return "not written in plain digits as 1000.5 is"
    except ValueError:
        pass
    return "no number above 0"


def one_line(text: str) -> str:
    """`text` on one line, without what controls a terminal, turns the direction of writing round or isn't visible."""
    if not text.isprintable():
        text = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(text.split())


def clean(text: str) -> str:
    """A text of a stranger as it is shown: on one line, see `one_line`, and cut if it is too long."""
    text = one_line(text)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def quoted(text: str) -> str:
    """`text` in quotes, for a message: on one line, and cut if it would fill the screen."""
    return repr(text if len(text) <= 80 else text[:77] + "...")


def is_formula(text: str) -> bool:
    """Whether a spreadsheet would take a text for a formula."""
    return bool(FORMULA.match(text)) and not PLAIN.fullmatch(text.removeprefix("-"))


def no_formula(text: str) -> str:
    """`text` so that a spreadsheet shows it as it is: a "'" stands before what would begin a formula."""
    return FORMULA.sub(r"\1\2'", text)
