# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = [
#     "torch>=2.13,<2.16",
#     "torchvision>=0.28,<0.30",
#     "tqdm>=4.66",
#     "psutil>=6.0",
#     "portalocker>=3.0",
#     "py-cpuinfo>=9.0",
# ]
# ///
"""How fast does this machine train ResNet50 on CIFAR100 with PyTorch?

  python pytorch_test_computer_vision_cifar100.py --epochs=1 --batch_sizes="32"

Every epoch goes through 50,000 images of 32x32 and appends a row to a CSV in
results/results_pytorch_cv/. Without options it trains 5 epochs at each of 7
batch sizes. On a slow machine, --time_limit=60 measures 60 seconds of every
epoch and estimates the rest.
"""

import http.client
import os
import tarfile
import tempfile
import warnings
import zlib

from speed_test import Experiment, main
from speed_test.data import DataUnavailable, DataWarning, require_network

CLASSES = 100
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
    epochs=5,
    batch_sizes=(16, 32, 64, 128, 256, 512, 1024),
    smallest_batch=2,  # 32x32 pixels end as one: PyTorch's batch normalisation finds no variance in a single value
)


# ---- Data: all of it in memory, as bytes ----


def load_data(options):
    """The training set: images uint8 [50000, 3, 32, 32], labels int64 [50000].

    Raises DataUnavailable where options.data is "real" and CIFAR100 can be neither read nor downloaded.
    """
    import torch

    if options.data == "synthetic":
        torch.manual_seed(SEED)
        images = torch.randint(0, 256, (EXPERIMENT.samples, 3, 32, 32), dtype=torch.uint8)
        labels = torch.randint(0, CLASSES, (EXPERIMENT.samples,))
        return images, labels

    fetch_cifar100(options.data_dir)
    cifar100 = read_cifar100(options.data_dir)
    images = torch.from_numpy(cifar100.data).permute(0, 3, 1, 2).contiguous()
    labels = torch.tensor(cifar100.targets)
    return images, labels


def fetch_cifar100(data_dir):
    """Make sure that CIFAR100's folder is in data_dir: as it is there, or unpacked, or downloaded (161 MB).

    Both happen in a scratch folder first, so that what lies in data_dir is always whole.
    """
    from torchvision.datasets import CIFAR100
    from torchvision.datasets.utils import extract_archive

    folder = data_dir / CIFAR100.base_folder
    archive = data_dir / CIFAR100.filename
    if folder.exists():
        return
    if not archive.exists():
        require_network(CIFAR100.url)
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=data_dir) as scratch:
            if archive.exists():
                extract_archive(archive, scratch)
            else:
                CIFAR100(scratch, download=True)
            os.rename(os.path.join(scratch, CIFAR100.base_folder), folder)
    except (OSError, EOFError, RuntimeError, tarfile.TarError, zlib.error, http.client.HTTPException) as error:
        if folder.exists():  # another run has put it there in the meantime
            return
        if archive.exists():
            raise DataUnavailable(f"{archive} is broken ({error}); delete it to download it anew") from None
        raise DataUnavailable(f"the download of CIFAR100 failed ({error})") from None


def read_cifar100(data_dir):
    """CIFAR100 as torchvision reads it: `data` uint8 [50000, 32, 32, 3], `targets` a list of classes."""
    from torchvision.datasets import CIFAR100

    class Repacked(CIFAR100):
        """CIFAR100 without the checksums of its files."""

        train_list, test_list = [["train", None]], [["test", None]]
        meta = CIFAR100.meta | {"md5": None}

    folder = data_dir / CIFAR100.base_folder
    try:
        try:
            return CIFAR100(data_dir)
        except RuntimeError:
            # A checksum differs. Files that were packed anew by somebody train just as fast, broken ones do not.
            cifar100 = Repacked(data_dir)
    except Exception as error:  # unpickling a broken file may raise just about anything
        raise DataUnavailable(f"{folder} is broken or not CIFAR100 ({error}); delete it to download it anew") from None
    found = len(cifar100.data)
    if found == 0 or len(cifar100.targets) != found or not set(cifar100.targets) <= set(range(CLASSES)):
        raise DataUnavailable(f"{folder} is not CIFAR100: it has no label from 0 to 99 for each image")
    text = f"{folder} does not match CIFAR100's checksums; its {found:,} training images are used as they are"
    warnings.warn(text, DataWarning, stacklevel=2)
    return cifar100


# ---- Model and training step ----


def train(batch_size, options, clock):
    """Train ResNet50 at one batch size while `clock` watches; runs in a process of its own."""
    import torch
    import torchvision
    from torch.nn.functional import cross_entropy

    from speed_test.pytorch import remember, shuffled_batches

    torch.manual_seed(SEED)
    device = torch.device(options.device)
    model = torchvision.models.resnet50(num_classes=CLASSES).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)

    # The whole set is 154 MB of bytes: on the device, no batch ever has to wait for a copy.
    images, labels = (part.to(device) for part in load_data(options))
    batches = shuffled_batches(images, labels, batch_size=batch_size, seed=SEED)

    def step(images, labels):
        loss = cross_entropy(model(images.float() / 255), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    clock.time_epochs(step, batches, len(labels), rewind=remember(model, optimizer))


if __name__ == "__main__":
    main(EXPERIMENT, load_data, train)
