"""Whether a speed test fits into the memory that is free."""

import platform

from speed_test.machine import GIB, memory_limit, nvidia_gpu


def shares_memory(device: str) -> bool:
    """Whether a test on `device` (as --device has it) works in the system's memory: on the CPU and on Apple's GPUs, but
    not on NVIDIA's. How much theirs is short of, only the test itself finds out."""
    return device in ("cpu", "mps") or platform.system() == "Darwin" or not nvidia_gpu()[0]


def free_gb() -> float:
    """The memory in GB that can be had without swapping, within the limit of a container."""
    import psutil

    memory = psutil.virtual_memory()
    return min(memory.available, memory_limit()) / GIB


def too_little(needed_gb: float, free: float) -> str:
    """Why a test that needs so much at least cannot run; "" if it can."""
    if needed_gb <= free:
        return ""
    return f"it needs at least {needed_gb:.1f} GB of memory, and {free:.1f} GB are free: close other programs"
