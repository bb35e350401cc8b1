"""The clock: what it waits for, what it counts, what it scales up."""

import itertools
import time
from types import SimpleNamespace

import pytest

import pytorch_test_computer_vision_cifar100 as script
from speed_test import Epochs, Experiment, Repeats, clock, pieces, screen
from speed_test.clock import Clock
from speed_test.command_line import parse
from speed_test.frameworks import pytorch
from tests.conftest import run

EXPERIMENT = Experiment("pytorch", "tiny", "NOISE", 4, 50, "vectors", "results_tiny", 1, (8,))


class Batch:
    """Stands for a tensor: only its length and its slices matter to the clock."""

    def __init__(self, samples):
        self.samples = list(samples)

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, part):
        return Batch(self.samples[part])


class Trainer:
    """A device, a loader and a step that write down what is done to them."""

    def __init__(self, batch_size, samples=50, step_seconds=0.0, load_seconds=0.0):
        self.batch_size, self.samples = batch_size, samples
        self.step_seconds, self.load_seconds = step_seconds, load_seconds
        self.log = []

    def wait(self, device):
        self.log.append(("wait", device))

    def peak_memory_gb(self, device):
        return None

    def cpu_fallback(self):
        return None

    def count_flop(self, step, batch):
        return None

    def batches(self):
        for first in range(0, self.samples, self.batch_size):
            time.sleep(self.load_seconds)
            yield (Batch(range(first, min(first + self.batch_size, self.samples))),)

    def step(self, batch):
        time.sleep(self.step_seconds)
        self.log.append(("step", batch.samples))
        return 2.0

    def rewind(self):
        self.log.append(("rewind", None))

    def time(self, monkeypatch, *arguments):
        """Run one batch size; return its messages, and what was logged from the rewind on."""
        monkeypatch.setattr(clock, "COMPUTE_SECONDS", 0.01)
        monkeypatch.setattr(clock, "BLOCK_SECONDS", 0.001)
        options = parse(EXPERIMENT, "", [*arguments, f"--batch_sizes={self.batch_size}", "--device=cpu"])
        sent = []
        watch = Clock(EXPERIMENT, options, self.batch_size, self, lambda kind, content: sent.append((kind, content)))
        watch.time_epochs(Epochs(self.step, self.batches, self.samples, self.rewind))
        return sent, self.log[self.log.index(("rewind", None)) + 1 :]


@pytest.mark.parametrize("batch_size", [1, 7, 8, 25, 49, 50])
def test_an_epoch_is_every_sample_once_between_two_waits(scratch, monkeypatch, batch_size):
    sent, log = Trainer(batch_size).time(monkeypatch, "--epochs=2")
    assert [kind for kind, _ in sent] == ["rate", "begin", "row", "begin", "held"]
    half = len(log) // 2
    assert log[:half] == log[half:]
    assert log[0][0] == log[half - 1][0] == "wait"
    assert all(kind == "step" for kind, _ in log[1 : half - 1])
    assert list(itertools.chain(*(samples for _, samples in log[1 : half - 1]))) == list(range(50))
    row = sent[2][1]
    assert row["estimated"] is False
    assert row["measured_samples"] == 50
    assert row["epoch_seconds"] == row["measured_seconds"] == pytest.approx(50 / row["samples_per_second"])
    assert row["train_loss"] == pytest.approx(2.0)


def test_warm_up_has_every_shape_of_the_epoch(scratch, monkeypatch):
    for arguments, shapes in (([], {8, 2}), (["--max_steps=6"], {8}), (["--max_steps=7"], {8, 2})):
        trainer = Trainer(8)
        trainer.time(monkeypatch, *arguments)
        before = trainer.log[: trainer.log.index(("rewind", None))]
        assert {len(samples) for kind, samples in before if kind == "step"} == shapes


def test_max_steps_scales_the_epoch_up(scratch, monkeypatch):
    sent, log = Trainer(8).time(monkeypatch, "--max_steps=3", "--epochs=1")
    row = sent[-1][1]
    assert len([kind for kind, _ in log if kind == "step"]) == 3
    assert (row["estimated"], row["measured_samples"]) == (True, 24)
    assert row["epoch_seconds"] == pytest.approx(row["measured_seconds"] * 50 / 24)


def test_time_limit_ends_an_epoch_early(scratch, monkeypatch):
    trainer = Trainer(1, step_seconds=0.02)
    sent, _ = trainer.time(monkeypatch, "--time_limit=0.2", "--epochs=1")
    row = sent[-1][1]
    assert row["estimated"] is True
    assert 0.2 <= row["measured_seconds"] < 1
    assert row["epoch_seconds"] == pytest.approx(row["measured_seconds"] * 50 / row["measured_samples"])


def test_fewer_real_samples_than_the_data_set_has_are_an_estimate(scratch, monkeypatch):
    sent, _ = Trainer(8, samples=20).time(monkeypatch, "--epochs=1")
    row = sent[-1][1]
    assert (row["estimated"], row["measured_samples"]) == (True, 20)
    assert row["epoch_seconds"] == pytest.approx(row["measured_seconds"] * 50 / 20)


def test_less_than_one_batch_of_real_samples_is_no_row(scratch, monkeypatch):
    with pytest.raises(ValueError, match="5 samples, fewer than a batch"):
        Trainer(8, samples=5).time(monkeypatch, "--epochs=1")


def test_data_wait_is_what_the_loader_took(scratch, monkeypatch):
    sent, _ = Trainer(10, load_seconds=0.05).time(monkeypatch, "--epochs=1")
    row = sent[-1][1]
    assert 0.25 <= row["data_wait_seconds"] <= row["measured_seconds"]
    sent, _ = Trainer(10, step_seconds=0.05).time(monkeypatch, "--epochs=1")
    assert sent[-1][1]["data_wait_seconds"] < 0.2  # the steps take 0.25 s


def test_the_compute_limit_is_the_rate_of_the_bare_step(scratch, monkeypatch):
    sent, _ = Trainer(10, step_seconds=0.05, load_seconds=0.05).time(monkeypatch, "--epochs=1")
    row = sent[-1][1]
    assert sent[0] == ("rate", row["compute_samples_per_second"])
    assert 100 < row["compute_samples_per_second"] <= 200
    assert row["samples_per_second"] <= 100


def test_peak_memory_counts_this_process(tmp_path):
    """In a process of its own: the peak of this one may lie anywhere."""
    program = tmp_path / "peak.py"
    program.write_text(
        "from speed_test.frameworks.base import process_peak_memory_gb\n"
        "before = process_peak_memory_gb()\n"
        "block = bytearray(b'x') * 2**28\n"
        "print(process_peak_memory_gb() - before)\n"
    )
    assert 0.2 < float(run(program, cwd=tmp_path).stdout) < 0.6


@pytest.mark.frameworks
def test_rewind_leaves_no_trace_of_warm_up():
    import torch

    def losses(extra_steps):
        torch.manual_seed(1)
        model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4), torch.nn.Dropout(0.5))
        optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
        data = torch.rand(16, 4, generator=torch.Generator().manual_seed(2))
        rewind = pytorch.rewind_of(model, optimizer)

        def step():
            loss = model(data).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss.item()

        for _ in range(extra_steps):
            step()
        rewind()
        return [step() for _ in range(4)]

    assert losses(3) == losses(11)
    assert len(set(losses(3))) == 4


@pytest.mark.frameworks
def test_resnet50_has_torchvisions_parameters():
    import torchvision

    model = torchvision.models.resnet50(num_classes=script.CLASSES)
    assert sum(parameter.numel() for parameter in model.parameters()) == 23_712_932


@pytest.mark.frameworks
def test_cifar100_batches_have_every_image_once_in_a_new_order_each_epoch(scratch, monkeypatch):
    """The script's own loader, over images that carry their number; its step never runs."""
    import torch

    numbers = torch.arange(1000)
    images = torch.zeros(1000, 3, 32, 32, dtype=torch.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = numbers // 256, numbers % 256
    monkeypatch.setattr(script, "load_data", lambda options: (images, numbers % 100))
    epochs = script.training(64, parse(EXPERIMENT, "", []).changed(device="cpu"))
    assert epochs.samples == 1000
    orders = []
    for epoch in [list(epochs.batches()) for _ in range(2)]:
        assert [len(batch) for batch, _ in epoch] == [64] * 15 + [40]
        found = torch.cat([batch[:, 0, 0, 0].long() * 256 + batch[:, 0, 0, 1] for batch, _ in epoch])
        assert torch.equal(found.sort().values, numbers)
        assert torch.equal(found % 100, torch.cat([labels for _, labels in epoch]))
        orders.append(found.tolist())
    assert orders[0] != orders[1]


# ---- Repeats: pieces of work that are no epochs ----


class Idle:
    """A framework whose device is never busy; it writes down when it is waited for."""

    def __init__(self):
        self.log = []

    def wait(self, device):
        self.log.append("wait")

    def peak_memory_gb(self, device):
        return 1.5

    def cpu_fallback(self):
        return "sort"


def time_repeats(repeats, experiment=EXPERIMENT):
    """What the clock sends, and what was done in which order."""
    framework, sent = Idle(), []
    options = parse(experiment, "", ["--device=cpu"])
    watch = Clock(experiment, options, None, framework, lambda kind, content: sent.append((kind, content)))
    watch.time_repeats(repeats(framework.log))
    return sent, framework.log


def test_each_thing_that_a_piece_of_work_yields_has_its_time(scratch):
    def repeats(log):
        def work(item):
            log.append(item)
            for token in range(3):
                time.sleep(0.02)
                yield token
            time.sleep(0.04)

        def row(item, yielded, seconds):
            return {"question": item, "answer": yielded, "seconds": seconds}

        return Repeats(work, ["a", "b"], row=row, rewind=lambda: log.append("rewind"), line=lambda row: row["question"])

    sent, log = time_repeats(repeats)
    assert [kind for kind, _ in sent] == ["begin", "row", "say", "begin", "row", "say"]
    assert [text for kind, text in sent if kind == "say"] == ["a", "b"]
    # The warm-up works on the first item; the rewind is outside the two waits that the clock stands between.
    assert log == ["rewind", "a", "wait", *["rewind", "wait", "a", "wait"], *["rewind", "wait", "b", "wait"]]
    for (_, row), question in zip([message for message in sent if message[0] == "row"], "ab", strict=True):
        assert (row["question"], row["answer"], row["status"], row["peak_memory_gb"]) == (
            question,
            [0, 1, 2],
            "ok",
            1.5,
        )
        first, second, third, end = row["seconds"]
        assert 0.02 <= first < second < third < end
        assert end - third >= 0.04


def test_a_piece_of_work_without_a_row_of_its_own_is_an_epoch(scratch):
    sent, _ = time_repeats(lambda log: Repeats(lambda item: time.sleep(0.05), [1, 2]))
    rows = [row for kind, row in sent if kind == "row"]
    assert [row["epoch"] for row in rows] == [1, 2]
    for row in rows:
        assert row["epoch_seconds"] == row["measured_seconds"] >= 0.05
        assert row["samples_per_second"] == pytest.approx(50 / row["epoch_seconds"])
        assert (row["estimated"], row["measured_samples"], row["started_at"][:2]) == (False, 50, "20")
        assert row["warmup_seconds"] >= 0.05
    figure = screen.number(rows[0]["epoch_seconds"])
    assert next(text for kind, text in sent if kind == "say").startswith(f"epoch 1 of 2: {figure} seconds per epoch")


def test_a_resumed_test_does_not_repeat_what_a_budget_has_made_shorter(scratch):
    """Answers of 50 tokens in place of 500 have been given; without --budget they are another measurement."""
    done = frozenset({("a", "1", "50"), ("b", "1", "500")})
    repeats = Repeats(lambda item: None, [("a", 1, 500), ("b", 1, 500), ("c", 1, 500)], fit=lambda most: most)
    for pace, left in ((object(), "c"), (None, "ac")):
        watch = SimpleNamespace(pace=pace, options=SimpleNamespace(done=done))
        assert "".join(item[0] for _, item in pieces.items_left(watch, repeats)) == left


def test_warm_up_stops_after_so_many_things(scratch):
    def repeats(log):
        def work(item):
            for number in range(40):
                log.append(number)
                yield number

        return Repeats(work, ["a"], warm_up_yields=3)

    _, log = time_repeats(repeats)
    assert log == [0, 1, 2, "wait", "wait", *range(40), "wait"]
