"""compare_results.py: how sure figures are, what two of them say of each other, and which machines are one."""

import csv
import io
import re

import pytest

import compare_results
from speed_test.compare import curves, grades, shown
from speed_test.results import GENERATION_COLUMNS
from tests.made_csvs import HOME, cells_of, compare, generation_row, noise, records, runs, training_row, write

OTHER = {"machine": "Apple_M5", "chip": "Apple M5", "memory_gb": 64, "device": "mps"}


@pytest.fixture(autouse=True)
def without_published_figures(request, monkeypatch):
    """They would take half of the time."""
    if "published" not in request.node.name:
        monkeypatch.setattr(compare_results, "published", list)


def graded(folder, *rows):
    """The records of CSVs with these rows, of machines that were measured, by their names and batch sizes."""
    for number, some in enumerate(rows):
        write(folder / "results" / f"{number}.csv", some)
    found = records(folder, "--baseline=rtx 4090")
    return {(one["name"], one["group"]): one for one in found if not one["published"] and one["chart"]}


# ---- Grades ----


def test_grades_stand_beside_the_figures_in_every_output(tmp_path):
    rows = runs([1000, 1001, 999], batch_size=32)
    rows += runs([1000], batch_size=64, busiest_other_process="a|b", other_load_percent=400)
    rows += [training_row(batch_size=128)]
    found = graded(tmp_path, rows)
    a, c, none = (found["NVIDIA GeForce RTX 4090", size] for size in ("32", "64", "128"))
    assert (a["grade"], a["grade_reason"], a["runs"]) == ("A", "", 3)
    assert 0.0005 < a["half_width"] < 0.01
    assert (c["grade"], c["runs"]) == ("C", 1)
    assert "a|b" in c["grade_reason"]
    assert (none["grade"], none["grade_reason"], none["half_width"]) == ("", grades.EARLIER, None)

    text = compare("--baseline=rtx 4090", cwd=tmp_path).stdout
    percent = shown.percent(a["half_width"])
    assert re.search(r"^NVIDIA GeForce RTX 4090 +50.0 A +50.0 C +60.0", text, re.MULTILINE)
    assert re.search(rf"^ +{percent}", text, flags=re.MULTILINE)
    assert re.search(r"^C  NVIDIA GeForce RTX 4090.* at 64: .*\(most: a\|b\)", text.replace("\n   ", " "), re.MULTILINE)
    assert "A to D: how sure" in text
    markdown = compare("--baseline=rtx 4090", "--format=markdown", cwd=tmp_path).stdout
    assert f"| 50.0 A<br>{percent} |" in markdown
    assert r"(most: a\|b)" in markdown
    table = csv.DictReader(io.StringIO(compare("--format=csv", cwd=tmp_path).stdout))
    (row,) = (row for row in table if row["name"].startswith("NVIDIA GeForce") and row["group"] == "32")
    assert (row["grade"], float(row["half_width"])) == ("A", a["half_width"])
    assert (row["shown"], row["speed_text"]) == (f"50.0 A {percent}", "1.00")


def test_without_blocks_nothing_is_graded_and_nothing_explained(tmp_path):
    found = graded(tmp_path, [training_row(), training_row(epoch_seconds=90.0)])
    assert {one["grade"] for one in found.values()} == {""}
    text = compare(cwd=tmp_path).stdout
    assert "±" not in text
    assert "A to D" not in text


@pytest.mark.parametrize(
    ("width", "text"), [(0.0004, "±0.04%"), (0.004, "±0.4%"), (0.0994, "±9.9%"), (0.12, "±12%"), (1e9, "±>999%")]
)
def test_half_widths_in_percent(width, text):
    assert shown.percent(width) == text


def test_tables_fit_the_terminal(tmp_path, monkeypatch):
    rows = [row for size in (16, 32, 64, 128, 256, 512, 1024) for row in runs([1000, 1100], batch_size=size)]
    host = {"cpu_model": "AMD family 23 model 49 stepping 0, 512 KB cache", "virtual": "KVM"}
    write(tmp_path / "results" / "a.csv", rows)
    write(tmp_path / "results" / "b.csv", runs([900], **OTHER, **host) + runs([800], **OTHER, cpu_model="x"))
    for columns, name in ((80, "(AMD family 23 model 49 stepping 0,"), (60, "  (AMD family 23 model 49")):
        monkeypatch.setenv("COLUMNS", str(columns))
        text = compare(cwd=tmp_path).stdout
        assert [line for line in text.splitlines() if len(line) > columns] == []
        assert name in text


# ---- Two figures ----


@pytest.mark.parametrize(
    ("rate", "width", "word", "text"),
    [
        (1030, 0.002, "faster", "1.03"),
        (970, 0.002, "slower", "0.97"),
        (1001, 0.002, "the same", "same"),
        (1013, 0.01, "can't be told", "1.01 ?"),
        (988, 0.01, "can't be told", "0.99 ?"),
    ],
)
def test_what_two_figures_say(tmp_path, rate, width, word, text):
    base = runs([1000, 1000.5, 999.5])
    found = graded(tmp_path, base, runs([rate, rate * 1.0005, rate * 0.9995], half_width=width, **OTHER))
    one = found["Apple M5", "32"]
    assert (one["compared"], one["speed"]) == (word, pytest.approx(rate / 1000))
    own, base_width = one["half_width"], found["NVIDIA GeForce RTX 4090", "32"]["half_width"]
    assert one["speed_half_width"] == pytest.approx((own**2 + base_width**2) ** 0.5)
    assert one["speed_text"] == f"{text}\n{shown.percent(one['speed_half_width'])}"
    assert (one["more_runs"] is not None) == (word == "can't be told")
    assert found["NVIDIA GeForce RTX 4090", "32"]["compared"] is None  # of the baseline itself nothing is said


def test_more_runs_tell_what_could_not_be_told(tmp_path):
    rates = [1000 + 20 * (-1) ** number for number in range(24)]
    other = [rate * 1.03 for rate in rates]
    few = graded(tmp_path, runs(rates[:2]), runs(other[:2], **OTHER))["Apple M5", "32"]
    printed = compare("--baseline=rtx 4090", cwd=tmp_path).stdout
    assert f"?  Apple M5 at 32: {few['more_runs']} more runs of both might tell" in printed
    assert re.search(r"^Apple M5 +1.03 \?", printed, re.MULTILINE)
    many = graded(tmp_path, runs(rates), runs(other, **OTHER))["Apple M5", "32"]
    assert (few["compared"], many["compared"]) == ("can't be told", "faster")


@pytest.mark.parametrize("seconds", [248.6, 60.0])
def test_a_published_figure_is_never_the_same_and_has_no_interval(tmp_path, seconds):
    rate = 50_000 / 248.6
    write(tmp_path / "results" / "x.csv", runs([rate * 1.001, rate, rate * 0.999], epoch_seconds=seconds))
    found = [one for one in records(tmp_path, "--baseline=M1 Pro") if one["name"] == "NVIDIA GeForce RTX 4090"]
    (one,) = (one for one in found if one["chart"])
    assert one["grade"] == "A"
    assert one["compared"] == ("faster" if seconds == 60.0 else "can't be told")
    assert (one["speed_half_width"], one["more_runs"]) == (None, None)
    assert one["speed_text"] == shown.ratio(248.6 / seconds)


# ---- Which machines are one ----


def test_two_hosts_of_one_name_are_two_lines(tmp_path):
    hosts = ({"cpu_model": "family 23", "virtual": "KVM"}, {"cpu_model": "family 25", "virtual": "KVM"})
    rows = [row for host, rate in zip(hosts, (110, 180), strict=True) for row in runs([rate, rate], **host)]
    food = {"experiment": "pytorch_food101", "dataset": "FOOD101", "input_size": 224}
    rows += runs([10], **hosts[0], **food)
    rows += runs([20], batch_size=64)  # from before the columns were there: one could not say of which host
    write(tmp_path / "results" / "x.csv", rows)
    found = [one for one in records(tmp_path) if not one["published"]]
    cells = [one for one in found if one["chart"]]
    assert {(one["marks"], one["experiment"], one["median"]) for one in cells} == {
        ("family 23", "pytorch_cifar100", 50_000 / 110),
        ("family 25", "pytorch_cifar100", 50_000 / 180),
        ("family 23", "pytorch_food101", 50_000 / 10),
        ("processor unknown", "pytorch_cifar100", 50_000 / 20),
    }
    # Nor are they one in the line over all tests.
    assert {(one["marks"], one["machine_key"]) for one in found if one["experiment"] == "overall"} == {
        ("family 23", f"{HOME}: family 23; KVM"),
        ("family 25", f"{HOME}: family 25; KVM"),
        ("processor unknown", f"{HOME}: ; "),
    }
    text = compare("--baseline=rtx 4090", cwd=tmp_path).stdout
    assert re.search(r"^  \(family 23\)$", text, re.MULTILINE)


def test_a_machine_with_one_host_keeps_its_name(tmp_path):
    rows = [*runs([100], cpu_model="family 25", virtual="KVM"), training_row(batch_size=64)]
    found, _ = cells_of(write(tmp_path / "x.csv", rows))
    assert set(found["machine"]) == {HOME}
    # They are not pooled, and so each says what it is.
    assert set(found["marks"]) == {("processor unknown", "host unknown"), ("family 25", "on KVM")}


def test_runs_are_pooled(tmp_path):
    found, _ = cells_of(write(tmp_path / "x.csv", runs([100, 101, 99], epochs=2)))
    assert [(cell["count"], cell["runs"]) for cell in found.to_dict("records")] == [(6, 3)]


def test_a_split_machine_is_never_taken_for_another(tmp_path):
    rows = [
        *runs([100], machine="published", cpu_model="Apple M3"),
        *runs([100], machine="published", cpu_model="x"),
        *runs([100], machine="A", cpu_model="b; c", virtual="d"),
        *runs([100], machine="A", cpu_model="b", virtual="c; d"),
    ]
    found, _ = cells_of(write(tmp_path / "x.csv", rows))
    assert found["machine"].nunique() == found["label"].nunique() == 4
    assert "published Apple M3" not in set(found["machine"])


# ---- What spoils a comparison ----


def test_a_warning_for_each_machine_and_thing_once(tmp_path):
    rows = [row for size in (16, 32) for row in runs([1000], batch_size=size, power="battery", **OTHER)]
    rows += runs([1000], batch_size=64, swap_growth_gb=2.5, thermal_level="heavy", **OTHER)
    write(tmp_path / "results" / "x.csv", rows)
    text = compare(cwd=tmp_path).stdout
    lines = [line for line in text.splitlines() if line.startswith("WARNING")]
    assert sorted(line.split(" (")[0] for line in lines) == [
        f"WARNING: Apple M5, 64 GB was {what}" for what in ("hot", "on battery", "swapping")
    ]
    found = {one["group"]: one["warnings"] for one in records(tmp_path) if one["name"] == "Apple M5" and one["chart"]}
    assert found == {"16": "on battery", "32": "on battery", "64": "swapping, hot"}
    assert "Warning: Apple M5, 64 GB was on battery" in compare("--format=markdown", cwd=tmp_path).stdout


def test_samples_and_tokens_per_joule(tmp_path):
    found = graded(tmp_path, runs([1000], energy_joules=2500.0) + runs([1000], batch_size=64))
    assert [one["per_joule"] for one in found.values()] == [20.0, None]
    rows = [generation_row(run=1, run_id="a", energy_joules=100.0, question_iter=n) for n in range(6)]
    write(tmp_path / "results" / "answers.csv", rows, GENERATION_COLUMNS)
    (answers,) = (one for one in records(tmp_path) if one["name"] == "Apple M4" and one["chart"])
    assert answers["per_joule"] == 5.0
    text = compare(cwd=tmp_path).stdout
    assert re.search(r"samples per joule; higher is better\n\n +32\nNVIDIA GeForce RTX 4090 +20.0\n", text)
    assert "tokens per joule" in text


# ---- Curves ----


def test_the_curve_of_a_run(tmp_path):
    rows = runs([100], epochs=1, blocks=60, half_width=0, drift=-0.1, measured_seconds=240.0)
    found, _ = cells_of(write(tmp_path / "x.csv", rows))
    cell = found.to_dict("records")[0]
    (run,) = curves.curves(cell, cell["values"], cell["told"])
    assert len(run["points"]) == 60
    assert run["points"][-1][0] == 240
    assert (run["points"][0][1], run["points"][-1][1]) == (100, 90)
    assert run["words"] == "first minute 100, sustained 90.0"


def test_a_short_curve_and_a_long_one(tmp_path):
    rows = runs([100, 50], epochs=5, blocks=40, measured_seconds=20.0)
    found, _ = cells_of(write(tmp_path / "x.csv", rows))
    cell = found.to_dict("records")[0]
    made = curves.curves(cell, cell["values"], cell["told"])
    assert len(made) == 2
    assert all(len(run["points"]) <= curves.MOST_POINTS for run in made)
    assert [run["points"][-1][0] for run in made] == [pytest.approx(100), pytest.approx(100)]
    assert all(run["words"].startswith("first third ") for run in made)
    words = curves.words([(10.0, 120.0)] * 6 + [(10.0, 100.0)] * 12)
    assert words == "first minute 120, sustained 100"


def test_an_answer_is_a_block(tmp_path):
    rows = [generation_row(run=1, run_id="a", tokens_per_second=50 - n, question_iter=n) for n in range(9)]
    found, _ = cells_of(write(tmp_path / "x.csv", rows, GENERATION_COLUMNS))
    cell = found.to_dict("records")[0]
    (run,) = curves.curves(cell, cell["values"], cell["told"])
    assert run["points"] == [[10.0 * (n + 1), 50.0 - n] for n in range(9)]
    assert cell["grade"] != ""


def test_made_up_noise_is_even():
    rates = [float(rate) for rate in noise(1000, 100).split()]
    assert max(rates) < 1005
    assert min(rates) > 995
