"""Files that come from the network or from strangers: read with care, and downloaded as a whole or not at all."""

import contextlib
import errno
import hashlib
import http.client
import os
import stat
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from speed_test.screen import one_line, progress_bar, reason

# A download that has sent nothing for so long has failed. Without a limit it would wait for ever.
STALLED_SECONDS = 30
# And so has one that comes in drops: in every such span of seconds it must send at least so many bytes.
SLOW_SECONDS, SLOW_BYTES = 60, 60_000
# More than any file that is downloaded here: a wrong server must not fill the disk.
LARGEST_DOWNLOAD = 2**28


class DataUnavailable(Exception):
    """The real data cannot be had. Its text is one sentence that says why."""


def read_file(path: Path, most: int) -> bytes:
    """The content of a file of at most `most` bytes.

    Raises OSError if it cannot be read, and ValueError if it is larger, or no regular file: reading a pipe could wait
    for ever, and a device need not have an end.
    """
    with open_regular(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it has more than {most:,} bytes")
    return content


def has_checksum(path: Path, checksum: str) -> bool:
    """Whether a file has this MD5 (32 digits) or SHA-256 (64 digits). False if it cannot be read."""
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, lambda: _hasher(checksum)).hexdigest() == checksum  # type: ignore[arg-type]
    except (OSError, ValueError):
        return False


def content_has_checksum(content: bytes, checksum: str) -> bool:
    """The same for bytes that are read already, so that nobody can change them after the check."""
    hasher = _hasher(checksum)
    hasher.update(content)
    return hasher.hexdigest() == checksum


def _hasher(checksum: str) -> "hashlib._Hash":
    return hashlib.sha256() if len(checksum) == 64 else hashlib.md5(usedforsecurity=False)


@contextlib.contextmanager
def open_regular(path: Path) -> Iterator[IO[bytes]]:
    """A file to be read. Raises OSError if it cannot be, and ValueError if it is a pipe, a device and the like."""
    # O_NONBLOCK: opening a named pipe would wait for somebody who writes into it. Windows has no such pipes.
    no_waiting = getattr(os, "O_NONBLOCK", 0)
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | no_waiting)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("it is no regular file")
        yield file


def download(url: str, path: Path, checksum: str) -> None:
    """Download `url` to `path`, where it appears only when it is complete and has this MD5 or SHA-256.

    The libraries' own downloads write into the place of the file, wait for ever for a server that sends a byte now and
    then, and say each in its own way what went wrong.

    Raises DataUnavailable, with a sentence that names the file and says what to do.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix="download_") as scratch:
            part = Path(scratch, path.name)
            _receive(url, part)
            if not has_checksum(part, checksum):
                raise ValueError(_what_came(part))
            os.replace(part, path)
    except (OSError, ValueError, http.client.HTTPException) as error:
        what_to_do = remedy(error, f"try again later, or put the file at {path} yourself")
        raise DataUnavailable(f"{path} cannot be downloaded from {url} ({reason(error)}); {what_to_do}") from None


def _receive(url: str, path: Path) -> None:
    """Write what a server sends into a file. Raises ValueError if it stops too early or is far too slow."""
    request = urllib.request.Request(url, headers={"User-Agent": "ML Speed Test"})
    with urllib.request.urlopen(request, timeout=STALLED_SECONDS) as answer, open(path, "wb") as file:
        whole = int(answer.headers.get("Content-Length") or 0) or None
        since, before, received = time.monotonic(), 0, 0
        with progress_bar(f"Downloading {path.name}", whole, "bytes") as bar:
            while part := answer.read1(2**16):  # read() would wait until there are so many bytes
                received += file.write(part)
                bar.update(len(part))
                if received > LARGEST_DOWNLOAD:
                    raise ValueError("the server sends far more than the file has")
                if time.monotonic() - since > SLOW_SECONDS:
                    if received - before < SLOW_BYTES:
                        raise ValueError(f"only {received - before:,} bytes came in {SLOW_SECONDS} seconds")
                    since, before = time.monotonic(), received
    if whole and received < whole:
        raise ValueError(f"it was cut off after {received:,} of {whole:,} bytes")


def _what_came(path: Path) -> str:
    """What is wrong with a complete download that has another checksum."""
    with open(path, "rb") as file:
        start = file.read(1000).lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page came in its place, as networks send it that want a login"
    return "what came has another checksum than the published file"


@contextlib.contextmanager
def unless_unavailable(what: str) -> Iterator[None]:
    """Raise DataUnavailable for whatever goes wrong inside this context, in which a library gets `what`."""
    try:
        yield
    except DataUnavailable:
        raise
    except Exception as error:  # each library below them fails in its own way
        text = one_line(error, 200) or type(error).__name__
        what_to_do = remedy(error, "try again later")
        raise DataUnavailable(f"{what} can be neither read nor downloaded ({text}); {what_to_do}") from None


def remedy(error: BaseException | None, otherwise: str) -> str:
    """What a user can do about an error, or about the one that has caused it."""
    while error:
        number = getattr(error, "errno", None)
        if number in (errno.ENOSPC, errno.EDQUOT):
            return "make room, or name another folder with --data_dir"
        if number in (errno.EACCES, errno.EPERM, errno.EROFS):
            return "make the folder writable, or name another one with --data_dir"
        if number in (errno.EEXIST, errno.ENOTDIR, errno.ENAMETOOLONG):
            return "name another folder with --data_dir"
        error = error.__cause__ or error.__context__
    return otherwise
