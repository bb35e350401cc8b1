"""What a process has started, which has to end with it."""

import contextlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil


def family(pid: int | None) -> "list[psutil.Process]":
    """All processes that a process has started, and those that they have; none if it is gone."""
    import psutil

    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []


def kill(members: "Iterable[psutil.Process]") -> None:
    """Kill those that still live."""
    import psutil

    for member in members:
        with contextlib.suppress(psutil.Error):
            member.kill()
