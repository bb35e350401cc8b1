"""The scripts of a folder, known by their PEP 723 headers: https://peps.python.org/pep-0723/"""

import os
import re
import tomllib
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
SETS_UP = "SPEED_TEST_SETS_UP"  # `python3 speed_test SCRIPT` sets it, for it may install into .venv what is missing


def header(script: Path) -> dict | None:
    """The PEP 723 header of a script (`requires-python`, `dependencies`); None if it has none."""
    text = script.read_text(encoding="utf-8")
    block = re.search(r"^# /// script\n((?:#.*\n)+?)# ///$", text, flags=re.MULTILINE)
    return tomllib.loads("".join(line[2:] + "\n" for line in block[1].splitlines())) if block else None


def as_started(script: str) -> str:
    """The command that starts another `script` as this one was started, so that it finds the same packages."""
    if os.environ.get(SETS_UP):
        return f"{'python' if os.name == 'nt' else 'python3'} speed_test {script}"
    return f"uv run {script}" if os.environ.get("UV") else f"python {script}"  # `uv run` sets UV to its own path


def with_header(folder: Path = PROJECT) -> list[Path]:
    """All scripts that say in a header what they need, by name."""
    return [script for script in sorted(folder.glob("*.py")) if header(script)]


def is_speed_test(script: Path) -> bool:
    """Whether a script with a header is a speed test."""
    return re.search(r"^EXPERIMENT = Experiment\(", script.read_text(encoding="utf-8"), flags=re.MULTILINE) is not None


def speed_tests(folder: Path = PROJECT) -> list[Path]:
    """Those of them that are speed tests."""
    return [script for script in with_header(folder) if is_speed_test(script)]
