"""ResNet50 on CIFAR100 as a user runs it: offline, on the stand-in, and on files in CIFAR100's own format."""

import math
import pickle
import socket
import sys
import tarfile
import time
import warnings

import numpy
import pytest

import pytorch_test_computer_vision_cifar100 as script
from speed_test.command_line import parse
from speed_test.data import cifar100
from speed_test.data.sources import DataUnavailable, require_network
from speed_test.results import COLUMNS
from tests.conftest import CIFAR100, rows, run, the_csv

pytestmark = pytest.mark.frameworks

SHORT = ("--epochs=1", "--batch_sizes=8", "--max_steps=2")


def write_cifar100(data_dir, samples):
    """The three files of cifar-100-python with `samples` training images, each full of its own number."""
    folder = data_dir / "cifar-100-python"
    folder.mkdir(parents=True)
    for name, count in (("train", samples), ("test", 10)):
        images = numpy.repeat(numpy.arange(count, dtype=numpy.uint8)[:, None], 3072, axis=1)
        fine = [number % 100 for number in range(count)]
        content = {"data": images, "fine_labels": fine, "coarse_labels": [0] * count, "filenames": ["x.png"] * count}
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    names = {"fine_label_names": [str(label) for label in range(100)], "coarse_label_names": ["all"]}
    (folder / "meta").write_bytes(pickle.dumps(names, protocol=2))
    return folder


def pack(data_dir, keep=False):
    archive = data_dir / "cifar-100-python.tar.gz"
    folder = data_dir / "cifar-100-python"
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        tar.add(folder, folder.name)
    if not keep:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
    return archive


def real(folder):
    return parse(script.EXPERIMENT, "", []).changed(data="real", data_dir=folder)


def test_the_stand_in_offline_twice(tmp_path):
    arguments = ("--epochs", "2", "--batch_sizes", "8", "--max_steps", "3", "--device", "cpu", "--runs", "2")
    done = run(CIFAR100, *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    loud = [line for line in done.stderr.splitlines() if "SYNTHETIC" in line]
    assert len(loud) == 1
    assert "www.cs.toronto.edu cannot be reached" in loud[0]
    path = the_csv(tmp_path)
    assert path.parent == tmp_path / "results" / "results_pytorch_cv"
    assert path.name.endswith("_CPU_Cores_CIFAR100_resnet50_32_pytorch_synthetic_results.csv")
    assert path.name in done.stdout
    found = rows(path)
    assert list(found[0]) == list(COLUMNS)
    assert [(row["batch_size"], row["epoch"]) for row in found] == [("8", "1"), ("8", "2")] * 2
    for row in found:
        assert (row["status"], row["data"], row["estimated"]) == ("ok", "synthetic", "True")
        assert int(row["measured_samples"]) == 3 * int(row["batch_size"])
        assert math.isfinite(float(row["train_loss"]))
        assert float(row["epoch_seconds"]) == pytest.approx(50_000 / float(row["samples_per_second"]), rel=1e-3)
        assert (row["experiment"], row["device"], row["error"], row["tf32"]) == ("pytorch_cifar100", "cpu", "", "False")
        assert float(row["peak_memory_gb"]) > 0.2
    assert [row["run"] for row in found] == ["1", "1", "2", "2"]
    assert max(len(line) for line in done.stdout.splitlines() if "results/" not in line) <= 80
    # The same seed, data and steps: the loss tells that it was the same work.
    losses = [[float(row["train_loss"]) for row in half] for half in (found[:2], found[2:])]
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)


def test_real_files_are_trained_on_without_the_network(tmp_path):
    write_cifar100(tmp_path / "somewhere", 50_000)
    pack(tmp_path / "somewhere")
    done = run(CIFAR100, "--data=real", "--data_dir=somewhere", *SHORT, cwd=tmp_path, SMALL_NETWORK="1")
    assert done.returncode == 0, done.stderr
    assert "SYNTHETIC" not in done.stderr
    assert done.stderr.count("does not match CIFAR100's checksums") == 1
    path = the_csv(tmp_path)
    assert path.name.endswith("_CIFAR100_resnet50_32_pytorch_results.csv")
    assert [(row["status"], row["data"]) for row in rows(path)] == [("ok", "real")]
    assert [row["data_checksum"] for row in rows(path)] == ["mismatch"]
    left = {path.name for path in (tmp_path / "somewhere").iterdir()}
    assert left == {"cifar-100-python", "cifar-100-python.tar.gz"}


def test_a_truncated_archive(tmp_path):
    write_cifar100(tmp_path, 5000)
    archive = pack(tmp_path)
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    with pytest.raises(DataUnavailable, match=r"cifar-100-python\.tar\.gz is broken") as caught:
        script.load_data(real(tmp_path))
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["cifar-100-python.tar.gz"]


def test_two_runs_unpack_one_archive(tmp_path, monkeypatch):
    """The other run was faster: its folder is there when ours is to be put in its place."""
    folder = write_cifar100(tmp_path, 100)
    pack(tmp_path, keep=True)
    folder.rename(tmp_path / "of the other run")
    unpack = cifar100.unpack

    def meanwhile(*arguments):
        (tmp_path / "of the other run").rename(folder)
        return unpack(*arguments)

    monkeypatch.setattr(cifar100, "unpack", meanwhile)
    cifar100.fetch_cifar100(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cifar-100-python", "cifar-100-python.tar.gz"]


def test_no_real_data_and_no_network(tmp_path):
    start = time.monotonic()
    done = run(CIFAR100, "--data=real", *SHORT, cwd=tmp_path)
    assert time.monotonic() - start < 60
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "www.cs.toronto.edu cannot be reached" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_checksums_that_match_are_not_mentioned(tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR100 as Torchvisions
    from torchvision.datasets.utils import calculate_md5

    folder = write_cifar100(tmp_path, 200)
    for table, name in (("train_list", "train"), ("test_list", "test")):
        monkeypatch.setattr(Torchvisions, table, [[name, calculate_md5(folder / name)]])
    monkeypatch.setattr(Torchvisions, "meta", Torchvisions.meta | {"md5": calculate_md5(folder / "meta")})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        images, labels = script.load_data(real(tmp_path))
    assert (tuple(images.shape), str(images.dtype)) == ((200, 3, 32, 32), "torch.uint8")
    assert images[:, 2, 31, 31].tolist() == list(range(200))
    assert labels.tolist() == [number % 100 for number in range(200)]


def spoil_nothing(folder):
    (folder / "train").unlink()


def spoil_the_pickle(folder):
    (folder / "train").write_bytes((folder / "train").read_bytes()[:1000])


def spoil_the_labels(folder):
    content = pickle.loads((folder / "train").read_bytes())
    content["fine_labels"][0] = 100
    (folder / "train").write_bytes(pickle.dumps(content))


def spoil_the_images(folder):
    content = pickle.loads((folder / "train").read_bytes())
    content["data"] = content["data"][:, :1000]
    (folder / "train").write_bytes(pickle.dumps(content))


@pytest.mark.parametrize("spoil", [spoil_nothing, spoil_the_pickle, spoil_the_labels, spoil_the_images])
def test_a_broken_folder_is_one_sentence(tmp_path, spoil):
    spoil(write_cifar100(tmp_path, 200))
    with pytest.raises(DataUnavailable, match="cifar-100-python is") as caught:
        script.load_data(real(tmp_path))
    assert "\n" not in str(caught.value)


def test_the_stand_in_is_as_large_as_the_real_one():
    images, labels = script.load_data(parse(script.EXPERIMENT, "", []).changed(data="synthetic"))
    assert (tuple(images.shape), str(images.dtype)) == ((50_000, 3, 32, 32), "torch.uint8")
    assert (len(labels), int(labels.min()), int(labels.max())) == (50_000, 0, 99)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a listening backlog that nobody serves")
def test_a_server_that_never_answers_is_found_out_within_seconds():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.monotonic()
        with pytest.raises(DataUnavailable, match=r"127\.0\.0\.1 cannot be reached"):
            require_network(f"http://127.0.0.1:{silent.getsockname()[1]}/file")
        assert time.monotonic() - start < 15
