"""Windows: power, sleep, swap, and whether this Python runs on a processor of another kind."""

import ctypes
import sysconfig
from typing import Any

from speed_test.sensors.base import GIB, SELDOM, Columns, Growth, Moment, Sensor

ARM64 = 0xAA64  # IMAGE_FILE_MACHINE_ARM64 of winnt.h


def sensors() -> list[Sensor]:
    """The sensors of this system, but that of load."""
    return [
        Sensor(Growth(_swap_gb, "swap_growth_gb", smallest=0.001)),
        Sensor(_power, SELDOM),
    ]


def _kernel() -> Any:
    return getattr(ctypes, "windll").kernel32  # noqa: B009 - it is there on Windows only


class _PowerStatus(ctypes.Structure):
    """SYSTEM_POWER_STATUS of winbase.h."""

    _fields_ = (
        ("line", ctypes.c_ubyte),  # 0: battery, 1: mains, 255: unknown
        ("battery", ctypes.c_ubyte),  # bit 128: there is none; 255: unknown
        ("percent", ctypes.c_ubyte),
        ("saver", ctypes.c_ubyte),  # 1: the battery saver is on
        ("seconds_left", ctypes.c_uint32),
        ("seconds_of_a_full_battery", ctypes.c_uint32),
    )


def _power(_: Moment) -> Columns:
    status = _PowerStatus()
    if not _kernel().GetSystemPowerStatus(ctypes.byref(status)):
        return {}
    columns: Columns = {"low_power_mode": status.saver == 1}
    if status.line in (0, 1) and not status.battery & 128:
        columns["power"] = ("battery", "mains")[status.line]
    return columns


def _swap_gb() -> float | None:
    import psutil

    return psutil.swap_memory().used / GIB


def asleep_seconds() -> float:
    """How far the clock that goes on during sleep is ahead of the one that does not."""
    kernel, unbiased = _kernel(), ctypes.c_ulonglong()
    kernel.GetTickCount64.restype = ctypes.c_ulonglong
    kernel.QueryUnbiasedInterruptTime(ctypes.byref(unbiased))
    return kernel.GetTickCount64() / 1000 - unbiased.value / 1e7


def is_emulated() -> bool | None:
    """Whether a Python for x86 runs on an Arm processor. None before Windows 10, which does not tell.

    An x86-64 program is not "WOW64" there, so that only the machine's own kind helps.
    """
    ours, native = ctypes.c_ushort(), ctypes.c_ushort()
    kernel = _kernel()
    kernel.GetCurrentProcess.restype = ctypes.c_void_p
    try:
        query = kernel.IsWow64Process2
    except AttributeError:
        return None
    if not query(ctypes.c_void_p(kernel.GetCurrentProcess()), ctypes.byref(ours), ctypes.byref(native)):
        return None
    return native.value == ARM64 and sysconfig.get_platform() != "win-arm64"
