"""How a speed test is started: by this Python where it has the test's packages, else by what installs them."""

import functools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from speed_test.scripts import PROJECT, SETS_UP

SECONDS_FOR_UV = 20  # to tell its version


def command(script: Path, packages: Sequence[str]) -> list[str] | None:
    """What starts `script`, which needs `packages` (requirements as in its header); None if nothing here can.

    A person who has started the suite by a Python that has everything wants that one to be measured. What was started
    by `python3 speed_test` goes on with it, and else uv makes an environment for each script.
    """
    if not missing(packages):
        return [sys.executable, str(script)]
    if os.environ.get(SETS_UP):
        return [sys.executable, str(PROJECT / "speed_test"), str(script)]
    return [uv, "run", str(script)] if (uv := find_uv()) else None


def missing(packages: Sequence[str]) -> list[str]:
    """Those requirements that are for this machine and that this Python does not fulfil."""
    return [package for package in packages if not _is_here(package)]


def _is_here(package: str) -> bool:
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        wanted = Requirement(package)
    except InvalidRequirement:  # uv will say what is wrong with it
        return False
    if wanted.marker and not wanted.marker.evaluate():
        return True
    try:
        return wanted.specifier.contains(metadata.version(wanted.name), prereleases=True)
    except (metadata.PackageNotFoundError, TypeError, ValueError):  # or what an installation that was ended has left
        return False


@functools.cache
def find_uv() -> str | None:
    """The path of a uv that starts; None if there is none. A version manager's shim may stand there for nothing."""
    path = os.environ.get("UV") or shutil.which("uv")  # `uv run` sets UV to its own path
    if not path:
        return None
    try:
        subprocess.run([path, "--version"], capture_output=True, check=True, timeout=SECONDS_FOR_UV)
    except (OSError, subprocess.SubprocessError):
        return None
    return path


def names(requirements: Sequence[str]) -> str:
    """ "torch, torchvision" """
    return ", ".join(re.split(r"[^\w.-]", requirement.strip())[0] for requirement in requirements)


def line_that_installs(packages: Sequence[str]) -> str:
    """The command that installs `packages` into this Python."""
    python = Path(sys.executable)
    with_quotes = " ".join(f'"{package.split(";")[0].strip()}"' for package in packages)
    folder = Path.cwd()
    shown = python.relative_to(folder) if python.is_relative_to(folder) else python
    return f"{shown} -m pip install {with_quotes}"
