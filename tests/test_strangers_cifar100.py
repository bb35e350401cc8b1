"""CIFAR100 files and archives that somebody else has made: nothing of them is run, and nothing lands outside."""

import errno
import functools
import os
import pickle
import shutil
import sys
import tarfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

import pytorch_test_computer_vision_cifar100 as script
from speed_test.data import cifar100
from speed_test.data.sources import DataUnavailable, DataWarning
from tests.conftest import CIFAR100, run
from tests.test_cifar100 import SHORT, pack, real, write_cifar100
from tests.test_strangers_data import Payload, archive_of, member

pytestmark = pytest.mark.frameworks


@pytest.mark.parametrize("name", ["train", "test", "meta"])
def test_code_in_a_file_is_not_run(tmp_path, name):
    folder = write_cifar100(tmp_path, 200)
    content = pickle.loads((folder / name).read_bytes())
    (folder / name).write_bytes(pickle.dumps(content | {"data": Payload(tmp_path / "was run")}))
    if name == "train":
        with pytest.raises(DataUnavailable, match="cifar-100-python is broken or not CIFAR100"):
            script.load_data(real(tmp_path))
    else:  # nobody reads it
        with pytest.warns(DataWarning, match="does not match CIFAR100's checksums"):
            script.load_data(real(tmp_path))
    assert not (tmp_path / "was run").exists()


def test_code_in_a_file_is_not_run_by_a_run(tmp_path):
    folder = write_cifar100(tmp_path / "data", 200)
    (folder / "train").write_bytes(pickle.dumps(Payload(tmp_path / "was run")))
    done = run(CIFAR100, "--data=real", *SHORT, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "delete it to download it anew" in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"data"}


@pytest.mark.skipif(sys.platform == "win32", reason="links and devices")
def test_nothing_of_an_archive_lands_outside(tmp_path):
    data = tmp_path / "data"
    write_cifar100(data, 200)
    strangers = [
        member("../../outside", content=b"x"),
        member(str(tmp_path / "absolute"), content=b"x"),
        member("link", tarfile.SYMTYPE, link=str(tmp_path)),
        member("link/through", content=b"x"),
    ]
    folder = data / "cifar-100-python"
    files = [member(f"{folder.name}/{path.name}", content=path.read_bytes()) for path in folder.iterdir()]
    shutil.rmtree(folder)
    archive_of(data / "cifar-100-python.tar.gz", *strangers, *files)
    with pytest.warns(DataWarning, match="200 training images"):
        script.load_data(real(data))
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    assert {path.name for path in folder.iterdir()} == {"train", "test", "meta"}


@pytest.mark.skipif(sys.platform == "win32", reason="named pipes")
@pytest.mark.parametrize("name", ["cifar-100-python", "cifar-100-python.tar.gz", "cifar-100-python/train"])
def test_a_pipe_or_a_link_to_nowhere_is_one_sentence(tmp_path, name):
    for make in (os.mkfifo, lambda path: path.symlink_to(tmp_path / "nowhere"), lambda path: path.symlink_to(path)):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        make(path)
        with pytest.raises(DataUnavailable, match="delete it to download it anew"):
            script.load_data(real(tmp_path))
        path.unlink()


@pytest.mark.parametrize(
    ("number", "remedy"),
    [(errno.EROFS, "make the folder writable"), (errno.ENOSPC, "make room")],
    ids=["rights", "room"],
)
def test_an_archive_that_cannot_be_unpacked_here_is_not_called_broken(tmp_path, monkeypatch, number, remedy):
    write_cifar100(tmp_path, 100)
    archive = pack(tmp_path)

    def refuse(*arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(cifar100, "unpack", refuse)
    with pytest.raises(DataUnavailable, match=f"{archive.name} cannot be unpacked .*; {remedy}"):
        cifar100.fetch_cifar100(tmp_path)
    assert os.listdir(tmp_path) == [archive.name]


def test_rows_say_whether_the_files_are_the_published_ones(tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR100 as Torchvisions
    from torchvision.datasets.utils import calculate_md5

    folder = write_cifar100(tmp_path, 200)
    assert script.describe(real(tmp_path)).facts == {"data_checksum": "mismatch"}
    monkeypatch.setattr(Torchvisions, "train_list", [["train", calculate_md5(folder / "train")]])
    assert script.describe(real(tmp_path)).facts == {"data_checksum": None}
    assert script.describe(real(tmp_path).changed(data="synthetic")).facts == {"data_checksum": None}


def test_a_download_is_checked_and_unpacked(tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR100 as Torchvisions
    from torchvision.datasets.utils import calculate_md5

    write_cifar100(tmp_path / "site", 200)
    archive = pack(tmp_path / "site")
    handler = functools.partial(SimpleHTTPRequestHandler, directory=tmp_path / "site")
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(Torchvisions, "url", f"http://127.0.0.1:{server.server_port}/{archive.name}")
        with pytest.raises(DataUnavailable, match="another checksum than the published file"):
            cifar100.fetch_cifar100(tmp_path / "data")
        assert os.listdir(tmp_path / "data") == []
        monkeypatch.setattr(Torchvisions, "tgz_md5", calculate_md5(archive))
        cifar100.fetch_cifar100(tmp_path / "data")
        server.shutdown()
    assert os.listdir(tmp_path / "data") == ["cifar-100-python"]
