"""Several processes beside one: scaling efficiency in every output, and who stands for a machine."""

import csv
import io
import re

import pytest

import compare_results
from speed_test.compare import shown
from speed_test.results import GENERATION_COLUMNS
from tests.made_csvs import cells_of, compare, generation_row, records, runs, training_row, write
from tests.test_page import browse, needs_browser, written


@pytest.fixture(autouse=True)
def without_published_figures(monkeypatch):
    """They would take half of the time."""
    monkeypatch.setattr(compare_results, "published", list)


def of(processes, size=32, nodes=1, **cells):
    sizes = {"batch_size": size, "global_batch_size": size * processes}
    return {"num_processes": processes, "num_nodes": nodes, "channels_last": "False", **sizes, **cells}


def of_several_kinds():
    """One, two and four processes, also in bfloat16; of three there is no partner at this batch size."""
    bfloat16 = {"precision": "bfloat16"}
    limits = {"tflops": 20.0, "matmul_tflops": 50.0, "matmul_share": 0.4}
    return [
        *runs([1000, 1001, 999], **of(1, **limits)),
        *runs([1870, 1872, 1868], **of(2)),
        *runs([3200], **of(4, nodes=2)),
        *runs([2000, 2002, 1998], **of(1, **bfloat16)),
        *runs([3000, 3003, 2997], **of(2, **bfloat16)),
        *runs([2900], **of(3, size=64)),
    ]


def test_the_efficiency_is_the_speed_over_that_of_as_many_times_one(tmp_path):
    write(tmp_path / "results" / "x.csv", of_several_kinds())
    found = {(one["marks"], one["group"]): one for one in records(tmp_path) if one["chart"]}
    efficiency = {key: one["scaling_efficiency"] for key, one in found.items()}
    assert efficiency == {
        ("", "32"): None,
        ("bfloat16", "32"): None,
        ("2 processes", "32"): pytest.approx(0.935),
        ("bfloat16 2 processes", "32"): pytest.approx(0.75),
        ("4 processes on 2 machines", "32"): pytest.approx(0.8),
        ("3 processes", "64"): None,
    }
    one, two = found["", "32"], found["2 processes", "32"]
    assert two["scaling_half_width"] == pytest.approx((one["half_width"] ** 2 + two["half_width"] ** 2) ** 0.5)
    assert two["scaling_text"] == f"94% (1.87)\n{shown.percent(two['scaling_half_width'])}"
    assert (two["num_processes"], two["num_nodes"], one["scaling_half_width"]) == (2, 1, None)
    assert (one["tflops"], one["matmul_share"], two["tflops"], two["matmul_share"]) == (20.0, 0.4, None, None)
    # The baseline of the test, and what stands in the overview, is no figure of several processes.
    assert two["baseline"] == one["label"]
    assert [key for key, each in found.items() if each["overview"]] == [("", "32")]


def test_it_stands_in_every_output(tmp_path, monkeypatch):
    write(tmp_path / "results" / "x.csv", of_several_kinds())
    for columns in (80, 60):
        monkeypatch.setenv("COLUMNS", str(columns))
        text = compare(cwd=tmp_path).stdout
        assert [line for line in text.splitlines() if len(line) > columns] == []
        assert "scaling efficiency: the speed of several processes" in text.replace("\n", " ")
        assert re.search(r"94% \(1\.87\)(\n  \(2 processes\).*)?\n +.*±0\.\d%", text)
    markdown = compare("--format=markdown", cwd=tmp_path).stdout
    assert "\nScaling efficiency: " in markdown
    assert re.search(r"^\| .*\(4 processes on 2 machines\) \| 80% \(3\.20\)<br>±", markdown, re.MULTILINE)
    table = csv.DictReader(io.StringIO(compare("--format=csv", cwd=tmp_path).stdout))
    (row,) = (row for row in table if row["marks"] == "2 processes" and row["chart"])
    assert float(row["scaling_efficiency"]) == pytest.approx(0.935)


def test_without_a_partner_nothing_is_said(tmp_path):
    rows = [*runs([1000], **of(1)), *runs([1800], **of(2, compiled="True")), *runs([900], **of(2, virtual="KVM"))]
    write(tmp_path / "results" / "x.csv", [*rows, *runs([900], **of(2, data="synthetic", machine="Other"))])
    assert {one["scaling_efficiency"] for one in records(tmp_path)} == {None}
    assert "scaling" not in compare(cwd=tmp_path).stdout


def test_higher_may_be_better(tmp_path):
    rates = {"figure": "samples_per_second", "unit": "samples per second", "better": "higher"}
    rows = [training_row(samples_per_second=100.0, **of(1), **rates)]
    rows += [training_row(samples_per_second=160.0, **of(2), **rates)]
    found, _ = cells_of(write(tmp_path / "x.csv", rows))
    assert found["scaling_efficiency"].max() == pytest.approx(0.8)
    assert list(found["scaling_half_width"].isna()) == [True, True]  # without blocks
    assert set(found["scaling_text"]) == {"", "80% (1.60)"}


def test_no_series_of_several_processes_or_another_precision_stands_for_a_machine_that_has_usual_figures(tmp_path):
    """Though more batch sizes of others can be compared with them, and they have no more marks."""
    rows = [training_row(tf32="True", epoch_seconds=60.0)]
    for unusual in ({"num_processes": 2}, {"precision": "bfloat16"}, {"precision": "tf32", "tf32": "True"}):
        rows += [training_row(batch_size=size, epoch_seconds=9.0, **unusual) for size in (16, 32, 64)]
    other = {"machine": "B", "chip": "Chip B"}
    rows += [training_row(batch_size=size, epoch_seconds=70.0, **other) for size in (16, 32, 64)]
    write(tmp_path / "results" / "x.csv", rows)
    found = [one for one in records(tmp_path, "--baseline=rtx 4090") if one["chart"]]
    assert {one["baseline"] for one in found} == {"NVIDIA GeForce RTX 4090, 24 GB (tf32)"}
    assert {(one["name"], one["marks"]) for one in found if one["overview"]} == {
        ("NVIDIA GeForce RTX 4090", "tf32"),
        ("Chip B", ""),
    }


def test_the_bandwidth_of_answers(tmp_path):
    rows = [generation_row(question_iter=n, memory_gb_per_second=100 + n, memory_share=0.5 + n / 100) for n in range(3)]
    write(tmp_path / "results" / "x.csv", rows, GENERATION_COLUMNS)
    (one,) = (one for one in records(tmp_path) if one["chart"])
    assert (one["memory_gb_per_second"], one["memory_share"], one["tflops"]) == (101.0, 0.51, None)


def test_absurd_ratios_are_cut():
    assert shown.scaling(1e13, 5e12, float("nan")).startswith(">999% (")
    assert shown.scaling(0.01, 0.0025, 0.5) == "0.3% (0.01)\n±50%"
    assert shown.scaling(float("nan"), float("nan"), float("nan")) == ""


SEEN = """
found = page.locator("#pytorch_cifar100-scaling tbody tr").filter(has_text="2 processes").first.locator("td").first
seen["cell"] = [found.text_content(), found.get_attribute("title")]
seen["lines"] = page.locator("#pytorch_cifar100-scaling tbody tr").count()
page.set_viewport_size({"width": 400, "height": 900})
page.wait_for_timeout(100)
seen["width"] = page.evaluate("document.documentElement.scrollWidth")
"""


@needs_browser
def test_the_page(tmp_path):
    write(tmp_path / "results" / "x.csv", of_several_kinds())
    seen = browse(written(tmp_path), SEEN)
    text, title = seen["cell"]
    assert text.startswith("94% (1.87)\n±")
    assert title == "2 processes: 1.87 times one"
    assert (seen["lines"], seen["width"]) == (3, 400)
