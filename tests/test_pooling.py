"""Which figures are pooled, and which are different tests or different kinds of figures."""

import pytest

from speed_test.results import GENERATION_COLUMNS
from tests.made_csvs import cells_of, generation_row, training_row, write


def test_another_model_on_the_same_data_set_is_another_test(tmp_path):
    rows = [training_row(epoch_seconds=100.0), training_row(epoch_seconds=1.0, model="MLP")]
    cells, notes = cells_of(write(tmp_path / "two_models.csv", rows))
    assert notes == []
    assert [(cell["test"], cell["title"], cell["chart"], cell["median"]) for cell in cells.to_dict("records")] == [
        ("pytorch_cifar100", "ResNet50 on CIFAR100, PyTorch", "pytorch_cv_resnet50_cifar100", 100.0),
        ("pytorch_MLP_CIFAR100_32", "MLP on CIFAR100, PyTorch", "pytorch_MLP_CIFAR100_32", 1.0),
    ]


@pytest.mark.parametrize(
    ("cells", "title"),
    [
        ({"input_size": 64}, "resnet50 on CIFAR100, PyTorch, input size 64"),
        ({"dataset": "CIFAR10"}, "resnet50 on CIFAR10, PyTorch"),
        ({"framework": "jax"}, "resnet50 on CIFAR100, JAX"),
        ({"framework": "abacus"}, "resnet50 on CIFAR100, abacus"),
        ({"experiment": "mine"}, "resnet50 on CIFAR100, PyTorch, mine"),
        ({"unit": "s / epoch"}, "resnet50 on CIFAR100, PyTorch, s / epoch"),
        ({"figure": "measured_seconds"}, "resnet50 on CIFAR100, PyTorch, measured_seconds"),
        ({"better": "higher"}, "resnet50 on CIFAR100, PyTorch, higher is better"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_tells_two_tests_apart(tmp_path, cells, title):
    rows = [training_row(epoch_seconds=100.0), training_row(epoch_seconds=1.0, **cells)]
    found, _ = cells_of(write(tmp_path / "two_tests.csv", rows))
    assert list(found["title"]) == ["ResNet50 on CIFAR100, PyTorch", title]
    assert list(found["count"]) == [1, 1]
    assert found["test"].nunique() == found["chart"].nunique() == 2


def test_no_two_tests_share_a_chart(tmp_path):
    rows = [training_row(model=model, unit=unit) for model in ("mlp", "MLP", "m/p", "m:p") for unit in ("s", "min")]
    found, _ = cells_of(write(tmp_path / "alike.csv", rows))
    assert found["chart"].str.lower().nunique() == found["test"].nunique() == found["title"].nunique() == 8


@pytest.mark.parametrize(
    ("cells", "marks"),
    [
        ({"data": "synthetic"}, ("synthetic",)),
        ({"estimated": "True"}, ("estimated",)),
        ({"precision": "bfloat16"}, ("bfloat16",)),
        ({"tf32": "True"}, ("tf32",)),
        ({"tf32": ""}, ("tf32 unknown",)),
        ({"compiled": "True"}, ("compiled",)),
        ({"device": "cpu"}, ("cpu",)),
        ({"measurement_version": 7}, ("version 7",)),
    ],
    ids=lambda value: "-".join(map(str, value.items())) if isinstance(value, dict) else "",
)
def test_each_switch_of_training_is_a_kind_of_its_own(tmp_path, cells, marks):
    rows = [training_row(epoch_seconds=60.0), training_row(epoch_seconds=10.0, **cells)]
    found, _ = cells_of(write(tmp_path / "two_kinds.csv", rows))
    found = found.set_index("median")
    assert found.loc[10.0, "marks"] == marks
    # The other one says what it is if it has to: the one device of two. Of two versions, today's is the usual one.
    others = {"device": ("cuda",), "tf32": ("tf32 False",)}
    unusual = "tf32" in cells and cells["tf32"] == ""
    assert found.loc[60.0, "marks"] == (others.get(next(iter(cells)), ()) if "tf32" not in cells or unusual else ())
    assert found["series"].nunique() == found["label"].nunique() == 2


@pytest.mark.parametrize("column", ["threads", "gpu_layers", "answer_token_len", "context", "device"])
def test_each_switch_of_generation_is_a_kind_of_its_own(tmp_path, column):
    rows = [generation_row(**{column: 1}), generation_row(tokens_per_second=5.0, **{column: 2})]
    found, _ = cells_of(write(tmp_path / "two_kinds.csv", rows, GENERATION_COLUMNS))
    assert sorted(found["median"]) == [5.0, 50.0]
    assert found["label"].nunique() == 2
    assert all(len(marks) == 1 for marks in found["marks"])


def test_a_switch_is_not_said_where_a_machine_has_one_kind_only(tmp_path):
    rows = [generation_row(threads=2), generation_row(machine="Other", chip="Other", threads=4)]
    found, _ = cells_of(write(tmp_path / "two_machines.csv", rows, GENERATION_COLUMNS))
    assert list(found["marks"]) == [(), ()]


# ---- How the work is done ----


@pytest.mark.parametrize(
    ("cells", "marks"),
    [
        ({"channels_last": "True"}, ("channels last",)),
        ({"precision": "tf32", "tf32": "True"}, ("precision tf32",)),
        ({"num_processes": 2, "global_batch_size": 64}, ("2 processes",)),
        ({"num_processes": 4, "num_nodes": 2}, ("4 processes on 2 machines",)),
        ({"num_processes": 1200, "num_nodes": 150}, ("1,200 processes on 150 machines",)),
        (
            {"precision": "bfloat16", "compiled": "True", "channels_last": "True", "num_processes": 2},
            ("bfloat16", "compiled", "channels last", "2 processes"),
        ),
    ],
    ids=str,
)
def test_other_ways_to_do_the_work_are_marked(tmp_path, cells, marks):
    rows = [training_row(epoch_seconds=60.0), training_row(epoch_seconds=10.0, **cells)]
    found, notes = cells_of(write(tmp_path / "two_kinds.csv", rows))
    assert notes == []
    found = found.set_index("median")
    assert (found.loc[60.0, "marks"], found.loc[10.0, "marks"]) == ((), marks)
    assert (found.loc[60.0, "is_usual"], found.loc[10.0, "is_usual"]) == (True, False)


def test_tf32_that_was_asked_for_is_told_from_a_frameworks_own(tmp_path):
    rows = [training_row(epoch_seconds=60.0, tf32="True")]
    rows += [training_row(epoch_seconds=10.0, tf32="True", precision="tf32")]
    found, _ = cells_of(write(tmp_path / "two_kinds.csv", rows))
    assert dict(zip(found["median"], found["marks"], strict=True)) == {60.0: ("tf32",), 10.0: ("precision tf32",)}


def test_rows_from_before_the_columns_are_pooled_with_usual_ones(tmp_path):
    new = {"channels_last": "False", "num_processes": 1, "num_nodes": 1, "global_batch_size": 32}
    failed = {"status": "out_of_memory", "error": "x", "epoch_seconds": "", "batch_size": 64, "estimated": ""}
    rows = [training_row(epoch_seconds=60.0), training_row(epoch_seconds=62.0, **new)]
    rows += [training_row(**new | failed, tf32="", compiled=""), training_row(**failed, tf32="", compiled="")]
    found, notes = cells_of(write(tmp_path / "pooled.csv", rows))
    assert notes == ["line 4: global_batch_size is '32', not batch_size times num_processes"]
    assert [(cell["median"], cell["count"], cell["status"]) for cell in found.to_dict("records")] == [
        (61.0, 2, "ok"),
        (pytest.approx(float("nan"), nan_ok=True), 0, "out_of_memory"),
    ]
    assert found["series"].nunique() == 1


def test_a_failure_of_several_processes_stands_with_their_figures(tmp_path):
    together = {"num_processes": 2, "channels_last": "False"}
    failed = {"status": "failed", "error": "rank 1: killed", "epoch_seconds": "", "tf32": "", "compiled": ""}
    rows = [training_row(**together), training_row(batch_size=64, **failed, **together)]
    found, _ = cells_of(write(tmp_path / "failed.csv", rows))
    assert list(found["marks"]) == [("2 processes",)] * 2
