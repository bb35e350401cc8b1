"""The rule of --data: the real data where they can be had, else a stand-in, said aloud.

A script's `load_data(options)` reads the real data (and downloads them first, if need be) for
`options.data == "real"` and makes the stand-in for "synthetic". It raises DataUnavailable where the real
ones cannot be had, and warns with DataWarning where they can, but something about them should be known.
"""

import contextlib
import http.client
import os
import socket
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from speed_test.command_line import Options
from speed_test.report import one_line

if TYPE_CHECKING:
    import numpy

# Offline has to be found out within 5 seconds (DESIGN: "not after a minute of retries").
REACHABLE_SECONDS = 4
# A download from which nothing came for so long has failed; without a limit it would wait for ever.
STALLED_SECONDS = 30


class DataUnavailable(Exception):
    """The real data cannot be had. Its text is one sentence that says why."""


class DataWarning(UserWarning):
    """The real data are there, with something about them that a person should know."""


def settle(options: Options, load_data: Callable) -> tuple[str, str | None]:
    """Try the real data, unless the stand-in was asked for: ("real" or "synthetic", why not the real ones).

    Raises DataUnavailable for --data=real where they cannot be had.
    """
    if options.data == "synthetic":
        return "synthetic", None
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(STALLED_SECONDS)
    try:
        load_data(options.but(data="real"))
    except DataUnavailable as error:
        if options.data == "real":
            raise
        return "synthetic", str(error)
    finally:
        socket.setdefaulttimeout(before)
    return "real", None


def require_network(url: str, seconds: float = REACHABLE_SECONDS) -> None:
    """Raise DataUnavailable unless the server of `url` answers, whatever it says, within `seconds`.

    A thread of its own keeps the time: looking up a host's name obeys no socket timeout. urllib, and not
    a bare socket, since it goes through the proxy where a network has one, as the download will.
    """
    answered = threading.Event()

    def ask() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=seconds).close()
        except urllib.error.HTTPError:
            pass  # an error page is an answer
        except (OSError, ValueError, http.client.HTTPException):
            return
        answered.set()

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    if not answered.is_set():
        raise DataUnavailable(f"{urllib.parse.urlsplit(url).hostname} cannot be reached")


@contextlib.contextmanager
def hugging_face(what: str) -> Iterator[None]:
    """Import and use the Hugging Face libraries inside of this, to get `what`.

    Keeps them off a network that is not there: left to themselves they need 23 to 46 seconds to find out
    that the hub is out of reach; told so before they are imported, they read at once what they have kept.

    Raises DataUnavailable for whatever goes wrong inside.
    """
    unreachable = None
    if "HF_HUB_OFFLINE" not in os.environ:
        try:
            require_network(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
        except DataUnavailable as error:
            os.environ["HF_HUB_OFFLINE"] = "1"
            unreachable = error
    try:
        with unless_unavailable(what):
            yield
    except DataUnavailable:
        if unreachable:
            raise unreachable from None
        raise


@contextlib.contextmanager
def keras_datasets(file: str, url: str) -> Iterator[None]:
    """Use keras.datasets inside of this, for data that it keeps in `file` and takes from `url`.

    Raises DataUnavailable for whatever goes wrong inside.
    """
    kept = Path(os.environ["KERAS_HOME"]) / "datasets" / file
    was_there = kept.exists()
    if not was_there:
        require_network(url)
    import keras

    if was_there:  # it prints a progress bar for a download, but for a broken file a long explanation as well
        keras.config.disable_interactive_logging()
    try:
        with unless_unavailable(url):
            yield
    except DataUnavailable as error:
        if was_there:
            raise DataUnavailable(f"{kept} is broken, and {error}") from None
        raise


@contextlib.contextmanager
def unless_unavailable(what: str) -> Iterator[None]:
    """Raise DataUnavailable for whatever goes wrong inside, where a library reads or downloads `what`."""
    try:
        yield
    except DataUnavailable:
        raise
    except Exception as error:  # they fail in as many ways as there are libraries below them
        reason = one_line(error, 200)
        raise DataUnavailable(f"{what} can be neither read nor downloaded ({reason})") from None


def synthetic_photographs(seed: int) -> Iterator["numpy.ndarray"]:
    """1,000 pictures, uint8 [384, 512, 3], that make JPEGs of about 50 KB at quality 75, as Food101 has them.

    Different ones, and so many that no cache holds them all decoded: cuttings from a large picture of coloured
    squares with a fine grain on top. Their contrast is chosen for the 50 KB.
    """
    import numpy

    random = numpy.random.default_rng(seed)
    squares = random.random((500, 500, 3), dtype=numpy.float32).repeat(4, axis=0).repeat(4, axis=1)
    grain = random.random((2000, 2000, 3), dtype=numpy.float32)
    picture = (80 + squares * 80 + grain * 20).astype(numpy.uint8)
    for _ in range(1000):
        top, left = random.integers(0, 2000 - 384), random.integers(0, 2000 - 512)
        yield picture[top : top + 384, left : left + 512]
