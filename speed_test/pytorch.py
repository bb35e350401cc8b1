"""What PyTorch knows and the shared code asks: which device there is, when it is done, how much memory it took."""

import platform
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from speed_test.command_line import BadInput
from speed_test.machine import GIB, Device

if TYPE_CHECKING:
    import torch

NAME = "PyTorch"


def start(device: str) -> None:
    """PyTorch needs no preparation to train on `device`."""


def describe_device(wanted: str) -> Device:
    """Pick the device ("auto": Apple GPU, else NVIDIA GPU, else CPU) and describe it.

    Raises BadInput where `wanted` is not there.
    """
    import torch

    version = str(torch.__version__)  # a class of torch's own, which the parent would have to import
    there = {"mps": torch.backends.mps.is_available(), "cuda": torch.cuda.is_available(), "cpu": True}
    kind = next(name for name in there if there[name]) if wanted == "auto" else wanted
    if not there[kind]:
        found = " or ".join(name for name in there if there[name])
        raise BadInput(f"--device={kind}: PyTorch {version} finds no such device here; there is {found}")
    if kind != "cuda":
        mac = platform.system() == "Darwin"
        needs = "a newer macOS may mend that, see README, Set-up" if mac else "for CUDA see README, Set-up"
        return Device(kind, NAME, version, needs=needs)
    gpu = torch.cuda.get_device_properties(0)
    # TF32 came with NVIDIA's Ampere, compute capability 8.0 (AMD's GPUs are "cuda" to PyTorch, too). By default
    # convolutions use it, matrix products do not: https://docs.pytorch.org/docs/stable/notes/cuda.html
    allowed = torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32
    return Device(
        kind,
        NAME,
        version,
        name=gpu.name,
        gpu_cores=gpu.multi_processor_count,
        memory_bytes=gpu.total_memory,
        tf32=torch.version.cuda is not None and (gpu.major, gpu.minor) >= (8, 0) and allowed,
    )


def wait(device: str) -> None:
    """Return once the device has done all that it was given."""
    import torch

    getattr(torch, device).synchronize()


def peak_memory_gb(device: str) -> float | None:
    """The most memory that tensors took on the GPU so far, in GB of 2^30 bytes; None where nothing tells it."""
    import torch

    if device == "cuda":
        return torch.cuda.max_memory_allocated() / GIB
    try:
        return torch.accelerator.max_memory_allocated() / GIB
    except (AttributeError, RuntimeError):  # MPS counts its peak from PyTorch 2.13 on; the CPU never does
        return None


def shuffled_batches(*tensors: "torch.Tensor", batch_size: int, seed: int) -> Callable[[], Iterator[tuple]]:
    """A function that gives the batches of an epoch, in a new order at each call.

    `tensors`, all of the same length, lie whole on the device, so that no batch ever waits for a copy; a
    batch has the rows of each. The order is drawn on the CPU: it is the same on every machine.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)

    def batches() -> Iterator[tuple]:
        order = torch.randperm(len(tensors[0]), generator=generator).to(tensors[0].device)
        for chosen in order.split(batch_size):
            yield tuple(tensor.index_select(0, chosen) for tensor in tensors)

    return batches


def remember(model: "torch.nn.Module", optimizer: "torch.optim.Optimizer") -> Callable[[], None]:
    """Keep the model as it is now; the function returned brings it back, its optimizer's averages at zero.

    So warm-up and compute limit leave no trace in what is trained, and the loss of an epoch is the same
    on every machine, however many steps came before. Nothing is freed, for memory is to stay warm too.
    The random numbers (of dropout, say) begin anew as well.
    """
    import torch

    start = {name: tensor.to("cpu", copy=True) for name, tensor in model.state_dict().items()}
    seed = torch.initial_seed()

    def rewind() -> None:
        model.load_state_dict(start)
        for averages in optimizer.state.values():
            for value in averages.values():
                value.zero_()
        torch.manual_seed(seed)

    return rewind
