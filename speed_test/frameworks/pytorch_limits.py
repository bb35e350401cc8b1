"""PyTorch: how many floating-point operations a training step takes, and how many a second the device can do at all."""

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from speed_test import ceiling

if TYPE_CHECKING:
    import torch

    from speed_test.command_line import Options
    from speed_test.experiment import Batch

# The operations of a step are proportional to its samples, so a few of them tell, and neither memory nor time of a
# whole batch is needed. Batch normalisation may need two.
SAMPLES = 4


def count_flop(step: Callable, batch: "Batch") -> float | None:
    """Floating-point operations of one training step on `batch`: of its convolutions, matrix products and attention,
    forward and backward, a multiplication and an addition being two. Trains a step on the first samples of it.

    The step is not compiled for that, for compiled code has no operators left to count.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    size = len(batch[0])
    few = min(SAMPLES, size)
    counter = FlopCounterMode(display=False, custom_mapping=_attention())
    with torch.compiler.set_stance("force_eager"), counter:
        step(*(part[:few] for part in batch))
    return counter.get_total_flops() * size / few


def _attention() -> dict[Any, Any]:
    """How to count the attention of CPUs and of Apple's GPUs, which torch 2.14 leaves out: as it counts CUDA's."""
    import torch
    from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

    def forward(queries: Any, keys: Any, values: Any, *args: Any, **more: Any) -> int:
        return sdpa_flop_count(queries, keys, values)

    def backward(gradient: Any, queries: Any, keys: Any, values: Any, *args: Any, **more: Any) -> int:
        return sdpa_backward_flop_count(gradient, queries, keys, values)

    counted = {
        "_scaled_dot_product_flash_attention_for_cpu": forward,
        "_scaled_dot_product_flash_attention_for_cpu_backward": backward,
        "_scaled_dot_product_attention_math_for_mps": forward,
    }
    missing = {getattr(torch.ops.aten, name, None): count for name, count in counted.items()}
    return {operator: count for operator, count in missing.items() if operator and operator not in flop_registry}


def matmul_tflops(options: "Options") -> float | None:
    """Trillions of floating-point operations a second in a large matrix product with the precision of the options.

    It uses TF32 wherever the training may, also where only convolutions may: it is the ceiling of both.
    """
    import torch

    kind = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(options.precision, torch.float32)
    device = torch.device(options.device)
    generator = torch.Generator(device).manual_seed(0)  # its own: the training's numbers stay as they are

    def make(size: int) -> Callable[[], object]:
        shape = (size, size)
        # Numbers as in a network: with zeros a GPU takes less power, and is faster.
        left, right = (torch.randn(shape, generator=generator, device=device).to(kind) for _ in range(2))
        product = torch.empty(shape, dtype=kind, device=device)
        return lambda: torch.mm(left, right, out=product)

    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = before or torch.backends.cudnn.allow_tf32 or options.precision == "tf32"
    try:
        largest = ceiling.largest_size(
            _free_memory(device), torch.empty(0, dtype=kind).element_size(), device.type == "cpu"
        )
        return ceiling.product_tflops(make, getattr(torch, device.type).synchronize, largest)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
        if device.type != "cpu":
            getattr(torch, device.type).empty_cache()
            _forget_peak()


def _free_memory(device: "torch.device") -> float:
    """Bytes that are free on the device, about."""
    import psutil
    import torch

    if device.type == "cuda":
        return torch.cuda.mem_get_info()[0]
    free = psutil.virtual_memory().available
    return min(free, torch.mps.recommended_max_memory()) if device.type == "mps" else free


def _forget_peak() -> None:
    """Let the peak memory of the GPU begin from now: what has been freed is not the training's."""
    import torch

    with contextlib.suppress(AttributeError, RuntimeError):  # for MPS from PyTorch 2.13 on
        torch.accelerator.reset_peak_memory_stats()
