"""How a cell is shown: the same text in terminal, Markdown, charts and page. A newline in it begins its second line."""

import math
from decimal import ROUND_HALF_UP, Decimal

from speed_test import screen

SHORT = {"out_of_memory": "memory"}  # a status, in a cell


def figure(median: float, status: str) -> str:
    """A figure, or else why there is none: "273", "9.5", "memory", "failed"."""
    return SHORT.get(status, status.replace("_", " ")) if math.isnan(median) else screen.number(median)


def graded(text: str, grade: str, half_width: float | None = None) -> str:
    """A figure with its grade, and on a second line its relative half-width: "273 B\\n±0.4%"."""
    return " ".join(filter(None, [text, grade])) + _second_line(half_width)


def ratio(speed: float, word: str = "", half_width: float | None = None) -> str:
    """How many times as fast: "1.85", "same", "1.02 ?" if it can't be told which one is faster, "" without a speed.

    `word` is what verdict.compare says. On a second line stands the relative half-width. page.js does this in
    JavaScript. Halves are rounded up, as there.
    """
    if math.isnan(speed):
        return ""
    text = "same" if word == "the same" else _rounded(speed, "0.01" if speed < 9.995 else "0.1")
    return text + (" ?" if word == "can't be told" else "") + _second_line(half_width)


def percent(half_width: float) -> str:
    """A relative half-width: "±0.04%", "±0.4%", "±12%", "±>999%"."""
    value = 100 * half_width
    if value >= 999.5:
        return "±>999%"
    return f"±{_rounded(value, '0.01' if value < 0.095 else '0.1' if value < 9.95 else '1')}%"


def scaling(speed: float, efficiency: float, half_width: float) -> str:
    """A scaling efficiency, and in brackets how many times as fast as one process: "94% (1.87)". On a second line
    stands the relative half-width. "" if it is not known."""
    if math.isnan(efficiency):
        return ""
    part = 100 * efficiency
    text = ">999%" if part >= 999.5 else f"{_rounded(part, '1' if part >= 9.95 else '0.1')}%"
    return f"{text} ({ratio(speed)}){_second_line(half_width)}"


def period(seconds: float) -> str:
    """How long some work takes, to about three digits: "250 ms", "9.5 s", "2 min 41 s", "3 h 20 min", "12.5 days"."""
    if seconds < 1:
        return f"{screen.number(1000 * seconds)} ms"
    if seconds < 60:
        return f"{screen.number(seconds)} s"
    if (whole := round(seconds)) < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    days = seconds / 86_400
    if days < 4:
        return screen.duration(seconds)
    if days < 2 * 365:
        return f"{screen.number(days)} days"
    return f"{screen.number(days / 365)} years" if days < 365e6 else "over 1,000,000 years"


def money(amount: float) -> str:
    """An amount of money, in no currency: "3,199", "3,199.50", "0.97", "0.0042"."""
    if amount == round(amount):
        return f"{amount:,.0f}"
    return f"{amount:,.2f}" if amount >= 0.095 else f"{amount:.2g}"


def spread(lowest: float, highest: float, count: int) -> str:
    """From the lowest to the highest of several figures: "(268 to 278, 2 figures)"."""
    return f"({screen.number(lowest)} to {screen.number(highest)}, {count} figures)" if count > 1 else ""


def _second_line(half_width: float | None) -> str:
    return "" if half_width is None or math.isnan(half_width) else f"\n{percent(half_width)}"


def _rounded(value: float, places: str) -> str:
    return f"{Decimal(value).quantize(Decimal(places), ROUND_HALF_UP):,}"
