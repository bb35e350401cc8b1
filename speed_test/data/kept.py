"""Tensors that take long to make, kept in --data_dir from one run to the next."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def kept_tensors(path: Path, make: Callable[[], "dict[str, Tensor]"]) -> "dict[str, Tensor]":
    """The tensors in `path`; if it is missing or broken, `make()` makes them, and they are kept there."""
    import torch

    try:
        return torch.load(path)
    except Exception:  # a broken file may raise just about anything
        tensors = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    # Written elsewhere and renamed, so that a file of this name is always complete.
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        torch.save(tensors, os.path.join(scratch, path.name))
        os.replace(os.path.join(scratch, path.name), path)
    return tensors
