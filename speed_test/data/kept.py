"""Tensors that take long to make, kept in --data_dir from one run to the next."""

import io
import os
import re
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from speed_test.data.files import DataUnavailable, read_file, remedy
from speed_test.data.pickles import check_opcodes
from speed_test.screen import reason

if TYPE_CHECKING:
    from torch import Tensor

LARGEST = 2**28  # bytes
MOST_MEMBERS = 100  # torch.save writes eight for two tensors
LARGEST_PICKLE = 100_000  # bytes; it has the tensors' shapes, and not their content
# All that a file of plain tensors asks for. torch.load allows more, such as bytearray, which may be of any size.
NEEDED = re.compile(r"torch._utils _rebuild_tensor_v2|torch [A-Z][a-z]+Storage|collections OrderedDict")


def kept_tensors(
    path: Path, make: Callable[[], "dict[str, Tensor]"], right: Callable[["dict[str, Tensor]"], bool]
) -> "dict[str, Tensor]":
    """The tensors in `path`; if it is missing, broken or not `right`, `make()` makes them, and they are kept there.

    Raises DataUnavailable if there is no room for them.
    """
    import torch

    try:
        # Only tensors: a file that asks for any other object, which could run code, is refused.
        with warnings.catch_warnings(action="ignore"):
            file = _packed_anew(read_file(path, LARGEST))
            tensors = torch.load(file, map_location="cpu", weights_only=True)
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


def _packed_anew(content: bytes) -> io.BytesIO:
    """A file for torch.load with what torch.save has packed into `content`, and nothing that would fill the memory.

    torch.save compresses nothing, but torch.load would unpack a thousandfold. And it reads a zip file in another way
    than zipfile: what is checked here is packed anew, so that both see the same.

    Raises ValueError, or whatever zipfile does, if it is no such file.
    """
    # The mark of each, counted before zipfile makes an object of it. Tensors of small numbers do not have these bytes.
    if content.count(b"PK\1\2") > MOST_MEMBERS:
        raise ValueError("it has too many members")
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as packed, zipfile.ZipFile(file, "w") as anew:
        members = packed.infolist()
        stored = all(member.compress_type == zipfile.ZIP_STORED for member in members)
        if not stored or sum(member.file_size for member in members) > LARGEST:
            raise ValueError("it is compressed, or too large")
        for member in members:
            unpacked = packed.read(member)
            if member.filename.endswith(".pkl"):
                names = check_opcodes(unpacked[: LARGEST_PICKLE + 1])
                if len(unpacked) > LARGEST_PICKLE or not all(map(NEEDED.fullmatch, names)):
                    raise ValueError("its pickle is not one of tensors")
            anew.writestr(member.filename, unpacked)
    file.seek(0)
    return file
