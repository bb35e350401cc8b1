"""CIFAR100's training images: as they lie in --data_dir, or unpacked from the archive there, or downloaded.

Its files are pickles, which can run any code when they are read as pickles usually are. Whoever has made the files in
--data_dir, nothing of them is run here: not by the unpickler, and not by unpacking.
"""

import gzip
import io
import os
import pickle
import posixpath
import tarfile
import tempfile
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speed_test.data.files import DataUnavailable, content_has_checksum, download, open_regular, read_file, remedy
from speed_test.data.pickles import check_opcodes
from speed_test.data.sources import DataWarning, require_network
from speed_test.screen import one_line

if TYPE_CHECKING:
    import numpy

CLASSES = 100
IMAGES = 50_000
PIXELS = 32 * 32 * 3
FILES = ("train", "test", "meta")
# The published files are 155 MB (train) and 169 MB (the archive, 186 MB unpacked). In an old format of pickles Python 3
# may take twice as much.
LARGEST_FILE = 350_000_000
LARGEST_ARCHIVE = 500_000_000
MOST_MEMBERS = 100
LONGEST_NAME = 100  # letters of what a stranger's file has, in a sentence about it


def load_cifar100(data_dir: Path) -> tuple["numpy.ndarray", list[int]]:
    """The training set: images uint8 [50000, 32, 32, 3], and a class from 0 to 99 for each.

    Warns with DataWarning if the file is not the published one: files that somebody has packed anew train just as
    fast. Raises DataUnavailable if it can be neither read nor downloaded.
    """
    fetch_cifar100(data_dir)
    folder, content = _training_file(data_dir)
    published = content_has_checksum(content, _published_checksum())
    try:
        if not published:
            check_opcodes(content)
        images, labels = _unpickle(content)
    except Exception as error:  # unpickling a broken file may raise just about anything
        raise _broken(folder, error) from None
    if not published:
        text = f"{folder} does not match CIFAR100's checksums; its {len(images):,} training images are used as they are"
        warnings.warn(text, DataWarning, stacklevel=2)
    return images, labels


def data_checksum(data_dir: Path) -> str | None:
    """The column `data_checksum`: "mismatch" if the training file is not the published one, else None."""
    return None if content_has_checksum(_training_file(data_dir)[1], _published_checksum()) else "mismatch"


def _published_checksum() -> str:
    from torchvision.datasets import CIFAR100

    return CIFAR100.train_list[0][1]


def _training_file(data_dir: Path) -> tuple[Path, bytes]:
    """The folder of the data set and the content of its training file, read once: what is checked is what is used."""
    from torchvision.datasets import CIFAR100

    folder = data_dir / CIFAR100.base_folder
    try:
        return folder, read_file(folder / "train", LARGEST_FILE)
    except (OSError, ValueError) as error:
        raise _broken(folder, error) from None


def _broken(folder: Path, error: Exception) -> DataUnavailable:
    text = one_line(str(error)[:1000])  # cut first: one_line takes the square of the time for some texts of strangers
    return DataUnavailable(f"{folder} is broken or not CIFAR100 ({text}); delete it to download it anew")


# ---- Getting the files ----


def fetch_cifar100(data_dir: Path) -> None:
    """Make sure that CIFAR100's folder is in `data_dir`: there already, unpacked, or downloaded (161 MB).

    Unpacks and downloads into a temporary folder first, so that what lies in `data_dir` is always complete.
    Raises DataUnavailable if that cannot be done.
    """
    from torchvision.datasets import CIFAR100

    folder = data_dir / CIFAR100.base_folder
    archive = data_dir / CIFAR100.filename
    if os.path.lexists(folder):
        return
    there = os.path.lexists(archive)
    if not there:
        require_network(CIFAR100.url)
        download(CIFAR100.url, archive, CIFAR100.tgz_md5)
    try:
        with tempfile.TemporaryDirectory(dir=data_dir, prefix="unpacked_") as scratch:
            unpacked = Path(scratch, CIFAR100.base_folder)
            unpack(archive, unpacked, FILES)
            os.rename(unpacked, folder)
    except (OSError, EOFError, ValueError, tarfile.TarError, zlib.error) as error:
        if folder.exists():  # another run has put it there in the meantime
            return
        what_to_do = remedy(error, "delete it to download it anew")
        what = "is broken" if "delete" in what_to_do else "cannot be unpacked"
        raise DataUnavailable(f"{archive} {what} ({one_line(error)}); {what_to_do}") from None
    if not there:
        archive.unlink(missing_ok=True)  # 161 MB that nobody needs any more


def unpack(archive: Path, folder: Path, names: tuple[str, ...]) -> None:
    """Copy the files `names`, which the archive has in a folder called as `folder` is, into `folder`.

    Nothing else is unpacked, and tarfile chooses no path: `..`, absolute paths, links and devices have no effect, on
    any version of Python.

    Raises OSError, EOFError, ValueError, tarfile.TarError or zlib.error if the archive is not what it should be.
    """
    with open_regular(archive) as file, gzip.open(file) as packed:
        content = packed.read(LARGEST_ARCHIVE + 1)
    if len(content) > LARGEST_ARCHIVE:
        raise ValueError(f"it unpacks to more than {LARGEST_ARCHIVE:,} bytes")
    folder.mkdir()
    wanted = {posixpath.join(folder.name, name): folder / name for name in names}
    for number, (member, begin) in enumerate(_members(content)):
        if number >= MOST_MEMBERS:
            raise ValueError(f"it has more than {MOST_MEMBERS} members")
        path = wanted.pop(posixpath.normpath(member.name), None)
        if path:
            if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):  # a sparse file may be of any size
                raise ValueError(f"{member.name} is no regular file")
            path.write_bytes(memoryview(content)[begin : begin + member.size])
    if wanted:
        raise ValueError(f"it has no {', '.join(wanted)}")


def _members(content: bytes) -> Iterator[tuple[tarfile.TarInfo, int]]:
    """The headers of a tar archive, one after the other, and where the content of each begins.

    tarfile.open would also read headers that stand for the name or the size of the next member, at any length, with an
    expression that takes the square of it in Python 3.11, and one inside the other until the stack is full. Here those
    are members that nobody wants: all names that are wanted fit into a plain header.

    Raises ValueError or tarfile.TarError if there is something else than a header, or less content than a header says.
    """
    begin = 0
    while block := content[begin : begin + tarfile.BLOCKSIZE].rstrip(b"\0"):  # a block of zeros is the end
        member = tarfile.TarInfo.frombuf(block.ljust(tarfile.BLOCKSIZE, b"\0"), "utf-8", "surrogateescape")
        begin += tarfile.BLOCKSIZE
        size = 0 if member.isdir() or member.issym() or member.islnk() or member.isdev() else member.size
        if not 0 <= size <= len(content) - begin:
            raise ValueError("it is cut off")
        yield member, begin
        begin += -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


# ---- Reading a pickle without running it ----


def _unpickle(content: bytes) -> tuple["numpy.ndarray", list[int]]:
    """Images and labels of a training file. Raises whatever exception a broken file causes."""
    import numpy

    unpickler = _Unpickler(io.BytesIO(content), encoding="bytes")  # Python 2 wrote the published files
    entries = {name.decode() if isinstance(name, bytes) else name: entry for name, entry in unpickler.load().items()}
    array, labels = entries["data"], entries["fine_labels"]
    if not isinstance(array, _Array) or len(array.shape) != 2 or array.shape[1] != PIXELS:
        raise ValueError("its images are not of 32x32 pixels")
    if not 1 <= array.shape[0] <= IMAGES:
        raise ValueError(f"it has {array.shape[0]:,} images, and not 1 to {IMAGES:,}")
    right = isinstance(labels, list) and all(type(label) is int and 0 <= label < CLASSES for label in labels)
    if not right or len(labels) != array.shape[0]:
        raise ValueError("it has no label from 0 to 99 for each image")
    pixels = numpy.frombuffer(array.content, dtype=numpy.uint8).reshape(array.shape, order=array.order)
    return pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1).copy(), labels


class _Array:
    """Stands for a numpy array in a pickle, and takes only bytes (uint8) from it."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, self.shape, kind, fortran, self.content = state
        self.order: Any = "F" if fortran else "C"
        if not isinstance(kind, _Type) or not isinstance(self.content, bytes):
            raise ValueError("it has an array of something else than bytes")


class _Type:
    """Stands for numpy's type of bytes."""

    def __init__(self, name: object, *_: object) -> None:
        if name not in ("u1", b"u1"):
            # What it is is not said: to print a stranger's value, such as lists in lists, may take for ever.
            raise ValueError("it has an array of something else than bytes")

    def __setstate__(self, state: object) -> None:
        """Byte order and the like, which bytes do not have."""


def _encode(text: str, encoding: str) -> bytes:
    """Stands for codecs.encode, by which Python 3 writes bytes in an old format of pickles."""
    return text.encode("latin1")


# All that such a file needs, under numpy's old and new names. numpy's own functions are not called either: they
# trust what they are given, and wrong arguments can crash the process.
_STAND_INS: dict[tuple[str, str], Callable] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
    ("numpy.core.multiarray", "_reconstruct"): lambda *_: _Array(),
    ("numpy._core.multiarray", "_reconstruct"): lambda *_: _Array(),
    ("_codecs", "encode"): _encode,
}


class _Unpickler(pickle.Unpickler):
    """Knows no function and no class but the stand-ins above. What else a pickle asks for is refused, not run."""

    def find_class(self, module: str, name: str) -> Callable:
        if (module, name) not in _STAND_INS:
            asked = f"{module[:LONGEST_NAME]}.{name[:LONGEST_NAME]}"
            raise pickle.UnpicklingError(f"it asks for {asked}, which images do not need")
        return _STAND_INS[module, name]
