# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = [
#     "torch>=2.13,<2.16",
#     "torchvision>=0.28,<0.30",
#     "tqdm>=4.66",
#     "psutil>=6.0",
#     "portalocker>=3.0",
#     "py-cpuinfo>=9.0",
#     "nvidia-ml-py>=12.535 ; sys_platform != 'darwin'",
#     "zeus-apple-silicon>=1.1 ; sys_platform == 'darwin' and platform_machine == 'arm64'",
# ]
# ///
"""How fast does this machine train ResNet50 on CIFAR100 with PyTorch?

  python pytorch_test_computer_vision_cifar100.py --epochs=1 --batch_sizes="32"

Every epoch goes through 50,000 images of 32x32 and appends a row to a CSV in
results/results_pytorch_cv/. Without options it trains 5 epochs at each of 7
batch sizes. On a slow machine, --time_limit=60 measures 60 seconds of every
epoch and estimates the rest.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from speed_test import Epochs, Experiment, Options, main
from speed_test.data.cifar100 import CLASSES, data_checksum, load_cifar100

if TYPE_CHECKING:
    from torch import Tensor

LEARNING_RATE = 0.001
SEED = 42

EXPERIMENT = Experiment(
    framework="pytorch",
    model="resnet50",
    dataset="CIFAR100",
    input_size=32,
    samples=50_000,
    samples_are="images of 32x32",
    results="results_pytorch_cv",
    memory_gb=1.2,
    epochs=5,
    switches=("precision", "compile", "channels_last", "processes"),
    batch_sizes=(16, 32, 64, 128, 256, 512, 1024),
    smallest_batch=2,  # 32x32 pixels end as one: PyTorch's batch normalisation finds no variance in a single value
)


# ---- Data: all of it in memory, as bytes ----


def load_data(options: Options) -> "tuple[Tensor, Tensor]":
    """The training set: images uint8 [50000, 3, 32, 32], labels int64 [50000].

    Raises DataUnavailable if options.data is "real" and CIFAR100 can be neither read nor downloaded.
    """
    import torch

    if options.data == "synthetic":
        torch.manual_seed(SEED)
        images = torch.randint(0, 256, (EXPERIMENT.samples, 3, 32, 32), dtype=torch.uint8)
        labels = torch.randint(0, CLASSES, (EXPERIMENT.samples,))
        return images, labels

    pixels, classes = load_cifar100(options.data_dir)
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), torch.tensor(classes)


def describe(options: Options) -> Experiment:
    """The experiment, and whether real data are the published ones: this stands in each row."""
    checksum = data_checksum(options.data_dir) if options.data == "real" else None
    return replace(EXPERIMENT, facts={"data_checksum": checksum})


# ---- Model and training step ----


def training(batch_size: int, options: Options) -> Epochs:
    """ResNet50 at one batch size; runs in a fresh process of its own."""
    import torch
    import torchvision
    from torch.nn.functional import cross_entropy

    from speed_test.frameworks.pytorch import mixed_precision, prepared, rewind_of, shuffled_batches

    torch.manual_seed(SEED)
    device = torch.device(options.device)
    memory_format = torch.channels_last if options.channels_last else torch.contiguous_format
    model = torchvision.models.resnet50(num_classes=CLASSES).to(device, memory_format=memory_format)
    model = prepared(model, options)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    autocast, scaler = mixed_precision(options)

    # The whole set is 154 MB of bytes: on the device, no batch ever has to wait for a copy.
    images, labels = (part.to(device) for part in load_data(options))
    batches = shuffled_batches(images, labels, batch_size=batch_size, seed=SEED)

    def step(images: "Tensor", labels: "Tensor") -> "Tensor":
        images = images.to(torch.float32, memory_format=memory_format) / 255
        with autocast:
            loss = cross_entropy(model(images), labels)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return loss.detach()

    return Epochs(step, batches, samples=len(labels), rewind=rewind_of(model, optimizer, scaler))


if __name__ == "__main__":
    main(EXPERIMENT, load_data, training, describe=describe)
