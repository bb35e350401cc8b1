"""The scripts of a folder, known by their PEP 723 headers: https://peps.python.org/pep-0723/"""

import re
import tomllib
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent


def header(script: Path) -> dict | None:
    """The PEP 723 header of a script (`requires-python`, `dependencies`); None if it has none."""
    text = script.read_text(encoding="utf-8")
    block = re.search(r"^# /// script\n((?:#.*\n)+?)# ///$", text, flags=re.MULTILINE)
    return tomllib.loads("".join(line[2:] + "\n" for line in block[1].splitlines())) if block else None


def with_header(folder: Path = PROJECT) -> list[Path]:
    """All scripts that say in a header what they need, by name."""
    return [script for script in sorted(folder.glob("*.py")) if header(script)]


def is_speed_test(script: Path) -> bool:
    """Whether a script with a header is a speed test."""
    return re.search(r"^EXPERIMENT = Experiment\(", script.read_text(encoding="utf-8"), flags=re.MULTILINE) is not None


def speed_tests(folder: Path = PROJECT) -> list[Path]:
    """Those of them that are speed tests."""
    return [script for script in with_header(folder) if is_speed_test(script)]
