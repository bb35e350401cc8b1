"""PyTorch: devices, waiting, memory, and what its scripts share about batches and models."""

import platform
import re
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from speed_test.command_line import BadInput
from speed_test.frameworks.base import process_peak_memory_gb
from speed_test.frameworks.pytorch_group import shares_of
from speed_test.frameworks.pytorch_limits import count_flop, matmul_tflops
from speed_test.frameworks.pytorch_model import mixed_precision, prepared, rewind_of
from speed_test.frameworks.pytorch_trial import check_switches, has_tf32
from speed_test.machine import GIB, Device

if TYPE_CHECKING:
    import torch

__all__ = [
    "NAME",
    "check_switches",
    "count_flop",
    "cpu_fallback",
    "describe_device",
    "matmul_tflops",
    "mixed_precision",
    "peak_memory_gb",
    "prepared",
    "rewind_of",
    "shuffled_batches",
    "start",
    "wait",
]

NAME = "PyTorch"

_fallbacks: list[str] = []


def start(device: str) -> None:
    """Note from now on which operators PyTorch runs on the CPU because MPS, Apple's GPU, does not have them.

    It does so if a user has set PYTORCH_ENABLE_MPS_FALLBACK=1, and warns: "The operator 'aten::...' is not currently
    supported on the MPS backend and will fall back to run on the CPU."
    """
    if device != "mps":
        return
    show = warnings.showwarning

    def note(message: Warning | str, *rest: Any) -> None:
        operator = re.search(r"operator '(?:aten::)?([\w.]+)'.*fall back", str(message), flags=re.DOTALL)
        if not operator:
            show(message, *rest)
        elif operator[1] not in _fallbacks:
            _fallbacks.append(operator[1])

    warnings.showwarning = note  # type: ignore[assignment]


def cpu_fallback() -> str | None:
    """The operators that have run on the CPU in place of the GPU, or None."""
    return ", ".join(_fallbacks) or None


def describe_device(wanted: str) -> Device:
    """Choose the device `wanted` ("auto": Apple GPU, else NVIDIA GPU, else CPU) and describe it.

    Raises BadInput if there is no such device.
    """
    import torch

    version = str(torch.__version__)  # an instance of a class of torch's: unpickling it would import torch
    there = {"mps": torch.backends.mps.is_available(), "cuda": torch.cuda.is_available(), "cpu": True}
    kind = next(name for name in there if there[name]) if wanted == "auto" else wanted
    if not there[kind]:
        found = " or ".join(name for name in there if there[name])
        raise BadInput(f"--device={kind}: PyTorch {version} finds no such device here; there is {found}")
    if kind != "cuda":
        mac = platform.system() == "Darwin"
        needs = "a newer macOS may mend that, see docs/setup.md" if mac else "for CUDA see docs/setup.md"
        return Device(kind, NAME, version, needs=needs)
    gpu = torch.cuda.get_device_properties(torch.cuda.current_device())
    # By default convolutions may use TF32, matrix products may not; --precision=tf32 adds these. So what the column
    # says holds for both. https://docs.pytorch.org/docs/stable/notes/cuda.html
    allowed = torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32
    return Device(
        kind,
        NAME,
        version,
        name=gpu.name,
        gpu_cores=gpu.multi_processor_count,
        memory_bytes=gpu.total_memory,
        uuid=str(gpu.uuid),
        tf32=has_tf32(kind) and allowed,
    )


def wait(device: str) -> None:
    """Return once the device has done all that it was given."""
    import torch

    getattr(torch, device).synchronize()


def peak_memory_gb(device: str) -> float | None:
    """Peak memory so far in GB of 2^30 bytes: of tensors on a GPU, on a CPU of this process. None if unknown."""
    import torch

    if device == "cpu":
        return process_peak_memory_gb()
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / GIB
    try:
        return torch.accelerator.max_memory_allocated() / GIB
    except (AttributeError, RuntimeError):  # for MPS from PyTorch 2.13 on
        return None


def shuffled_batches(*tensors: "torch.Tensor", batch_size: int, seed: int) -> Callable[[], Iterator[tuple]]:
    """A function that gives the batches of an epoch, in a new order at each call.

    `tensors`, all of the same length, lie on the device as a whole, so that no batch waits for a copy. A batch has
    `batch_size` rows of each. The order is drawn on the CPU, so it is the same on every machine, and at all ranks, of
    which each gets its own share.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)

    def batches() -> Iterator[tuple]:
        order = torch.randperm(len(tensors[0]), generator=generator).to(tensors[0].device)
        for first, last in shares_of(len(order), batch_size):
            yield tuple(tensor.index_select(0, order[first:last]) for tensor in tensors)

    return batches
