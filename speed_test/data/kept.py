"""Tensors that take long to make, kept in --data_dir from one run to the next."""

import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from speed_test.data.files import DataUnavailable, remedy
from speed_test.screen import reason

if TYPE_CHECKING:
    from torch import Tensor

LARGEST = 2**28  # bytes


def kept_tensors(
    path: Path, make: Callable[[], "dict[str, Tensor]"], right: Callable[["dict[str, Tensor]"], bool]
) -> "dict[str, Tensor]":
    """The tensors in `path`; if it is missing, broken or not `right`, `make()` makes them, and they are kept there.

    Raises DataUnavailable if there is no room for them.
    """
    import torch

    try:
        if path.is_file() and path.stat().st_size <= LARGEST:
            # Only tensors: a file that asks for any other object, which could run code, is refused.
            with warnings.catch_warnings(action="ignore"):
                tensors = torch.load(path, map_location="cpu", weights_only=True)
            if isinstance(tensors, dict) and right(tensors):
                return tensors
    except Exception:  # a broken file may raise just about anything
        pass
    tensors = make()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Written elsewhere and renamed, so that a file of this name is always complete.
        with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
            torch.save(tensors, os.path.join(scratch, path.name))
            os.replace(os.path.join(scratch, path.name), path)
    except (OSError, RuntimeError) as error:  # torch has its own words for a full disk
        what_to_do = remedy(error, "make room, or name another folder with --data_dir")
        raise DataUnavailable(f"{path} cannot be written ({reason(error)}); {what_to_do}") from None
    return tensors
