"""What a framework's module has to offer to the code that all speed tests share."""

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from speed_test.machine import GIB, Device

if TYPE_CHECKING:
    from speed_test.clock import Clock
    from speed_test.experiment import KerasFit


class Framework(Protocol):
    """A module of this package fulfils this by its functions. `device` is "mps", "cuda" or "cpu"."""

    NAME: str
    """The framework as it is written: "PyTorch"."""

    def start(self, device: str) -> None:
        """Prepare this process for work on `device`, before a script imports the framework."""

    def describe_device(self, wanted: str) -> Device:
        """Choose the device `wanted` ("auto": the first that there is of mps, cuda, cpu) and describe it.

        Raises BadInput if there is no such device.
        """

    def wait(self, device: str) -> None:
        """Return once the device has done all that it was given."""

    def peak_memory_gb(self, device: str) -> float | None:
        """Peak memory so far in GB of 2^30 bytes: of tensors on a GPU, on a CPU of this process. None if unknown."""

    def cpu_fallback(self) -> str | None:
        """The operators that ran on the CPU so far because the GPU does not have them; None if there are none, or if
        nothing tells."""


class KerasFramework(Framework, Protocol):
    """A framework whose scripts hand back `KerasFit`."""

    def time_fit(self, clock: "Clock", fit: "KerasFit") -> None:
        """Train with `model.fit`, and send a row for each epoch."""


def process_peak_memory_gb() -> float | None:
    """The most memory that this process ever had, in GB of 2^30 bytes, data and framework included."""
    if sys.platform == "linux":  # getrusage() counts what the parent had in memory when it started this process
        peak = re.search(r"^VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(), flags=re.MULTILINE)
        return int(peak[1]) * 1024 / GIB if peak else None
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset / GIB
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / GIB  # macOS counts bytes
