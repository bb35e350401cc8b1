"""Which sensors there are on this system, and for the device that the test runs on."""

import contextlib
import os
import platform
from collections.abc import Callable

from speed_test.sensors import apple, identity, linux, load, nvidia, windows
from speed_test.sensors.base import Columns, Growth, Moment, Sensor, asleep_seconds


def of_system(launcher: int | None = None) -> list[Sensor]:
    """The sensors of this system. What is missing here is left out. The descendants of `launcher` (None: of this
    process) belong to the test."""
    system = platform.system()
    asleep = windows.asleep_seconds if system == "Windows" else asleep_seconds
    found = [Sensor(Growth(asleep, "suspended_seconds", smallest=0.5)), Sensor(_Once(identity.emulated))]
    if system == "Linux":
        found += [*load.linux(cpus=os.sched_getaffinity(0), pid=launcher), *linux.sensors()]
    elif system == "Darwin":
        found += [*load.macos(launcher), *apple.sensors()]
    elif system == "Windows":
        found += [*load.windows(launcher), *windows.sensors()]
    return found


def of_device(device: str, gpu_uuid: str | None) -> list[Sensor]:
    """Those of `device`: "mps", "cuda" (and the uuid of the GPU) or "cpu". What is missing here is left out."""
    found: list[Sensor] = []

    def add(make: Callable[[], list[Sensor]]) -> None:
        with contextlib.suppress(Exception):  # no such package, driver, GPU or counter
            found.extend(make())

    if device == "cuda":
        add(lambda: nvidia.sensors(gpu_uuid))
    elif platform.system() == "Linux":
        add(lambda: [linux.energy()])
    elif platform.system() == "Darwin":
        add(lambda: [apple.energy()])
        if device == "mps":
            add(lambda: [apple.gpu()])
    return found


class _Once:
    """Whether Python is emulated, which does not change: asked once."""

    def __init__(self, emulated: Callable[[], bool | None]) -> None:
        self._emulated = emulated
        self._columns: Columns | None = None

    def __call__(self, _: Moment) -> Columns:
        if self._columns is None:
            self._columns = {"emulated": self._emulated()}
        return self._columns
