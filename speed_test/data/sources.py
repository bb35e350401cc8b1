"""The rule of --data: the real data if they can be had, else synthetic ones, and a warning.

A script's `load_data(options)` reads the real data for `options.data == "real"`, and downloads them first if needed;
for "synthetic" it makes the synthetic ones. It raises DataUnavailable if the real ones cannot be had, and warns with
DataWarning if a user should know something about them.
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

from speed_test.command_line import Options
from speed_test.data.files import STALLED_SECONDS, DataUnavailable, download, has_checksum, unless_unavailable

HUB = "https://huggingface.co"

# A user who is offline learns it within 5 seconds, not after a minute of retries.
REACHABLE_SECONDS = 4


class DataWarning(UserWarning):
    """The real data can be had, but a user should know something about them."""


def choose(options: Options, load_data: Callable) -> tuple[str, str | None]:
    """Try the real data, unless --data=synthetic: ("real" or "synthetic", why not the real ones).

    Raises DataUnavailable for --data=real if they cannot be had.
    """
    if options.data == "synthetic":
        return "synthetic", None
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(STALLED_SECONDS)
    try:
        load_data(options.changed(data="real"))
    except DataUnavailable as error:
        if options.data == "real":
            raise
        return "synthetic", str(error)
    finally:
        socket.setdefaulttimeout(before)
    return "real", None


def require_network(url: str, seconds: float = REACHABLE_SECONDS) -> None:
    """Raise DataUnavailable unless the server of `url` answers, whatever it says, within `seconds`.

    The request runs in a thread, since looking up a host's name obeys no socket timeout. urllib, and not a bare
    socket, because it uses a network's proxy, as the download will.
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
    """Import and use the Hugging Face libraries inside this context, to get `what`.

    Without the network they need 23 to 46 seconds to notice. If they are told so before they are imported, they read
    at once what they have kept.

    Raises DataUnavailable for whatever goes wrong inside.
    """
    unreachable = None
    if "HF_HUB_OFFLINE" not in os.environ:
        try:
            require_network(os.environ.get("HF_ENDPOINT", HUB))
        except DataUnavailable as error:
            os.environ["HF_HUB_OFFLINE"] = "1"
            unreachable = error
    with unless_unavailable(what):
        try:
            yield
        except DataUnavailable:  # a full disk, for example
            raise
        except Exception:
            if unreachable:
                raise unreachable from None
            raise


def hub_file(repository: str, file: str, data_dir: Path, begins: bytes) -> Path:
    """A file of a Hugging Face repository: as it lies in `data_dir`, or downloaded into it.

    What is downloaded is deleted again unless it `begins` so. Raises DataUnavailable if the file is not there and
    cannot be downloaded.
    """
    path = data_dir / file
    if path.is_file():
        return path
    require_network(os.environ.get("HF_ENDPOINT", HUB))
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # the one sentence below says what its warnings say
    with unless_unavailable(f"{file} of {repository}"):
        from huggingface_hub import hf_hub_download

        path = Path(hf_hub_download(repository, file, local_dir=data_dir))
        with open(path, "rb") as content:
            right = content.read(len(begins)) == begins
        if not right:
            path.unlink()
            raise ValueError("what came is another file")
    return path


@contextlib.contextmanager
def keras_datasets(file: str, url: str, sha256: str) -> Iterator[None]:
    """Use keras.datasets inside this context, for data that it keeps in `file` and downloads from `url`.

    Keras sees no file with another checksum: some of its versions unpickle whatever lies there.

    Raises DataUnavailable for whatever goes wrong inside.
    """
    home = Path(os.environ["KERAS_HOME"])
    kept = home / "datasets" / file
    if not os.path.lexists(kept):
        require_network(url)
        download(url, kept, sha256)
    elif not has_checksum(kept, sha256):
        raise DataUnavailable(f"{kept} is broken: it has another checksum; delete it to download it anew")
    if not os.access(home, os.W_OK):  # Keras would then use /tmp/.keras, where other users may have put files
        raise DataUnavailable(f"{home} must be writable for Keras; or name another folder with --data_dir")
    import keras

    keras.config.disable_interactive_logging()
    with unless_unavailable(str(kept)):
        yield
