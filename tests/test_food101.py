"""ResNet50 on Food101: worker processes, decoding, and the hub's own path on a hub of the tests."""

import time

import psutil
import pytest

import pytorch_test_computer_vision_food101 as script
from speed_test.clock import Clock
from speed_test.command_line import parse
from speed_test.frameworks import pytorch
from tests.conftest import ROOT, rows, run, the_csv
from tests.hub import Hub, make_food101

pytestmark = pytest.mark.frameworks

# Without a proxy, and with a network that costs nothing: what is tested is the way of the images to it.
SMALL = {"no_proxy": "127.0.0.1", "SMALL_NETWORK": "1"}
FOOD101 = ROOT / "pytorch_test_computer_vision_food101.py"


def options(*arguments, data="synthetic"):
    return parse(script.EXPERIMENT, "", list(arguments), script.add_options).changed(data=data, device="cpu")


@pytest.fixture
def small_network(monkeypatch):
    """A network that costs nothing in place of ResNet50: what is tested is the way of the images to it."""
    import torch
    import torchvision

    def small(num_classes):
        return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, num_classes))

    monkeypatch.setattr(torchvision.models, "resnet50", small)


def test_resnet50_has_torchvisions_parameters():
    import torchvision

    model = torchvision.models.resnet50(num_classes=script.CLASSES)
    assert sum(parameter.numel() for parameter in model.parameters()) == 23_714_981


def test_the_stand_in_offline(tmp_path):
    arguments = ("--epochs=1", "--batch_sizes=2", "--max_steps=2")
    done = run(FOOD101, *arguments, cwd=tmp_path, SMALL_NETWORK="1")  # ResNet50 itself trains in test_cifar100.py
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("SYNTHETIC DATA, not FOOD101: huggingface.co cannot be reached") == 1
    path = the_csv(tmp_path)
    assert path.parent.name == "results_pytorch_cv"
    assert path.name.endswith("_FOOD101_resnet50_224_pytorch_synthetic_results.csv")
    found = [(row["batch_size"], row["status"], row["estimated"], row["measured_samples"]) for row in rows(path)]
    assert found == [("2", "ok", "True", "4")]


def test_the_stand_in_is_a_thousand_different_jpegs_like_food101s(monkeypatch):
    samples = script.synthetic_jpegs()
    monkeypatch.setattr(script, "synthetic_jpegs", lambda: samples)
    jpegs = [sample["image"]["bytes"] for sample in samples]
    assert len(set(jpegs)) >= 1000
    assert all(jpeg.startswith(b"\xff\xd8\xff") for jpeg in jpegs)
    assert 45_000 < sum(map(len, jpegs)) / len(jpegs) < 60_000
    assert len(script.load_data(options())) == 75_750


def test_real_images_from_the_hub_and_again_without_it(tmp_path):
    make_food101(tmp_path / "hub", images=5)
    arguments = ("--data=real", "--epochs=1", "--batch_sizes=2")
    with Hub(tmp_path / "hub") as hub:
        first = run(FOOD101, *arguments, "--num_workers=2", cwd=tmp_path, HF_ENDPOINT=hub.url, **SMALL)
        assert hub.requests
    again = run(FOOD101, *arguments, "--num_workers=0", cwd=tmp_path, HF_ENDPOINT=hub.url, **SMALL)
    for done in (first, again):
        assert done.returncode == 0, done.stderr
        assert "SYNTHETIC" not in done.stderr
    path = the_csv(tmp_path)
    assert path.name.endswith("_FOOD101_resnet50_224_pytorch_results.csv")
    # A grayscale and a CMYK file are among the five.
    found = [(row["status"], row["data"], row["estimated"], row["measured_samples"]) for row in rows(path)]
    assert found == [("ok", "real", "True", "5")] * 2


def test_an_image_that_cannot_be_decoded_is_named(tmp_path):
    make_food101(tmp_path / "hub", images=6, broken=True)
    arguments = ("--data=real", "--epochs=1", "--batch_sizes=2", "--num_workers=1")
    with Hub(tmp_path / "hub") as hub:
        done = run(FOOD101, *arguments, cwd=tmp_path, HF_ENDPOINT=hub.url, **SMALL)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    (row,) = rows(the_csv(tmp_path))
    assert row["status"] == "failed"
    assert ".jpg cannot be decoded" in row["error"]


class Numbered:
    """Images that carry their number as label; `seconds` is what decoding one takes."""

    def __init__(self, samples, seconds=0.0):
        self.samples, self.seconds = samples, seconds

    def __len__(self):
        return self.samples

    def __getitem__(self, index):
        import torch

        time.sleep(self.seconds)
        return torch.full((3, 8, 8), index % 256, dtype=torch.uint8), index % 101


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("batch_size", [7, 10, 64])
def test_an_epoch_has_every_image_once_and_leaves_no_worker(scratch, monkeypatch, small_network, workers, batch_size):
    monkeypatch.setattr(script, "load_data", lambda options: Numbered(100))
    seen, processes = [], []
    before = {child.pid for child in psutil.Process().children()}
    epochs = script.training(batch_size, options(f"--num_workers={workers}"))
    assert epochs.samples == 100
    next(iter(epochs.batches()))  # as the clock does before its warm-up
    for _ in range(2):
        seen.append([number for images, labels in epochs.batches() for number in labels.tolist()])
        processes.append({child.pid for child in psutil.Process().children()})
    del epochs
    assert [sorted(epoch) for epoch in seen] == [list(range(100))] * 2
    assert seen[0] != seen[1]
    assert processes[0] == processes[1]
    assert len(processes[0] - before) >= workers
    time.sleep(0.5)
    assert {child.pid for child in psutil.Process().children()} & (processes[0] - before) <= trackers()


def trackers():
    """multiprocessing's own helper, which lives as long as the process."""
    from multiprocessing import resource_tracker

    return {resource_tracker._resource_tracker._pid}


def test_data_wait_rises_by_what_a_slow_decoder_loses(scratch, monkeypatch, small_network):
    monkeypatch.setattr("speed_test.clock.COMPUTE_SECONDS", 0.01)

    def data_wait(seconds):
        monkeypatch.setattr(script, "load_data", lambda options: Numbered(60, seconds))
        sent: dict = {}
        given = options("--epochs=1", "--num_workers=0")
        clock = Clock(script.EXPERIMENT, given, 20, pytorch, sent.__setitem__)
        clock.time_epochs(script.training(20, given))
        return sent["held"]["data_wait_seconds"], sent["held"]["measured_seconds"]

    lost = 60 * 0.01
    wait, measured = data_wait(0.01)
    assert lost <= wait <= measured  # counted once
    assert data_wait(0.0)[0] < lost / 2


class Strategy:
    """What a worker process does with the memory of its tensors."""

    def __len__(self):
        return 1

    def __getitem__(self, index):
        import torch

        return torch.multiprocessing.get_sharing_strategy()


def test_spawned_workers_share_by_files():
    """As on macOS: what the parent has set is not passed on to them."""
    import torch

    options = {"num_workers": 1, "multiprocessing_context": "spawn", "worker_init_fn": script.share_by_files}
    assert list(torch.utils.data.DataLoader(Strategy(), **options)) == [["file_system"]]
