"""What a framework's module has to offer to the code that all speed tests share."""

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from speed_test.machine import GIB, Device

if TYPE_CHECKING:
    from collections.abc import Callable

    from speed_test.clock import Clock
    from speed_test.command_line import Options
    from speed_test.experiment import Batch, KerasFit, TrainingStep
    from speed_test.group import Group
    from speed_test.ranks import Place


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

    def check_switches(self, options: "Options") -> list[str]:
        """Try on the device what --precision, --compile, --channels_last and --processes ask of it.

        Returns a sentence for each that is known to be slow or wrong there. Raises BadInput for what cannot be done.
        """

    def count_flop(self, step: "Callable", batch: "Batch") -> float | None:
        """Floating-point operations of one training step of `Epochs`, by the framework's own counter; a multiplication
        and an addition are two. None where nothing counts them. May train a step."""

    def matmul_tflops(self, options: "Options") -> float | None:
        """Trillions of floating-point operations a second in a large matrix product with the precision, and the TF32,
        of the options: the device's own ceiling. None where nothing tells."""

    def wait(self, device: str) -> None:
        """Return once the device has done all that it was given."""

    def peak_memory_gb(self, device: str) -> float | None:
        """Peak memory so far in GB of 2^30 bytes: of tensors on a GPU, on a CPU of this process. None if unknown."""

    def cpu_fallback(self) -> str | None:
        """The operators that ran on the CPU so far because the GPU does not have them; None if there are none, or if
        nothing tells."""


class KerasFramework(Framework, Protocol):
    """A framework whose scripts hand back `KerasFit`."""

    def num_processes(self, options: "Options") -> int:
        """How many processes, or replicas, --processes=all stands for on the device of the options."""

    def time_fit(self, clock: "Clock", fit: "KerasFit") -> None:
        """Train with `model.fit`, and send a row for each epoch."""

    def keras_step(self, fit: "KerasFit", device: str) -> "TrainingStep":
        """The step of `fit` on its own, compiled as Keras compiles it, with its first batch on the device."""


class GroupFramework(Protocol):
    """The module beside a framework's, `..._group.py`, by which its scripts run as the ranks of a launcher."""

    def launcher(self, options: "Options") -> tuple[list[str] | None, int]:
        """The arguments for Python that start --processes of a script together, and how many that are; None if one is
        enough.

        Raises BadInput if the device cannot take so many.
        """

    def find_rank_0(self, place: "Place", offer: str) -> dict[str, str]:
        """As rank 0, let the other ranks find its `offer`; return it, at all ranks, with the `host` to reach it at."""

    def check_place(self, place: "Place", device: str) -> None:
        """Raise BadInput if there is no `device` for this rank."""

    def join(self, place: "Place", device: str, name: str, compiled: bool) -> "Group":
        """Join the ranks that train together under `name`, which no earlier group has had."""


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
