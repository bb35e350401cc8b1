"""CIFAR100 by torchvision: as it lies in --data_dir, or unpacked from its archive there, or downloaded."""

import http.client
import os
import tarfile
import tempfile
import warnings
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from speed_test.data.sources import DataUnavailable, DataWarning, require_network

if TYPE_CHECKING:
    import numpy

CLASSES = 100


def load_cifar100(data_dir: Path) -> tuple["numpy.ndarray", list[int]]:
    """The training set: images uint8 [50000, 32, 32, 3], and a class from 0 to 99 for each.

    Raises DataUnavailable if it can be neither read nor downloaded.
    """
    fetch_cifar100(data_dir)
    return _read(data_dir)


def fetch_cifar100(data_dir: Path) -> None:
    """Make sure that CIFAR100's folder is in `data_dir`: there already, unpacked, or downloaded (161 MB).

    Unpacks and downloads into a temporary folder first, so that what lies in `data_dir` is always complete.
    Raises DataUnavailable if that cannot be done.
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


def _read(data_dir: Path) -> tuple["numpy.ndarray", list[int]]:
    from torchvision.datasets import CIFAR100

    class Repacked(CIFAR100):
        """CIFAR100 without the checksums of its files."""

        train_list, test_list = [["train", None]], [["test", None]]
        meta = CIFAR100.meta | {"md5": None}

    folder = data_dir / CIFAR100.base_folder
    try:
        try:
            return _arrays(CIFAR100(data_dir))
        except RuntimeError:
            # A checksum differs. Files that somebody has packed anew train just as fast; broken ones do not.
            images, labels = _arrays(Repacked(data_dir))
    except Exception as error:  # unpickling a broken file may raise just about anything
        raise DataUnavailable(f"{folder} is broken or not CIFAR100 ({error}); delete it to download it anew") from None
    if len(images) == 0 or len(labels) != len(images) or not set(labels) <= set(range(CLASSES)):
        raise DataUnavailable(f"{folder} is not CIFAR100: it has no label from 0 to 99 for each image")
    text = f"{folder} does not match CIFAR100's checksums; its {len(images):,} training images are used as they are"
    warnings.warn(text, DataWarning, stacklevel=3)
    return images, labels


def _arrays(cifar100) -> tuple["numpy.ndarray", list[int]]:
    return cifar100.data, cifar100.targets
