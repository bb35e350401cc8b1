"""compare_results.py: what it makes of figures, and what a person sees."""

import csv
import io
import json
import os
import re
import shlex
import statistics
import subprocess
import time
from pathlib import Path

import pytest

import compare_results
from speed_test.compare import charts, facts, read, table
from speed_test.compare import ours as ours_rows
from speed_test.results import COLUMNS
from tests.conftest import ROOT, run
from tests.made_csvs import HOME, cells_of, compare, ours, records, training_row, write

COMPARE = ROOT / "compare_results.py"


def cells_of_epochs(better="lower", **machines):
    """The cells of machines with these seconds per epoch, at one batch size."""
    columns = set(COLUMNS)
    measurements = []
    for name, values in machines.items():
        row = training_row(machine=name, chip=name, better=better)
        cell = ours_rows.defaults(columns) | {column: str(value) for column, value in row.items()}
        machine = facts.Machine(name, name, name)
        measurements += [facts.Measurement(facts.facts_of(cell, machine, 32, "ok"), float(value)) for value in values]
    return table.cells(read.frame(measurements))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"\xff\xfe\x00\x80PNG", "is not text"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "is not text"),
        (b"name,price\nbread,2\n", "has columns of neither"),
        (",".join(COLUMNS).encode() + b"\n", "has no rows"),
        (b"batch_size,avg_time_per_epoch\n16,3\n", "is of the older scripts, and its name says neither"),
    ],
    ids=["empty", "binary", "PNG", "other columns", "no rows", "no name"],
)
def test_a_file_that_is_neither_is_named_and_left_out(tmp_path, content, reason):
    path = tmp_path / "results" / "thing.csv"
    path.parent.mkdir()
    path.write_bytes(content)
    ours(tmp_path)
    done = compare("--format=csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(f"WARNING: {Path('results', 'thing.csv')} {reason}")
    assert done.stderr.count("\n") == 1
    assert "RTX 4090" in done.stdout


def test_speed_is_against_the_baseline(tmp_path):
    ours(tmp_path)
    ours(tmp_path, machine="Apple_M4_16GB_Memory_10_GPU_Cores", chip="Apple M4", seconds=(90.0, 60.5, 92.0))
    ours(tmp_path, machine="Apple_M5_16GB_Memory_10_GPU_Cores", chip="Apple M5", seconds=(30.0, 31.0, 32.0))
    found = {
        one["machine"]: one
        for one in records(tmp_path, "--baseline=rtx 4090")
        if one["experiment"] == "pytorch_cifar100" and one["batch_size"] == 32
    }
    assert found["NVIDIA GeForce RTX 4090, 24 GB"]["median"] == 60.0
    assert found["NVIDIA GeForce RTX 4090, 24 GB"]["speed"] == 1
    m5 = next(one for name, one in found.items() if name.startswith("Apple M5"))
    assert m5["speed"] == pytest.approx(60 / 31)
    m4 = next(one for name, one in found.items() if name.startswith("Apple M4"))
    # Without blocks nothing is known of how sure these are, however far apart their epochs lie.
    assert (m4["speed"], m4["compared"], m4["speed_half_width"]) == (pytest.approx(60 / 90), "can't be told", None)
    assert found["Apple M3, 10 GPU cores, 8 GB"]["speed"] == pytest.approx(60 / 184.4)
    assert "tie" not in m4
    text = compare("--baseline=rtx 4090", cwd=tmp_path).stdout
    assert re.search(r"Apple M4 +0.67", text)
    assert "?" not in text


def test_the_slowest_is_the_baseline_where_this_machine_has_no_figures(tmp_path):
    base = {one["experiment"]: one["baseline"] for one in records(tmp_path)}
    assert base["pytorch_cifar100"] == "Apple M1 Pro, 16 GPU cores, 32 GB (published)"
    assert base["llama2"] == "Apple M3, 10 GPU cores, 8 GB (published)"


def test_this_machine_is_the_baseline_where_it_has_figures(tmp_path):
    from speed_test.machine import names_of_this_machine

    name = names_of_this_machine()[-1]
    ours(tmp_path, machine=name, chip="This very chip", device="cpu", cpu_cores=2)
    base = {one["experiment"]: one["baseline"] for one in records(tmp_path)}
    assert base["pytorch_cifar100"] == "This very chip, 2 CPU cores, 24 GB"
    assert "published" in base["pytorch_food101"]


def test_a_name_that_is_one_machines_own_goes_before_a_part_of_another():
    done = compare("--format=csv", "--baseline=Apple M3", cwd=ROOT)
    assert {row["baseline"] for row in csv.DictReader(io.StringIO(done.stdout)) if row["published"] == "True"} == {
        "Apple M3, 10 GPU cores, 8 GB (published)"
    }


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--baseline=Cray"], "--baseline: there is no machine 'Cray'; there are Apple M1 Pro"),
        (["nowhere"], "nowhere is not there"),
        (["--format=xml"], "'xml' is not one of text, markdown, csv, json"),
        (["--html=no/such/page.html"], "no/such/page.html cannot be written"),
        (["--html", "a.csv"], "--html: 'a.csv' is not the name of a page, such as comparison.html"),
        (["--bse=x"], "there is no option '--bse'"),
    ],
)
def test_bad_input_gets_one_sentence(tmp_path, arguments, reason):
    done = compare(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert reason in done.stderr


def test_seven_charts_and_tables_of_80_columns(tmp_path):
    ours(tmp_path, data="synthetic", estimated="True")
    done = run(COMPARE, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert [line for line in done.stdout.splitlines() if len(line) > 80] == []
    charts = sorted(path.name for path in (tmp_path / "results").glob("*.png"))
    assert charts == sorted(
        f"{name}.png"
        for name in (
            *("pytorch_cv_resnet50_cifar100", "pytorch_cv_resnet50_food101", "pytorch_nlp_distilbert_imdb"),
            *("tensorflow_cv_resnet50_cifar100", "tensorflow_cv_resnet50_food101", "tensorflow_nlp_imdb"),
            "llamacpp_tokens_per_second",
        )
    )
    assert all((tmp_path / "results" / name).read_bytes().startswith(b"\x89PNG") for name in charts)
    assert "NVIDIA GeForce RTX 4090 (s, e)" in done.stdout
    assert "(e) estimated" in done.stdout


@pytest.mark.parametrize("better", ["lower", "higher"])
def test_a_chart_has_the_fastest_machines_where_there_are_too_many(better):
    many = charts.MAX_SERIES + 6
    cells = cells_of_epochs(better=better, **{f"m{number:02}": [100.0 - number] for number in range(many)})
    drawn = cells[charts.chosen_for_chart(cells)]["machine"]
    names = [f"m{number:02}" for number in range(many)]
    assert list(drawn) == (names[6:] if better == "lower" else names[:-6])


def test_two_hundred_files_of_a_thousand_rows(tmp_path):
    for number in range(200):
        seconds = [100 + number + step % 7 for step in range(1000)]
        ours(tmp_path, machine=f"Chip_{number}", chip=f"Chip {number}", seconds=seconds)
    start = os.times()
    done = run(COMPARE, "--format=json", cwd=tmp_path)
    used = os.times().children_user - start.children_user  # 0 on Windows
    assert used < 20  # 2 seconds of a core that has nothing else to do
    by_name = {one["machine"]: one for one in json.loads(done.stdout) if one["machine"].startswith("Chip")}
    assert len(by_name) == 200
    assert by_name["Chip 7, 24 GB"]["median"] == statistics.median(107 + step % 7 for step in range(1000))
    assert by_name["Chip 7, 24 GB"]["count"] == 1000


def test_the_committed_results_are_fit_and_their_page_shows_them(tmp_path):
    """As committed: a speed test that has run since has added rows or files of its own."""
    git = ["git", "-C", str(ROOT)]
    listed = subprocess.run([*git, "ls-tree", "-r", "--name-only", "HEAD", "results"], capture_output=True, text=True)
    names = [name for name in listed.stdout.splitlines() if name.endswith(".csv")]
    if not names:
        pytest.skip("no checkout, so nothing tells committed results from others")
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        content = subprocess.run([*git, "show", f"HEAD:{name}"], capture_output=True, check=True).stdout
        (tmp_path / name).write_bytes(content)
    checked = run(COMPARE, "--check", cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr
    shown = (ROOT / "results" / "README.md").read_text(encoding="utf-8")
    command = re.match(r"<!-- python compare_results.py (.*) -->\n", shown)
    block = shown[shown.index("<!-- overview -->") : shown.index("<!-- end -->")]
    done = run(COMPARE, *shlex.split(command[1]), cwd=tmp_path)
    assert done.stdout.removesuffix("<!-- end -->\n").strip() == block.strip()
    images = re.findall(r"!\[.*\]\((.*)\)", block)
    assert len(images) == 7
    assert all((ROOT / "results" / name).exists() for name in images)


def test_markdown_reads_no_markup_in_a_csv(tmp_path):
    ours(tmp_path, chip="<img src=x> [a](http://b) *c* | `d` $e$ _f_ g_h\n# i @j #12 gh-7", memory_gb="")
    done = compare("--format=markdown", cwd=tmp_path)
    escaped = r"\<img src=x\> \[a\](http\://b) \*c\* \| \`d\` \$e\$ \_f\_ g_h # i \@<!-- -->j #<!-- -->12 gh-<!-- -->7"
    assert f"| {escaped} |" in done.stdout


def test_a_terminal_is_sent_no_control_characters(tmp_path):
    ours(tmp_path, chip="Chip\x1b[31m\x07\u202e", memory_gb="")
    text = compare(cwd=tmp_path).stdout
    assert not set(text) & set("\x1b\x07\u202e")


def test_a_chart_shows_dollars_as_they_are(tmp_path):
    path = ours(tmp_path, chip="$x_{$", model="$\\frac{$", unit="$ per ^{$", seconds=[9.0, 8.0])
    path.write_text(path.read_text().replace("8.0,833.3,ok", ",,$y^{$").replace("\n32,2,", "\n64,2,"))
    cells = table.cells(read.frame(read.read(path)[0]))
    assert list(cells["text"]) == ["9.0", "$y^{$"]
    charts.draw(cells, charts.looks(cells), tmp_path / "chart.png")
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")


def test_a_chart_that_fails_costs_no_other_one(tmp_path, monkeypatch, capsys):
    def draw(test, look, path):
        if "food101" in path.name:
            raise ValueError("no such\nfont")
        path.touch()

    monkeypatch.setattr(charts, "draw", draw)
    compare_results.draw_charts(table.cells(read.frame(list(read.published()))), tmp_path)
    assert len(list(tmp_path.glob("*.png"))) == 5
    assert capsys.readouterr().err == "".join(
        f"WARNING: {tmp_path / name} could not be drawn (no such font)\n"
        for name in ("pytorch_cv_resnet50_food101.png", "tensorflow_cv_resnet50_food101.png")
    )


def test_five_thousand_batch_sizes(tmp_path):
    rows = [training_row(batch_size=number, epoch_seconds=10 + number % 100) for number in range(1, 5001)]
    write(tmp_path / "results" / f"{HOME}_results.csv", rows)
    start = time.process_time()
    done = compare("--html=page.html", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    found, _ = cells_of(tmp_path / "results" / f"{HOME}_results.csv")
    charts.draw(found, charts.looks(found), tmp_path / "chart.png")
    assert time.process_time() - start < 10  # 2 seconds; it was 104
    assert '"group": "5000"' in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_chart_has_the_most_frequent_batch_sizes_and_says_so(tmp_path):
    rows = [training_row(batch_size=number) for number in range(1, 1001)]
    rows += [training_row(batch_size=size, machine="B", chip="B") for size in (7, 500)]
    found, _ = cells_of(write(tmp_path / "x.csv", rows))
    drawn = found[charts.chosen_for_chart(found)]
    sizes = sorted(drawn["batch_size"].unique())
    assert len(sizes) == charts.MAX_GROUPS
    assert {1, 7, 500, 1000} <= set(sizes)
    assert set(drawn["machine"]) == {HOME, "B"}
    assert charts.heading(found, drawn) == "ResNet50 on CIFAR100, PyTorch: 30 of 1,000 batch sizes"
