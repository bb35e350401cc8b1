"""compare_results.py: the line over all tests, and the overview of machines and tests."""

import csv
import io
import re

import pytest

from speed_test.results import GENERATION_COLUMNS
from tests.made_csvs import compare, generation_row, records, training_row, write


def in_two_tests(folder):
    """Machines with figures in ResNet50 on CIFAR100 and Food101 (real, or synthetic), and with language models."""
    for name, cifar100, food101 in (("A", 100.0, 400.0), ("B", 50.0, 50.0), ("C", 25.0, None)):
        cells = {"machine": name, "chip": f"Chip {name}", "memory_gb": ""}
        rows = [training_row(epoch_seconds=cifar100, **cells)]
        rows += [training_row(batch_size=64, epoch_seconds=2 * cifar100, **cells)]
        rows += [training_row(epoch_seconds=1.0, data="synthetic", **cells)]
        if food101:
            food = {"experiment": "pytorch_food101", "dataset": "FOOD101", "input_size": 224}
            rows += [training_row(epoch_seconds=food101, data="synthetic", **food, **cells)]
            rows += [training_row(epoch_seconds=1.0, estimated="True", precision="bfloat16", **food, **cells)]
        write(folder / "results" / f"{name}.csv", rows)


def overall_of(found):
    return {one["name"]: one for one in found if one["experiment"] == "overall" and not one["published"]}


def test_overall_is_the_geometric_mean_over_the_tests_that_both_completed(tmp_path):
    in_two_tests(tmp_path)
    found = records(tmp_path, "--baseline=Chip A")
    assert [one["experiment"] == "overall" for one in found].index(False) == 3 + 6  # they come first
    overall = overall_of(found)
    assert overall["Chip A"]["median"] == pytest.approx(1)
    assert overall["Chip B"]["median"] == pytest.approx((2 * 8) ** 0.5)
    assert overall["Chip C"]["median"] == pytest.approx(4)
    assert [overall[f"Chip {name}"]["count"] for name in "ABC"] == [2, 2, 1]
    assert (overall["Chip B"]["lowest"], overall["Chip B"]["highest"]) == (pytest.approx(2), pytest.approx(8))
    assert overall["Chip B"]["unit"] == "times the baseline's speed"
    assert overall["Chip B"]["better"] == "higher"
    # Real figures are taken where there are some, and the line says that the others are not.
    assert (overall["Chip B"]["marks"], overall["Chip C"]["marks"]) == ("synthetic", "")
    assert {one["baseline"] for one in overall.values()} == {"Chip A (synthetic)"}
    shown = [one for one in found if one["overview"] and one["name"] == "Chip B"]
    assert [one["overview_text"] for one in shown] == ["50.0 (2.00)", "50.0 (8.00)"]


def test_no_overall_speed_without_a_test_that_both_completed(tmp_path):
    in_two_tests(tmp_path)
    write(tmp_path / "results" / "D.csv", [training_row(machine="D", chip="Chip D", model="MLP")])
    overall = overall_of(records(tmp_path, "--baseline=Chip A"))
    assert (overall["Chip D"]["median"], overall["Chip D"]["count"], overall["Chip D"]["text"]) == (None, 0, "")


def test_without_a_name_the_overall_baseline_is_the_slowest_of_those_with_most_tests(tmp_path):
    overall = [one for one in records(tmp_path) if one["experiment"] == "overall"]
    assert {one["baseline"] for one in overall} == {"Apple M3, 10 GPU cores, 8 GB (published)"}
    assert min(one["median"] for one in overall if one["count"] == 7) == pytest.approx(1)


def test_of_several_models_each_counts_that_both_have(tmp_path):
    rates = {"A": {"big": 10.0, "small": 100.0, "own": 5.0}, "B": {"big": 20.0, "small": 800.0}, "C": {"small": 50.0}}
    rows = [
        generation_row(machine=name, chip=f"Chip {name}", model=model, parameters=1, tokens_per_second=rate)
        for name, models in rates.items()
        for model, rate in models.items()
    ]
    write(tmp_path / "results" / "answers.csv", rows, GENERATION_COLUMNS)
    found = records(tmp_path, "--baseline=Chip A")
    overall = overall_of(found)
    assert overall["Chip B"]["median"] == pytest.approx((2 * 8) ** 0.5)
    assert overall["Chip C"]["median"] == pytest.approx(0.5)
    assert {one["count"] for one in overall.values()} == {1}
    columns = {one["overview"] for one in found if one["experiment"] == "llama2"} - {None}
    assert columns == {f"Text generation, llama.cpp: {name}" for name in ("Llama 2 7B Q4_0", "big Q4_0", "small Q4_0")}


def test_overall_and_overview_come_first_in_every_output(tmp_path):
    in_two_tests(tmp_path)
    text = compare("--baseline=Chip A", cwd=tmp_path).stdout
    assert text.startswith("Speed over all tests")
    assert re.search(r"^Chip B \(s\) +4.00 +2$", text, flags=re.MULTILINE)
    assert re.search(r"^Chip B \(s\) +50.0 +50.0.*\n +2.00 +8.00", text, flags=re.MULTILINE)
    assert [line for line in text.splitlines() if len(line) > 80] == []
    markdown = compare("--baseline=Chip A", "--format=markdown", cwd=tmp_path).stdout
    assert markdown.startswith("<!-- overview -->\n\n| machine | overall | tests |")
    assert "| Chip B<br>(synthetic) | 4.00 | 2 | 50.0 (2.00) | 50.0 (8.00) |" in markdown.split("<!-- end of")[0]
    table = csv.DictReader(io.StringIO(compare("--baseline=Chip A", "--format=csv", cwd=tmp_path).stdout))
    assert next(table)["experiment"] == "overall"


def test_wide_tables_go_on_below(tmp_path):
    rows = [
        generation_row(model=f"a-model-with-a-rather-long-name-{number}", parameters=1, tokens_per_second=number + 1)
        for number in range(6)
    ]
    write(tmp_path / "results" / "answers.csv", rows, GENERATION_COLUMNS)
    done = compare(cwd=tmp_path)
    assert [line for line in done.stdout.splitlines() if len(line) > 80] == []
    assert all(f"a-model-with-a-rather-long-name-{number} Q4_0" in done.stdout for number in range(6))


@pytest.mark.parametrize("output", ["text", "markdown", "csv", "json"])
def test_a_test_in_which_nothing_worked(tmp_path, output):
    failed = {"model": "MLP", "epoch_seconds": "", "estimated": "", "status": "out_of_memory", "error": "no memory"}
    write(tmp_path / "results" / "failed.csv", [training_row(machine=name, **failed) for name in "AB"])
    done = compare(f"--format={output}", f"--html={tmp_path / 'page.html'}", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "memory" in done.stdout
