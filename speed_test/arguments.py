"""What an argument may be: types for argparse whose errors name the value and say what is right."""

import argparse
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Value = TypeVar("Value")

PAIR = re.compile(r"\s*([^=,\s][^=]*?)\s*=\s*([^=,]*?)\s*(?:,|$)")
PRICE = re.compile(r"[0-9]{1,13}(\.[0-9]{0,9})?|\.[0-9]{1,9}")  # so no price is too large or small to count with


def quoted(text: object) -> str:
    """`text` in quotes, cut if it would fill the screen."""
    text = str(text)
    return repr(text if len(text) <= 80 else text[:77] + "...")


def argument(convert: Callable[[str], Value], right: str) -> Callable[[str], Value]:
    """Turn `convert` into an argparse type whose error names the value and says what is `right`."""

    def parse(text: str) -> Value:
        try:
            return convert(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{quoted(text)} is not {right}") from None

    return parse


MOST = 1_000_000  # of anything: nobody measures more, and far larger numbers cannot be calculated with
MOST_SECONDS = 86_400_000  # 1,000 days


def whole_number(lowest: int, highest: int = MOST) -> Callable[[str], int]:
    """An argparse type: a whole number from `lowest` to `highest`."""

    def convert(text: str) -> int:
        number = int(text)
        if not lowest <= number <= highest:
            raise ValueError
        return number

    return argument(convert, f"a whole number from {lowest} to {highest:,}")


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 < number <= MOST_SECONDS:
        raise ValueError
    return number


def _percent(text: str) -> float:
    number = float(text.removesuffix("%"))
    if not 0 < number < 100:
        raise ValueError
    return number / 100


def _cooldown(text: str) -> float | str:
    return text if text == "auto" else _seconds(text)


def _duration(text: str) -> float:
    parts = DURATION.fullmatch(text.strip())
    if not parts:
        return _seconds(text)
    return _seconds(str(sum(float(part or 0) * unit for part, unit in zip(parts.groups(), (3600, 60, 1), strict=True))))


DURATION = re.compile(r"(?:([0-9.]+)h)?(?:([0-9.]+)m)?(?:([0-9.]+)s)?")

seconds = argument(_seconds, f"a number of seconds above 0, and at most {MOST_SECONDS:,}")
percent = argument(_percent, "a percentage above 0 and below 100, such as 2%")
duration = argument(_duration, "a time above 0, such as 45s, 10m, 1h30m or 900 (seconds), and at most 1,000 days")
cooldown = argument(_cooldown, f"a number of seconds above 0, or auto, and at most {MOST_SECONDS:,}")


def processes(text: str) -> int | str:
    """An argparse type: a number of processes, or "all"."""
    if text == "all":
        return text
    try:
        return whole_number(1)(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"{quoted(text)} is not a whole number from 1 up, or all") from None


def one_of(*words: str) -> Callable[[str], str]:
    """An argparse type: one of `words`."""

    def convert(text: str) -> str:
        if text not in words:
            raise ValueError
        return text

    return argument(convert, "one of " + ", ".join(words))


def prices(text: str) -> tuple[tuple[str, float], ...]:
    """An argparse type: "NAME=NUMBER, NAME=NUMBER" as pairs. A name may hold commas, as "Apple M3, 8 GB" does."""
    text = text.strip().removesuffix(",")
    found: list[tuple[str, float]] = []
    place = 0
    while place < len(text) or not found:
        pair = PAIR.match(text, place)
        if not pair:
            raise argparse.ArgumentTypeError(
                f"{quoted(text[place:].strip())} is not NAME=NUMBER (a number without commas); write for example "
                '"Apple M3 Max=3199, NVIDIA TITAN RTX=3000"'
            )
        name, number = pair.groups()
        if not PRICE.fullmatch(number) or float(number) <= 0:
            raise argparse.ArgumentTypeError(
                f"{quoted(number)} of {quoted(name)} is not a number above 0 in plain digits, such as 3199 or 0.90"
            )
        found.append((name, float(number)))
        place = pair.end()
    return tuple(found)


def existing_file(text: str) -> Path:
    """An argparse type: a file that is there."""
    shown = text if text.isprintable() and len(text) <= 80 else quoted(text)
    if os.path.isdir(text):  # unlike pathlib's, these take a name that is too long for any file
        raise argparse.ArgumentTypeError(f"{shown} is a folder; name a file in it")
    if not os.path.isfile(text):
        raise argparse.ArgumentTypeError(f"{shown} is not there; name a file, or leave the option out")
    return Path(text)


def batch_sizes(samples: int, smallest: int) -> Callable[[str], tuple[int, ...]]:
    def parse(text: str) -> tuple[int, ...]:
        if not text.strip():
            raise argparse.ArgumentTypeError('names no batch size; write for example "32, 64"')
        sizes: list[int] = []
        for part in text.split(","):
            try:
                size = whole_number(1)(part)
            except argparse.ArgumentTypeError:
                raise argparse.ArgumentTypeError(
                    f"{quoted(part.strip())} in {quoted(text)} is not a whole number from 1 up; "
                    'write for example "32, 64"'
                ) from None
            if size > samples:
                raise argparse.ArgumentTypeError(f"{size} is more than the {samples:,} samples of an epoch")
            if size < smallest or 0 < samples % size < smallest:
                last = "" if size < smallest else f"leaves a last batch of {samples % size}, which "
                raise argparse.ArgumentTypeError(f"{size} {last}is too small: a batch needs {smallest} samples")
            if size in sizes:
                raise argparse.ArgumentTypeError(f"{size} is there twice in {quoted(text)}; name each size once")
            sizes.append(size)
        return tuple(sizes)

    return parse
