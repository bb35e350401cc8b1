"""DistilBERT on IMDB: what is trained and what is not, and the hub's own path on a hub of the tests."""

import errno
import os
import pickle
from dataclasses import replace
from pathlib import Path

import pytest

import pytorch_test_nlp as script
from speed_test.command_line import parse
from speed_test.data.kept import kept_tensors
from speed_test.data.sources import DataUnavailable
from tests.conftest import ROOT, rows, run, the_csv
from tests.hub import Hub, make_accuracy, make_distilbert, make_imdb
from tests.test_strangers_data import Payload

pytestmark = pytest.mark.frameworks

NLP = ROOT / "pytorch_test_nlp.py"


def options(*arguments):
    return parse(script.EXPERIMENT, "", list(arguments), script.add_options).changed(data="synthetic", device="cpu")


def test_the_stand_in_offline(tmp_path):
    done = run(NLP, "--epochs=1", "--batch_sizes=1", "--max_steps=2", "--evaluate", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("SYNTHETIC DATA, not IMDB: huggingface.co cannot be reached") == 1
    assert done.stdout.count("no accuracy") == 1
    path = the_csv(tmp_path)
    assert path.parent.name == "results_pytorch_nlp"
    assert path.name.endswith("_IMDB_distilbert-base-uncased_512_pytorch_synthetic_results.csv")
    found = [(row["batch_size"], row["status"], row["estimated"], row["measured_samples"]) for row in rows(path)]
    assert found == [("1", "ok", "True", "2")]


def test_real_reviews_from_the_hub_and_again_without_it(tmp_path):
    make_imdb(tmp_path / "hub", reviews=10)
    make_distilbert(tmp_path / "hub", n_layers=2, dim=32, hidden_dim=64, n_heads=2)
    arguments = ("--data=real", "--epochs=1", "--batch_sizes=4", "--evaluate")
    make_accuracy(tmp_path / "hub")
    with Hub(tmp_path / "hub") as hub:
        first = run(NLP, *arguments, cwd=tmp_path, HF_ENDPOINT=hub.url, no_proxy="127.0.0.1")
        assert hub.requests
    again = run(NLP, *arguments, cwd=tmp_path, HF_ENDPOINT=hub.url, no_proxy="127.0.0.1")
    for done in (first, again):
        assert done.returncode == 0, done.stderr
        assert "SYNTHETIC" not in done.stderr
        assert done.stdout.count("of 10 test reviews right (evaluate's accuracy)") == 1
    path = the_csv(tmp_path)
    assert path.name.endswith("_IMDB_distilbert-base-uncased_512_pytorch_results.csv")
    assert [(row["status"], row["data"], row["measured_samples"]) for row in rows(path)] == [("ok", "real", "10")] * 2

    import torch

    kept = torch.load(tmp_path / "data" / "imdb_train_distilbert_512_tokens.pt")
    assert (tuple(kept["ids"].shape), kept["ids"].dtype, len(kept["labels"])) == ((10, 512), torch.int32, 10)
    assert (kept["ids"][:, 0] == 101).all()  # [CLS] of the real vocabulary
    assert (kept["ids"] == script.PAD).any()
    assert (kept["ids"][:, -1] != script.PAD).any()  # a review longer than 512 tokens


def test_the_stand_in_is_as_large_as_the_real_one_and_as_long():
    ids, labels = script.load_data(options())
    assert (tuple(ids.shape), tuple(labels.shape)) == ((25_000, 512), (25_000,))
    lengths = (ids != script.PAD).sum(dim=1)
    assert 200 < lengths.float().median() < 260
    assert 0.1 < (lengths == 512).float().mean() < 0.2
    assert int(ids.max()) < 30_522


def test_only_the_last_block_and_the_classifier_are_trained(scratch, monkeypatch):
    import torch

    tokens = torch.randint(1000, 2000, (3, script.TOKENS), dtype=torch.int32)
    monkeypatch.setattr(script, "load_data", lambda options: (tokens, torch.tensor([0, 1, 1])))
    models, graphs = [], []
    load_model = script.load_model

    def watched(given):
        models.append(load_model(given))
        last = models[0].distilbert.transformer.layer[-1]
        last.register_forward_pre_hook(lambda module, inputs: graphs.append(inputs[0].requires_grad))
        return models[0]

    monkeypatch.setattr(script, "load_model", watched)

    epochs = script.training(2, options())
    (model,) = models
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    trained = {name for name, value in model.named_parameters() if value.requires_grad}
    epochs.step(*next(iter(epochs.batches())))
    changed = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert changed == trained
    assert all(value.grad is None for name, value in model.named_parameters() if name not in trained)
    assert {name.split(".")[0] for name in trained} == {"distilbert", "pre_classifier", "classifier"}
    assert all(".layer.5." in name for name in trained if name.startswith("distilbert"))
    assert model.training
    parameters = list(models[0].parameters())
    assert sum(parameter.numel() for parameter in parameters) == 66_955_010
    assert sum(parameter.numel() for parameter in parameters if parameter.requires_grad) == 7_680_002
    assert graphs == [False]


@pytest.mark.parametrize("batch_size", [3, 7, 32])
def test_an_epoch_has_every_review_once(batch_size):
    import torch

    from speed_test.frameworks.pytorch import shuffled_batches

    numbers = torch.arange(50)
    batches = shuffled_batches(numbers, numbers * 2, batch_size=batch_size, seed=1)
    epochs = [list(batches()) for _ in range(2)]
    for epoch in epochs:
        assert [len(first) for first, _ in epoch][:-1] == [batch_size] * (len(epoch) - 1)
        assert torch.cat([first for first, _ in epoch]).sort().values.tolist() == list(range(50))
        assert all(torch.equal(first * 2, second) for first, second in epoch)
    assert not torch.equal(epochs[0][0][0], epochs[1][0][0])


@pytest.mark.parametrize("evaluates", [True, False], ids=["by evaluate", "by hand"])
def test_accuracy_is_the_share_of_right_answers(monkeypatch, evaluates):
    """Of a model that says 1 for every review whose first token is 1; so for 3 of these 4 it is right."""
    import torch

    ids = torch.tensor([[1, 5], [1, 6], [2, 7], [2, 8]])
    monkeypatch.setattr(script, "tokenised", lambda options, split: (ids, torch.tensor([1, 0, 0, 0])))

    class Model(torch.nn.Module):
        device = "cpu"

        def forward(self, input_ids, attention_mask):
            logits = torch.nn.functional.one_hot((input_ids[:, 0] == 1).long(), 2)
            return type("Output", (), {"logits": logits.float()})

    class Metric:
        def compute(self, predictions, references):
            return {"accuracy": (predictions == references).double().mean().item()}

    monkeypatch.setattr(script, "accuracy_metric", lambda: Metric() if evaluates else None)
    line = script.evaluation(Model(), 3, options().changed(data="real"))
    assert line.startswith("batch size 3: 75.0% of 4 test reviews right (")
    assert ("computed here" in line) is not evaluates


# ---- Kept tokens that somebody has changed ----


def right():
    """Ten reviews as `tokenised` keeps them."""
    import torch

    ids = torch.full((10, script.TOKENS), script.PAD, dtype=torch.int32)
    ids[:, :3] = torch.tensor([101, 2000, 102])
    return {"ids": ids, "labels": torch.arange(10) % 2}


def spoilt():
    import torch

    def but(**changes):
        return right() | changes

    ids, labels = right()["ids"], right()["labels"]
    yield from ({}, [], "text", {"ids": "text", "labels": "text"}, right()["ids"], but(ids=[[1]]))
    yield but(ids=ids[:3], labels=labels[:3])
    yield but(ids=ids[:, :100])
    yield but(ids=ids.long())
    yield but(ids=ids.float())
    yield but(ids=ids + script.WORDS)
    yield but(ids=ids - 1)
    yield but(ids=torch.zeros_like(ids))
    yield but(ids=ids.reshape(-1))
    yield but(labels=labels + 1)
    yield but(labels=labels - 1)
    yield but(labels=labels.int())
    yield but(labels=labels[:9])
    yield but(labels=labels.reshape(10, 1))
    yield but(labels=Payload(Path("was run")))


def test_tokens_that_are_not_right_are_made_anew(scratch, monkeypatch):
    import torch

    monkeypatch.setattr(script, "EXPERIMENT", replace(script.EXPERIMENT, samples=10))
    path, makes = scratch / "kept" / "tokens.pt", []

    def make():
        makes.append(path.exists())
        return right()

    def kept():
        found = kept_tensors(path, make, script.are_reviews)
        assert torch.equal(found["ids"], right()["ids"])
        assert torch.equal(found["labels"], right()["labels"])
        assert torch.equal(torch.load(path, weights_only=True)["ids"], right()["ids"])

    kept()
    kept()
    assert makes == [False]
    for number, content in enumerate(spoilt()):
        torch.save(content, path)
        kept()
        assert len(makes) == number + 2, content
    path.write_bytes(pickle.dumps(Payload(Path("was run"))))
    kept()
    assert not Path("was run").exists()
    assert os.listdir(scratch / "kept") == ["tokens.pt"]


def test_no_room_for_tokens_is_one_sentence(scratch, monkeypatch):
    import torch

    def refuse(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(torch, "save", refuse)
    with pytest.raises(DataUnavailable, match=r"tokens\.pt cannot be written \(No space left on device\); make room"):
        kept_tensors(scratch / "tokens.pt", right, script.are_reviews)
    assert os.listdir(scratch) == []
