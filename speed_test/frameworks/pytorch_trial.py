"""PyTorch: whether a device can do what --precision and --compile ask of it. It is tried, for lists of chips age."""

import functools
import platform
import subprocess
from typing import TYPE_CHECKING, Any

from speed_test.command_line import BadInput
from speed_test.frameworks.pytorch_model import mixed_precision, prepared

if TYPE_CHECKING:
    import torch

    from speed_test.command_line import Options

SIXTEEN_BITS = ("bfloat16", "float16")


def check_switches(options: "Options") -> list[str]:
    """Try on the device, which is known by now, what --precision and --compile ask of it. The defaults are not tried.

    Returns a sentence for each that is known to be slow or wrong there. Raises BadInput for what cannot be done.
    --channels_last is only an order of numbers in memory, so every device can do it.
    """
    if options.precision == "tf32" and not has_tf32(options.device):
        raise BadInput(
            f"--precision=tf32: PyTorch finds no TF32 on this device ({options.device}), it came with NVIDIA's Ampere; "
            "use float32, or try bfloat16"
        )
    where = f"this device ({options.device})"
    if options.precision in SIXTEEN_BITS and (why := _why_not(options.device, options.precision, compiled=False)):
        raise BadInput(f"--precision={options.precision}: PyTorch cannot train with it on {where}: {why}; use float32")
    if options.compile and (why := _why_not(options.device, options.precision, compiled=True)):
        raise BadInput(
            f"--compile: PyTorch cannot compile for {where}: {why}; leave --compile out, or see docs/speed.md"
        )
    return _warnings(options)


def has_tf32(device: str) -> bool:
    """Whether this is a GPU of NVIDIA's with TF32 (AMD's GPUs are "cuda" to PyTorch, too)."""
    import torch

    return device == "cuda" and torch.version.cuda is not None and torch.cuda.is_tf32_supported()


@functools.cache  # --best asks again and again
def _why_not(device: str, precision: str, compiled: bool) -> str | None:
    """What goes wrong in a training step of a tiny network; None if nothing does."""
    from speed_test.command_line import Options

    try:
        _train(Options(device=device, precision=precision, compile=compiled))
    except Exception as error:  # there is one for each way in which a compiler can be missing
        lines = [line for line in str(error).splitlines() if line.strip()]
        return (lines[0].strip() if lines else type(error).__name__).rstrip(".")
    return None


def _train(options: "Options") -> None:
    """Train one step of a tiny network under the switches. Raises whatever the framework raises."""
    import torch
    from torch import nn

    torch_device = torch.device(options.device)
    images = torch.rand(4, 3, 8, 8, device=torch_device)
    if options.compile:  # a compiler that is there compiles layers of all kinds, and each of them takes seconds
        model: nn.Module = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 8), nn.ReLU(), nn.Linear(8, 1))
    else:
        model = _tiny_network()
    model = prepared(model.to(torch_device), options)
    optimizer = torch.optim.Adam(model.parameters())
    autocast, scaler = mixed_precision(options)
    with autocast:
        loss = model(images).float().mean()
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    loss.item()  # a GPU reports what went wrong when it is waited for


def _tiny_network() -> "torch.nn.Module":
    """Layers of the kinds that the speed tests' networks have; for images [n, 3, 8, 8]."""
    from torch import nn

    image_layers = (nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2))
    attention = nn.TransformerEncoderLayer(16, nhead=2, dim_feedforward=32, batch_first=True)
    return nn.Sequential(
        *image_layers, nn.Flatten(), nn.Unflatten(1, (16, 16)), attention, nn.Flatten(), nn.Linear(256, 2)
    )


def _warnings(options: "Options") -> list[str]:
    """What is known to be slow or wrong on the device, a sentence each."""
    sentences = []
    if options.precision in SIXTEEN_BITS and _is_emulated(options.device, options.precision):
        sentences.append(
            f"--precision={options.precision}: this device ({options.device}) has no instructions for it; PyTorch "
            "emulates it, which is slower than float32"
        )
    if options.compile and options.device == "mps":
        sentences.append(
            "--compile: on Apple's GPUs torch.compile is young: slow, and at times wrong for convolutions; compare "
            "train_loss with that of a run without it"
        )
    return sentences


def _is_emulated(device: str, precision: str) -> bool:
    """Whether a device only imitates a 16-bit precision, as far as anything tells."""
    import torch

    if device == "cuda":
        return precision == "bfloat16" and not torch.cuda.is_bf16_supported(including_emulation=False)
    if device == "mps":
        return precision == "bfloat16" and _chip().startswith(("Apple M1", "Apple M2"))
    # Private functions of torch's, hence the care. They tell of oneDNN, which multiplies on a CPU.
    name = {"bfloat16": "_is_mkldnn_bf16_supported", "float16": "_is_mkldnn_fp16_supported"}[precision]
    supported: Any = getattr(torch.ops.mkldnn, name, None)
    return supported is not None and not supported()


def _chip() -> str:
    """The chip of a Mac, such as "Apple M2 Pro"; "" if nothing tells. PyTorch does not know it."""
    if platform.system() != "Darwin":
        return ""
    try:
        command = ("sysctl", "-n", "machdep.cpu.brand_string")
        return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
