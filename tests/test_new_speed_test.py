"""A new speed test is one file: mlp_speed_test.py is run, compared, checked and timed, and nothing else knows it."""

import json
import re
import subprocess
import sys

import pytest

from speed_test import Experiment
from tests.conftest import ROOT, environment, rows, run, the_csv

MLP = ROOT / "tests" / "mlp_speed_test.py"
COMPARE = ROOT / "compare_results.py"


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A folder with the results of the MLP and, on the same data set, of a second model that is another."""
    folder = tmp_path_factory.mktemp("measured")
    done = run(MLP, "--data=synthetic", "--max_steps=20", cwd=folder)
    assert done.returncode == 0, done.stderr
    first = the_csv(folder)
    text = first.read_text(encoding="utf-8")
    slow = re.sub(r"^(\d+),(\d+),[\d.]+,", r"\1,\2,500.0,", text.replace(",mlp,", ",transformer,"), flags=re.MULTILINE)
    first.with_name(first.name.replace("_mlp_", "_transformer_")).write_text(slow, encoding="utf-8")
    return folder


@pytest.mark.frameworks
def test_its_rows_say_what_they_are(measured):
    path = next(measured.rglob("*_mlp_*.csv"))
    assert path.name.endswith("_NOISE_mlp_64_pytorch_synthetic_results.csv")
    found = rows(path)
    assert [(row["batch_size"], row["epoch"]) for row in found] == [(b, e) for b in ("32", "256") for e in ("1", "2")]
    for row in found:
        assert (row["experiment"], row["model"], row["status"]) == ("pytorch_noise", "mlp", "ok")
        assert (row["figure"], row["unit"], row["better"]) == ("epoch_seconds", "seconds per epoch", "lower")
        assert row["measurement_version"] == "1"


@pytest.mark.frameworks
def test_it_is_compared_under_its_own_name_and_not_pooled(measured):
    done = run(COMPARE, "--format=json", f"--html={measured / 'page.html'}", cwd=measured)
    assert done.returncode == 0, done.stderr
    found = [record for record in json.loads(done.stdout) if record["experiment"] == "pytorch_noise"]
    assert {record["model"] for record in found} == {"mlp", "transformer"}
    assert all((record["median"] == 500) == (record["model"] == "transformer") for record in found)
    assert all(record["count"] == 2 for record in found)
    page = (measured / "page.html").read_text(encoding="utf-8")
    text = run(COMPARE, cwd=measured)
    markdown = run(COMPARE, "--format=markdown", cwd=measured)
    for model in ("mlp", "transformer"):
        title = f"{model} on NOISE, PyTorch"
        assert title in text.stdout
        assert title in markdown.stdout
        assert title in page
    charts = {path.name for path in (measured / "results").glob("*.png")}
    assert {"pytorch_mlp_NOISE_64.png", "pytorch_transformer_NOISE_64.png"} <= charts


@pytest.mark.frameworks
def test_it_is_fit_to_be_contributed(measured):
    done = run(COMPARE, "--check", cwd=measured)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.frameworks
def test_the_benchmark_times_it(tmp_path):
    command = [sys.executable, str(ROOT / "benchmarks" / "overhead.py"), str(MLP), "--rounds=1"]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert re.search(r"pytorch_noise: batch size 32.*\n\(a\) warm epoch +[\d,.]+ samples/s", done.stdout)
    assert re.search(r"ratio +\d\.\d{3}", done.stdout)


@pytest.mark.parametrize(
    ("facts", "reason"),
    [({}, "needs `results`"), ({"results": "r", "better": "faster"}, "`better` is")],
)
def test_an_experiment_without_what_it_needs(facts, reason):
    with pytest.raises(ValueError, match=reason):
        Experiment(framework="pytorch", model="mlp", **facts)


WRONG = """
from speed_test import Experiment, main
from tests.plain_framework import Plain, use

use(Plain(), __name__)
EXPERIMENT = Experiment(framework="plain", model="mlp", dataset="NOISE", samples=8, batch_sizes=(8,), results="r")


def load_data(options):
    pass


def training(batch_size, options):
    return 42


if __name__ == "__main__":
    main(EXPERIMENT, load_data, training)
"""


@pytest.mark.frameworks
def test_a_script_that_hands_back_something_else(tmp_path):
    (tmp_path / "wrong.py").write_text(WRONG)
    done = run(tmp_path / "wrong.py", "--data=synthetic", cwd=tmp_path)
    assert done.returncode == 1
    assert "hands back Epochs, KerasFit or Repeats, not int" in rows(the_csv(tmp_path))[0]["error"]
