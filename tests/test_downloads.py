"""Downloads that go wrong: each is one sentence, and nothing half-written is left to be taken for whole."""

import errno
import hashlib
import os
import socket
import sys

import numpy
import pytest

from speed_test.data import files, sources
from speed_test.data.files import DataUnavailable, download, unless_unavailable
from tests.hub import Misbehaving, misbehaving
from tests.test_strangers_data import Payload


@pytest.fixture(scope="module")
def server():
    with misbehaving() as url:
        yield url


CHECKSUM = hashlib.sha256(Misbehaving.content).hexdigest()


def test_a_download_is_whole_and_leaves_nothing_else(tmp_path, server):
    for checksum in (CHECKSUM, hashlib.md5(Misbehaving.content).hexdigest()):
        download(f"{server}/whole", tmp_path / "new" / "file", checksum)
        assert (tmp_path / "new" / "file").read_bytes() == Misbehaving.content
        assert os.listdir(tmp_path / "new") == ["file"]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("cut", "cut off after 1,000 of 200,000 bytes"),
        ("other", "what came has another checksum than the published file"),
        ("page", "a web page came in its place"),
        ("drops", "bytes came in 0.3 seconds"),
        ("loop", "infinite loop"),
        ("busy", "503"),
    ],
)
def test_a_download_that_goes_wrong_is_one_sentence(tmp_path, monkeypatch, server, path, reason):
    if path == "drops":
        monkeypatch.setattr(files, "SLOW_SECONDS", 0.3)
    with pytest.raises(DataUnavailable, match=reason) as caught:
        download(f"{server}/{path}", tmp_path / "file", CHECKSUM)
    assert str(caught.value).startswith(f"{tmp_path / 'file'} cannot be downloaded from {server}/{path} (")
    assert str(caught.value).endswith(f"; try again later, or put the file at {tmp_path / 'file'} yourself")
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_a_server_that_sends_nothing_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "STALLED_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(DataUnavailable, match="timed out"):
        download(f"http://127.0.0.1:{silent.getsockname()[1]}/file", tmp_path / "file", CHECKSUM)
    assert os.listdir(tmp_path) == []


def test_too_much_is_not_written(tmp_path, monkeypatch, server):
    monkeypatch.setattr(files, "LARGEST_DOWNLOAD", 1000)
    with pytest.raises(DataUnavailable, match="far more than the file has"):
        download(f"{server}/whole", tmp_path / "file", CHECKSUM)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("number", "remedy"),
    [(errno.ENOSPC, "make room, or name another"), (errno.EROFS, "make the folder writable, or name another one")],
)
def test_a_disk_that_takes_no_file(tmp_path, monkeypatch, server, number, remedy):
    def refuse(*arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, "replace", refuse)
    with pytest.raises(DataUnavailable, match=remedy):
        download(f"{server}/whole", tmp_path / "file", CHECKSUM)
    assert os.listdir(tmp_path) == []

    @unless_unavailable("IMDB")
    def of_a_library():
        try:
            refuse()
        except OSError as error:
            raise RuntimeError("its own words") from error

    with pytest.raises(DataUnavailable, match=remedy):
        of_a_library()


def test_a_file_in_the_place_of_the_folder(tmp_path, server):
    (tmp_path / "data").write_text("a file")
    with pytest.raises(DataUnavailable, match="; name another folder with --data_dir"):
        download(f"{server}/whole", tmp_path / "data" / "file", CHECKSUM)


def test_what_went_wrong_without_a_network_is_said_unless_it_is_the_network(monkeypatch):
    def unreachable(url):
        raise DataUnavailable("the hub cannot be reached")

    monkeypatch.setattr(sources, "require_network", unreachable)
    for error, said in (
        (DataUnavailable("tokens.pt cannot be written"), "tokens.pt cannot be written"),
        (OSError("nothing kept"), "the hub cannot be reached"),
    ):
        monkeypatch.setenv("HF_HUB_OFFLINE", "to be put back")
        monkeypatch.delenv("HF_HUB_OFFLINE")
        with pytest.raises(DataUnavailable, match=f"^{said}$"), sources.hugging_face("IMDB"):
            raise error


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full")
def test_a_full_disk_in_mid_download(tmp_path, monkeypatch, server):
    class Full:
        def __init__(self, *_, **__):
            (tmp_path / "scratch").mkdir()
            (tmp_path / "scratch" / "file").symlink_to("/dev/full")

        def __enter__(self):
            return str(tmp_path / "scratch")

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(files.tempfile, "TemporaryDirectory", Full)
    with pytest.raises(DataUnavailable, match=r"No space left on device.*make room"):
        download(f"{server}/whole", tmp_path / "file", CHECKSUM)
    assert not (tmp_path / "file").exists()


# ---- Keras ----


def test_keras_never_sees_a_file_with_another_checksum(tmp_path, monkeypatch):
    """Some of its versions unpickle it."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, "keras", None)  # importing it fails
    (tmp_path / "datasets").mkdir()
    file = tmp_path / "datasets" / "imdb.npz"
    numpy.savez(file, x_train=numpy.array([Payload(tmp_path / "was run")], dtype=object))
    with (
        pytest.raises(DataUnavailable, match=r"imdb\.npz is broken: it has another checksum; delete it"),
        sources.keras_datasets("imdb.npz", "http://127.0.0.1:9/imdb.npz", CHECKSUM),
    ):
        pytest.fail("read all the same")
    assert not (tmp_path / "was run").exists()


def test_keras_does_not_go_to_a_folder_of_everybody(tmp_path, monkeypatch):
    """It does if its own cannot be written."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, "keras", None)
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "file").write_bytes(Misbehaving.content)
    monkeypatch.setattr(sources.os, "access", lambda path, mode: False)
    with (
        pytest.raises(DataUnavailable, match="must be writable for Keras; or name another folder with --data_dir"),
        sources.keras_datasets("file", "http://127.0.0.1:9/file", CHECKSUM),
    ):
        pytest.fail("read all the same")


def test_keras_gets_what_was_downloaded(tmp_path, monkeypatch, server):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setitem(sys.modules, "keras", None)
    with (
        pytest.raises(ImportError),  # so far it comes
        sources.keras_datasets("file", f"{server}/whole", CHECKSUM),
    ):
        pytest.fail("without Keras")
    assert (tmp_path / "home" / "datasets" / "file").read_bytes() == Misbehaving.content
