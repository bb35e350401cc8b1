"""The TensorFlow scripts as a user runs them, and what their clock sees of `model.fit`.

TensorFlow lives in child processes only: one that has imported torchvision as well may abort.
"""

import json
import math
import os
import pickle
import signal
import sys
import tarfile
from types import SimpleNamespace

import numpy
import psutil
import pytest

import tensorflow_test_computer_vision_cifar100
import tensorflow_test_nlp
from speed_test import machine
from speed_test.command_line import parse
from speed_test.data.sources import DataUnavailable
from speed_test.frameworks import tensorflow
from speed_test.results import COLUMNS
from tests.conftest import ROOT, rows, run, start, the_csv
from tests.test_cifar100 import write_cifar100
from tests.test_sweep import status_of, wait_for

CIFAR100 = ROOT / "tensorflow_test_computer_vision_cifar100.py"
FOOD101 = ROOT / "tensorflow_test_computer_vision_food101.py"
NLP = ROOT / "tensorflow_test_nlp.py"
FILES = ROOT / "tests" / "tensorflow_files.py"
BAD_ENDS = ROOT / "tests" / "tensorflow_bad_ends.py"

pytestmark = pytest.mark.frameworks

SHORT = ("--epochs=1", "--batch_sizes=2", "--max_steps=2")


@pytest.mark.parametrize(
    ("script", "file", "host", "network"),
    [
        (CIFAR100, "results_tensorflow_cv/*_CIFAR100_ResNet50_32_*", "cs.toronto.edu", {}),
        (FOOD101, "results_tensorflow_cv/*_FOOD101_ResNet50_224_*", "vision.ee.ethz.ch", {"SMALL_NETWORK": "1"}),
        (NLP, "results_tensorflow_nlp/*_IMDB_SmallTransformer_200_*", "googleapis.com", {}),
    ],
    ids=["CIFAR100", "Food101", "IMDB"],
)
def test_the_stand_in_offline(tmp_path, script, file, host, network):
    """ResNet50 itself trains in one of the two scripts that have it; `test_models_and_pipelines` sees both."""
    arguments = ("--epochs=2", "--batch_sizes=2", "--max_steps=2", "--device=cpu")
    done = run(script, *arguments, cwd=tmp_path, **network)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("\n") == done.stderr.count("WARNING: ") == done.stderr.count(f"{host} cannot be reached")
    assert "SYNTHETIC DATA" in done.stderr
    (path,) = (tmp_path / "results").glob(f"{file}tensorflow_synthetic_results.csv")
    found = rows(path)
    assert list(found[0]) == list(COLUMNS)
    assert [(row["batch_size"], row["epoch"]) for row in found] == [("2", "1"), ("2", "2")]
    for row in found:
        assert (row["status"], row["data"], row["estimated"]) == ("ok", "synthetic", "True")
        assert (row["framework"], row["precision"]) == ("tensorflow", "float32")
        assert (row["compiled"], row["tf32"]) == ("False", "False")
        assert row["measured_samples"] == "4"
        assert math.isfinite(float(row["train_loss"]))
        assert 0 < float(row["data_wait_seconds"]) < float(row["measured_seconds"])
        assert float(row["peak_memory_gb"]) > 0.2
        assert (row["num_processes"], row["num_nodes"], row["global_batch_size"]) == ("1", "1", "2")
        share = float(row["tflops"]) / float(row["matmul_tflops"])
        # A network that costs nothing has a share that is rounded to 0.
        assert network or share > 0
        assert float(row["matmul_share"]) == pytest.approx(share, rel=0.01, abs=1e-5)


def test_a_device_that_is_not_there(tmp_path):
    done = run(NLP, "--device=mps", "--data=synthetic", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "--device=mps: TensorFlow 2" in done.stderr


@pytest.fixture(scope="module")
def facts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("facts")
    done = run(ROOT / "tests" / "tensorflow_facts.py", cwd=folder)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "facts.json").read_text())


@pytest.mark.parametrize(
    ("script", "parameters"), [(CIFAR100, 23_792_612), (FOOD101, 23_794_661), (NLP, 3_163_394)], ids=lambda value: value
)
def test_models_and_pipelines(facts, script, parameters):
    found = facts[script.stem]
    assert (found["parameters"], found["samples"]) == (parameters, 50)
    for epoch in found["epochs"]:
        assert [len(batch) for batch in epoch] == [7, 7, 7, 7, 7, 7, 7, 1]
        samples = [tuple(sample) for batch in epoch for sample in batch]
        assert sorted(samples) == [(number, number) for number in range(50)]
    assert found["epochs"][0] != found["epochs"][1]


def test_a_timed_epoch_has_every_sample_once_and_traces_nothing(facts):
    """With a batch size that does not divide the samples."""
    timed = facts["timed"]
    assert [kind for kind, _ in timed["log"]] == ["traced", "rate", "seen", "row", "seen", "row", "seen", "row", "seen"]
    assert [seen for kind, seen in timed["log"] if kind == "seen"][1:] == [list(range(50))] * 3
    assert [row["epoch"] for row in timed["rows"]] == [1, 2, 3]
    assert all(row["measured_samples"] == 50 for row in timed["rows"])


def test_warm_up_leaves_no_trace(facts):
    assert facts["timed"]["rewound"]
    losses = [row["train_loss"] for row in facts["timed"]["rows"]]
    assert losses == sorted(losses, reverse=True)
    assert len(set(losses)) == 3


def test_fit_with_a_budget(facts):
    """Whole epochs if they fit, else a part of one that leaves time for the compute limit after it."""
    kinds = [kind for kind, _ in facts["whole"]["sent"]]
    assert kinds == ["rate", "plan", "row", "row", "held", "rest"]
    rows = [row for kind, row in facts["whole"]["sent"] if kind in ("row", "held")]
    assert [(row["epoch"], row["estimated"]) for row in rows] == [(1, False), (2, False), (3, False)]

    part = facts["part"]
    assert [kind for kind, _ in part["sent"]] == ["rate", "plan", "held", "rest"]
    _, (_, plan), (_, row), (_, rest) = part["sent"]
    assert plan["epochs"] == 1
    assert row["estimated"]
    assert 7 <= row["measured_samples"] <= 58 * 7  # in 6 s; all 70 steps take 7 s
    assert rest["compute_samples_per_second_after"] <= 70
    assert 4 < part["seconds"] < 9


# ---- Real data, in files of their real formats ----


def test_real_cifar100(tmp_path):
    home = tmp_path / "keras home"
    folder = write_cifar100(tmp_path, 50_000)
    for file in folder.iterdir():  # Keras reads them as bytes, as Python 2 has written them
        content = pickle.loads(file.read_bytes())
        file.write_bytes(pickle.dumps({name.encode(): value for name, value in content.items()}, protocol=3))
    (home / "datasets").mkdir(parents=True)
    archive = home / "datasets" / "cifar-100-python-target_archive"
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        tar.add(folder, folder.name)
    done = run(
        FILES, "--data=real", *SHORT, cwd=tmp_path, SCRIPT=CIFAR100.stem, KERAS_HOME=str(home), SMALL_NETWORK="1"
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert the_csv(tmp_path).name.endswith("_CIFAR100_ResNet50_32_tensorflow_results.csv")
    assert [(row["status"], row["data"]) for row in rows(the_csv(tmp_path))] == [("ok", "real")]


def test_real_imdb(tmp_path):
    reviews = numpy.array([list(range(1, 10 + number % 300)) for number in range(25_000)], dtype=object)
    labels = numpy.arange(25_000) % 2
    (tmp_path / "data" / "keras" / "datasets").mkdir(parents=True)
    file = tmp_path / "data" / "keras" / "datasets" / "imdb.npz"
    numpy.savez(file, x_train=reviews, y_train=labels, x_test=reviews[:10], y_test=labels[:10])
    done = run(FILES, "--data=real", *SHORT, cwd=tmp_path, SCRIPT=NLP.stem)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert the_csv(tmp_path).name.endswith("_IMDB_SmallTransformer_200_tensorflow_results.csv")
    assert [(row["status"], row["data"]) for row in rows(the_csv(tmp_path))] == [("ok", "real")]


def test_real_food101(tmp_path):
    """As tfds keeps it; once whole, and once with a broken file."""
    made = run(FILES, "data/tensorflow_datasets", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    done = run(FOOD101, "--data=real", "--epochs=1", "--batch_sizes=2", cwd=tmp_path, SMALL_NETWORK="1")
    assert done.returncode == 0, done.stderr
    (row,) = rows(the_csv(tmp_path))
    assert (row["status"], row["data"], row["measured_samples"]) == ("ok", "real", "10")
    assert row["estimated"] == "True"
    (records,) = tmp_path.rglob("food101-train.tfrecord-*")
    records.write_bytes(records.read_bytes()[:100])
    done = run(FOOD101, "--data=real", "--epochs=1", "--batch_sizes=2", cwd=tmp_path, SMALL_NETWORK="1")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "food101 of tensorflow_datasets can be neither read nor downloaded" in done.stderr
    assert len(rows(the_csv(tmp_path))) == 1


@pytest.mark.parametrize(
    ("script", "file"),
    [(tensorflow_test_computer_vision_cifar100, "cifar-100-python-target_archive"), (tensorflow_test_nlp, "imdb.npz")],
    ids=["CIFAR100", "IMDB"],
)
def test_corrupt_files_of_keras(tmp_path, monkeypatch, script, file):
    """Keras itself, which may unpickle them, never sees them."""
    monkeypatch.setitem(sys.modules, "keras", None)  # importing it raises
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / file).write_bytes(b"not what it was")
    with pytest.raises(DataUnavailable, match=f"{file} is broken: it has another checksum") as caught:
        script.load_data(parse(script.EXPERIMENT, "", []).changed(data="real"))
    assert "\n" not in str(caught.value)


# ---- Failures ----


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_failures_are_rows_and_the_sweep_goes_on_until_ctrl_c(tmp_path):
    arguments = ("--data=synthetic", "--epochs=2", "--max_steps=2", "--batch_sizes=3, 4, 5, 8, 2")
    process = start(BAD_ENDS, *arguments, cwd=tmp_path)
    note = tmp_path / "stuck.pid"
    wait_for(lambda: note.exists() and note.read_text(), seconds=200)
    family = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in out + err
    assert "4 finished epochs are in" in out
    assert status_of(tmp_path) == [
        *[("3", "1", "ok"), ("3", "2", "failed")],
        *[("4", "1", "ok"), ("4", "2", "failed")],
        *[("5", "1", "ok"), ("5", "2", "out_of_memory")],
        *[("8", "", "skipped"), ("2", "1", "ok")],
    ]
    raised, killed, memory, _ = (row["error"] for row in rows(the_csv(tmp_path)) if row["status"] != "ok")
    assert raised.startswith("InvalidArgumentError: Unknown image file format")
    assert "SIGKILL" in killed
    assert memory.startswith("OOM when allocating tensor")
    assert not any("{{" in reason or "[Op:" in reason for reason in (raised, memory))
    wait_for(lambda: not any(member.is_running() for member in family), seconds=15)


# ---- What is not on this machine ----


def test_chatter_is_kept_off_the_screen_and_nothing_else(capfd):
    lines = [
        b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR",
        b"I0000 00:00:1795476718.823147   17926 port.cc:153] oneDNN custom operations are on.",
        b"2026-11-23 23:00:00.000000: I tensorflow/core/platform/cpu_feature_guard.cc:182] This TensorFlow binary",
        b"E0000 00:00:1795476725.743079   17926 cuda_platform.cc:52] failed call to cuInit: INTERNAL: CUDA error",
        b"E0000 00:00:1795476725.743079   17926 somewhere.cc:52] the GPU is on fire",
        b"Illegal instruction",
    ]
    with tensorflow._quiet():
        for line in lines:
            os.write(2, line + b"\n")
    assert capfd.readouterr().err.encode().splitlines() == lines[-2:]


def test_a_gpu_is_described_as_the_other_framework_describes_it(monkeypatch):
    class Config:
        experimental = SimpleNamespace(
            get_device_details=lambda gpu: {"device_name": "NVIDIA TITAN RTX", "compute_capability": (7, 5)},
            tensor_float_32_execution_enabled=lambda: True,
        )

        def get_visible_devices(self, kind):
            return ["the first"]

    fake = SimpleNamespace(__version__="2.21.0", config=Config())
    monkeypatch.setitem(sys.modules, "tensorflow", fake)
    monkeypatch.setattr(tensorflow, "start", lambda device: None)
    monkeypatch.setattr(tensorflow, "nvidia_gpu", lambda: ("NVIDIA TITAN RTX", 72, 25_386_352_640))
    monkeypatch.setattr(tensorflow.platform, "system", lambda: "Linux")
    device = tensorflow.describe_device("auto")
    assert (device.type, device.name, device.gpu_cores, device.tf32) == ("cuda", "NVIDIA TITAN RTX", 72, False)
    Config.experimental.get_device_details = lambda gpu: {"device_name": "NVIDIA L4", "compute_capability": (8, 9)}
    assert tensorflow.describe_device("cuda").tf32 is True
    monkeypatch.setattr(tensorflow.platform, "system", lambda: "Darwin")
    assert tensorflow.describe_device("auto").type == "mps"


def test_a_mac_without_metal_is_told_what_to_install(monkeypatch):
    config = SimpleNamespace(get_visible_devices=lambda kind: [])
    monkeypatch.setitem(sys.modules, "tensorflow", SimpleNamespace(__version__="2.18.1", config=config))
    monkeypatch.setattr(tensorflow, "start", lambda device: None)
    monkeypatch.setattr(tensorflow.platform, "system", lambda: "Darwin")
    monkeypatch.setattr(tensorflow.platform, "machine", lambda: "arm64")
    device = tensorflow.describe_device("auto")
    assert device.type == "cpu"
    assert "pip install tensorflow==2.18.1 tensorflow-metal==1.2.0" in machine.idle_gpu(device)
