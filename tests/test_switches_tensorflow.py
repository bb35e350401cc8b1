"""--precision, --compile and --processes with TensorFlow, and how near its steps are to what a device can do."""

import json
import os

import pytest

from tests.conftest import ROOT, run

pytestmark = pytest.mark.frameworks


@pytest.fixture(scope="module")
def facts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("facts")
    done = run(ROOT / "tests" / "tensorflow_switches.py", cwd=folder)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "facts.json").read_text())


def test_each_combination_trains_as_it_says(facts):
    """Losses of three steps: learning, those of float32 but for rounding and dropout, and not scaled."""
    policies = {"float32": "float32", "bfloat16": "bfloat16", "float16": "float16"}
    for precision, compiled, found in facts["combinations"]:
        assert (found["compiled"], found["compute"], found["result"]) == (compiled, policies[precision], "float32")
        assert all(0.9 < loss < 1.2 for loss in found["losses"]), (precision, compiled)


def test_rewind_and_a_disturbed_start(facts):
    for precision, compiled, found in facts["combinations"]:
        assert found["rewound"], (precision, compiled)
        assert found["again"] == found["losses"][:2]
        # Weights, averages of batch normalization, Adam's averages, counters, dropout, the loss; and of float16 the
        # steps since the scale of the loss has changed.
        assert found["changed"] >= (23 if precision == "float16" else 22)
        one, same, other = found["disturbed"]
        assert one == same != other
        assert other != found["losses"][0] != one
        assert found["changes"] == [0.75, 1.25]


def test_a_step_that_overflows_is_repeated_until_it_trains(facts):
    scale, steps, loss = facts["skipped"]
    assert scale < 2**40
    assert steps == 1
    assert 0.9 < loss < 1.2


@pytest.mark.parametrize(("name", "processes"), [("one", 1), ("two", 2)])
def test_a_timed_epoch_is_that_of_keras(facts, name, processes):
    """Every sample once, the last, uneven batch included, and to the last bit the losses of `model.fit` alone."""
    found = facts[name]
    assert found["epochs"] == [list(range(23))] * 2
    assert [row["train_loss"] for row in found["rows"]] == found["alone"]
    for row in found["rows"]:
        assert (row["batch_size"], row["measured_samples"], row["compiled"]) == (4, 23, False)
        assert (row["num_processes"], row["num_nodes"], row["global_batch_size"]) == (processes, 1, 4 * processes)
        assert row["gflop_per_sample"] == pytest.approx(facts["counts"]["step"] / 4 / 1e9)


def test_the_last_batch_is_cut_as_tensorflow_spreads_it(facts):
    for sizes, cut, length in facts["spread"]:
        if 0 in sizes:
            assert cut.startswith(f"the last batch has {length} samples, which do not reach all 2 replicas")
        else:
            assert (cut, length) == (sizes, sum(sizes))
    assert [sizes for sizes, *_ in facts["spread"]][:3] == [[1, 0], [1, 1], [2, 1]]


def test_operations_of_resnet50(facts):
    """The network of the paper, as Keras has it, takes 3.8 thousand million multiplications and additions
    (https://arxiv.org/abs/1512.03385, table 1). The usual 4.1, https://docs.pytorch.org/vision/stable/models.html, are
    of the later form that halves the image in the 3x3 convolution and not in the 1x1 one before it, which then sees
    four times as many pixels in three blocks."""
    ours = facts["counts"]["resnet50"]
    later = sum(3 * side**2 * wide * narrow for side, wide, narrow in ((28, 256, 128), (14, 512, 256), (7, 1024, 512)))
    assert ours == pytest.approx(3.8, abs=0.06)
    assert ours + later / 1e9 == pytest.approx(4.09, abs=0.005)


def test_operations_of_a_step(facts):
    counts = facts["counts"]
    # 6x6 pixels, 4 channels from 3x3 of 3; 3 classes from 4. Forward and to the weights for both, to the input only
    # for the second.
    convolution, dense = 6 * 6 * 4 * 3 * 3 * 3, 4 * 3
    assert counts["step"] == 4 * 2 * (2 * convolution + 3 * dense)
    assert counts["step of two"] == 2 * counts["step"]
    assert counts["ours"] == counts["by TensorFlow"]
    # What TensorFlow's own counter does not know, or counts wrong. A result that nobody uses is not computed.
    assert counts["einsum"] == counts["transposed"] == 2 * 2 * 3 * 5 * 7
    assert counts["loop"] is None


def test_what_cannot_be_done_is_said_in_a_sentence(facts):
    said = facts["refusals"]
    assert said["defaults"] == said["two"] == said["all"] == said["WORLD_SIZE=1"] == []
    for name, words in {
        "channels_last": "--channels_last: TensorFlow's images are channels last already; leave it out",
        "tf32": "--precision=tf32: this device multiplies float32 as it is; leave it out",
        "two compiled": "--compile: XLA cannot compile a step of 2 replicas; leave it or --processes out",
        "without XLA": "--compile: Keras has no XLA for this device; leave it out",
        "without a layer": "--precision=bfloat16: TensorFlow cannot do that on this device (",
        "too many": "--processes=3: there are 2 GPUs here; write --processes=2, or all",
        "RANK=0": "RANK is set, as torchrun and other launchers do, but TensorFlow takes all GPUs of a machine with "
        "--processes=all: start the script with python",
        "WORLD_SIZE=2": "WORLD_SIZE is set, ",
    }.items():
        assert said[name].startswith(words)
        assert "\n" not in said[name]
    assert said["float16"][-1].startswith("--compile: Keras itself leaves XLA off on a CPU")
    assert said["GPUs"] == [["GPU:0"], ["GPU:0", "GPU:1"], ["GPU:0", "GPU:1"]]


def test_the_rate_of_matrix_products(facts):
    """On a CPU, whose logical devices share its cores, it is that of one."""
    rates = facts["products"]
    assert 0.001 < rates["real"] < os.cpu_count()
    assert rates["of two that are one"] == 1.5
