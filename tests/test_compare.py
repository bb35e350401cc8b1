"""compare_results.py: what it reads, what it makes of it, and what a person sees."""

import csv
import io
import json
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from speed_test import charts, comparison
from speed_test.comparison import Cell, collect, read
from speed_test.results import COLUMNS, GENERATION_COLUMNS
from tests.conftest import ROOT, run

COMPARE = ROOT / "compare_results.py"
HOME = "NVIDIA_GeForce_RTX_4090_24GB_Memory"


def training_row(**cells):
    row = dict.fromkeys(COLUMNS, "")
    row |= {"batch_size": 32, "epoch": 1, "epoch_seconds": 60.0, "samples_per_second": 833.3, "status": "ok"}
    row |= {"data": "real", "estimated": "False", "measured_seconds": 60.0, "measured_samples": 50_000}
    row |= {"compute_samples_per_second": 900.0, "data_wait_seconds": 0.1, "train_loss": 4.1}
    row |= {"experiment": "pytorch_cifar100", "framework": "pytorch", "framework_version": "2.15.0"}
    row |= {"precision": "float32", "device": "cuda", "machine": HOME, "chip": "NVIDIA GeForce RTX 4090"}
    row |= {"memory_gb": 24, "os": "Linux", "python_version": "3.12.1", "started_at": "2026-11-24T00:00:00+00:00"}
    return row | {"run_id": "0123456789ab"} | cells


def write(path, rows, columns=COLUMNS):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def ours(folder, machine=HOME, chip="NVIDIA GeForce RTX 4090", seconds=(60.0, 61.0, 59.5), **cells):
    synthetic = "_synthetic" if cells.get("data") == "synthetic" else ""
    path = folder / "results" / "results_pytorch_cv" / f"{machine}_CIFAR100_resnet50_32_pytorch{synthetic}_results.csv"
    rows = [
        training_row(epoch=number, epoch_seconds=one, machine=machine, chip=chip, **cells)
        for number, one in enumerate(seconds, start=1)
    ]
    return write(path, rows)


def older(folder, name, text, encoding="utf-8"):
    path = folder / "results" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


def medians(path):
    """(experiment, machine, marks) -> group -> median, or the status of what did not work."""
    figures, notes = read(path)
    found = {
        (name, one.machine.name, one.marks): {group: cell.median or cell.status for group, cell in one.cells.items()}
        for name, some in collect(figures).items()
        for one in some
    }
    return found, notes


def test_our_rows(tmp_path):
    path = ours(tmp_path, seconds=(60.0, 61.0, 59.5, 64.0))
    assert medians(path) == ({("pytorch_cifar100", "NVIDIA GeForce RTX 4090", ()): {32: 60.5}}, [])


def test_kinds_of_rows_are_not_pooled(tmp_path):
    rows = [
        training_row(epoch_seconds=60.0),
        training_row(epoch_seconds=10.0, estimated="True"),
        training_row(epoch_seconds=20.0, data="synthetic"),
        training_row(epoch_seconds=30.0, precision="bfloat16"),
        training_row(epoch_seconds=40.0, data="synthetic", estimated="True"),
    ]
    found, _ = medians(write(tmp_path / "mixed.csv", rows))
    assert {marks: cells for (_, _, marks), cells in found.items()} == {
        (): {32: 60.0},
        ("estimated",): {32: 10.0},
        ("synthetic",): {32: 20.0},
        ("bfloat16",): {32: 30.0},
        ("synthetic", "estimated"): {32: 40.0},
    }


def test_a_failure_stands_beside_what_worked_and_gives_way_to_a_later_success(tmp_path):
    failed = {"epoch_seconds": "", "estimated": "", "error": "CUDA out of memory"}
    rows = [
        training_row(estimated="True"),
        training_row(batch_size=512, status="out_of_memory", **failed),
        training_row(batch_size=1024, status="skipped", **failed),
        training_row(batch_size=64, status="failed", **failed),
        training_row(batch_size=64, estimated="True", epoch_seconds=50.0),
    ]
    found, _ = medians(write(tmp_path / "failed.csv", rows))
    assert found == {
        ("pytorch_cifar100", "NVIDIA GeForce RTX 4090", ("estimated",)): {
            32: 60.0,
            512: "out_of_memory",
            1024: "skipped",
            64: 50.0,
        }
    }


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        (
            "Apple_M3_Max_CIFAR100_resnet50_32_pytorch_results.csv",
            "batch_size,avg_time_per_epoch\n16,330.25\n32,211.0\n",
            ("pytorch_cifar100", "Apple M3 Max", {16: 330.25, 32: 211.0}),
        ),
        (
            "Tesla V100-SXM2-16GB_CIFAR100_ResNet50_32_tensorflow_results.csv",
            "\ufeffbatch_size,avg_time_per_epoch\r\n16,33.5\r\n16,34.5\r\n32,FAILED\r\n",
            ("tensorflow_cifar100", "Tesla V100-SXM2-16GB", {16: 34.0, 32: "failed"}),
        ),
        (
            "Apple_M1_Pro_16GB_IMDB_SmallTransformer_200_results.csv",
            "batch_size,avg_time_per_epoch\n16,211.0",
            ("tensorflow_imdb", "Apple M1 Pro 16GB", {16: 211.0}),
        ),
        (
            "Apple_M3_Pro_FOOD101_resnet50_224_pytorch_results.csv",
            "batch_size,avg_time_per_epoch\n32,1154.5\n",
            ("pytorch_food101", "Apple M3 Pro", {32: 1154.5}),
        ),
        (
            "NVIDIA_TITAN_RTX_IMDB_distilbert-base-uncased_512_pytorch_results.csv",
            "train_runtime,train_samples_per_second,train_steps_per_second,train_loss,epoch,batch_size,total_flos\n"
            "600.0,125.0,7.8,0.25,3.0,16,\n90.0,1,1,0.2,2.0,32,\nFAILED,FAILED,FAILED,FAILED,FAILED,64,FAILED\n",
            ("pytorch_imdb", "NVIDIA TITAN RTX", {16: 200.0, 32: 45.0, 64: "failed"}),
        ),
        (
            "Apple_M3_llama-2-7b-chat.Q4_0.gguf_results.csv",
            "question,question_iter,total_time,answer,answer_char_len,chars_per_second,answer_token_len,"
            'tokens_per_second\nWhy?,0,7.5,"Because,\n\nof that",1144,146.8,286.0,36.0\nWhy?,1,7.5,So,2,1,1,40.0\n'
            "Why?,2,7.5,So,2,1,1,41.0\n",
            ("llama2", "Apple M3", {comparison.LLAMA_2_7B: 40.0}),
        ),
    ],
    ids=lambda value: value.split("_results")[0] if isinstance(value, str) and value.endswith(".csv") else None,
)
def test_files_of_the_older_scripts(tmp_path, name, text, expected):
    experiment, machine, cells = expected
    assert medians(older(tmp_path, name, text)) == ({(experiment, machine, ("older",)): cells}, [])


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
    done = run(COMPARE, "--format=csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(f"WARNING: {Path('results', 'thing.csv')} {reason}")
    assert done.stderr.count("\n") == 1
    assert "RTX 4090" in done.stdout


def test_a_torn_last_line_is_left_out_and_said(tmp_path):
    path = ours(tmp_path, seconds=(60.0, 61.0, 62.0, 99.0))
    whole = path.read_bytes()
    for end in (whole.rindex(b"0123456789ab"), len(whole) - 1):
        path.write_bytes(whole[:end])
        found, notes = medians(path)
        assert list(found.values()) == [{32: 61.0}]
        assert notes == ["line 5 is cut short"]
    path = older(
        tmp_path,
        "Apple_M3_CIFAR100_resnet50_32_pytorch_results.csv",
        "batch_size,avg_time_per_epoch\n16,303.0\n32",
    )
    found, notes = medians(path)
    assert list(found.values()) == [{16: 303.0}]
    assert notes == ["line 3 is cut short"]


def generation_row(**cells):
    row = dict.fromkeys(GENERATION_COLUMNS, "")
    row |= {"question": "Why?", "question_iter": 1, "total_time": 10.0, "answer": "So,\nit is.", "status": "ok"}
    row |= {"answer_token_len": 500, "tokens_per_second": 50.0, "data": "real", "model": "LLaMA v2"}
    row |= {
        "quantization": "Q4_0",
        "parameters": 6738415616,
        "device": "mps",
        "machine": "Apple_M4",
        "chip": "Apple M4",
    }
    row |= {"gpu_cores": 10, "memory_gb": 16}
    return row | cells


def test_answers_are_compared_by_model(tmp_path):
    rows = [
        generation_row(),
        generation_row(tokens_per_second=52.0),
        generation_row(tokens_per_second=200.0, model="SmolLM2", quantization="Q4_1", parameters=134515008),
        generation_row(tokens_per_second="", status="failed", data="synthetic"),
    ]
    found, notes = medians(write(tmp_path / "llama.csv", rows, GENERATION_COLUMNS))
    assert notes == []
    assert found == {
        ("llama2", "Apple M4", ()): {"Llama 2 7B Q4_0": 51.0, "SmolLM2 Q4_1": 200.0},
        ("llama2", "Apple M4", ("synthetic",)): {"Llama 2 7B Q4_0": "failed"},
    }


def test_the_published_figures_are_all_there():
    figures = list(comparison.published())
    assert len(figures) == 175
    assert len({figure.machine.name for figure in figures}) == 6
    assert sum(figure.value is None for figure in figures) == 6
    together = collect(figures)
    assert list(together) == list(comparison.EXPERIMENTS)
    m3_max = next(one for one in together["pytorch_cifar100"] if one.machine.name == "Apple M3 Max")
    assert m3_max.cells[64].median == 152.7
    assert m3_max.machine.label == "Apple M3 Max, 30 GPU cores, 36 GB"


@pytest.mark.parametrize(
    ("one", "other", "tie"),
    [
        ([10, 12, 11], [11.5, 14], True),
        ([10, 12, 11], [12, 14], True),
        ([10, 12, 11], [12.1, 14], False),
        ([10, 12, 11], [9, 9.9], False),
        ([10, 12], [11], True),
        ([11], [11.1], False),
    ],
)
def test_overlapping_spreads_are_a_tie(one, other, tie):
    assert Cell(one).ties_with(Cell(other)) == Cell(other).ties_with(Cell(one)) == tie


def records(folder, *arguments):
    done = run(COMPARE, "--format=json", *arguments, cwd=folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


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
    assert (m5["speed"], m5["tie"]) == (pytest.approx(60 / 31), False)
    m4 = next(one for name, one in found.items() if name.startswith("Apple M4"))
    assert (m4["speed"], m4["tie"]) == (pytest.approx(60 / 90), True)
    assert found["Apple M3, 10 GPU cores, 8 GB"]["speed"] == pytest.approx(60 / 184.4)
    text = run(COMPARE, "--baseline=rtx 4090", cwd=tmp_path).stdout
    assert re.search(r"Apple M4 +.*tie", text)
    assert "tie: from the lowest to the highest" in text


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
    done = run(COMPARE, "--format=csv", "--baseline=Apple M3", cwd=ROOT)
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
        (["--bse=x"], "there is no option '--bse'"),
    ],
)
def test_bad_input_gets_one_sentence(tmp_path, arguments, reason):
    done = run(COMPARE, *arguments, cwd=tmp_path)
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


def test_a_chart_has_the_fastest_machines_where_there_are_too_many():
    title = comparison.EXPERIMENTS["pytorch_cifar100"]
    some = [
        comparison.Series(comparison.Machine(f"m{number}", f"m{number}", ""), (), {32: Cell([100.0 - number])})
        for number in range(charts.MOST + 6)
    ]
    assert charts.fastest(some, title) == some[6:]
    assert charts.fastest(some, comparison.EXPERIMENTS["llama2"]) == some[:-6]


def test_two_hundred_files_of_a_thousand_rows(tmp_path):
    for number in range(200):
        seconds = [100 + number + step % 7 for step in range(1000)]
        ours(tmp_path, machine=f"Chip_{number}", chip=f"Chip {number}", seconds=seconds)
    start = time.perf_counter()
    found = records(tmp_path)
    assert time.perf_counter() - start < 10  # 3 on a machine that does nothing else
    by_name = {one["machine"]: one for one in found if one["machine"].startswith("Chip")}
    assert len(by_name) == 200
    assert by_name["Chip 7, 24 GB"]["median"] == statistics.median(107 + step % 7 for step in range(1000))
    assert by_name["Chip 7, 24 GB"]["count"] == 1000


def test_check(tmp_path):
    path = ours(tmp_path)
    done = run(COMPARE, "--check", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Nothing is wrong with the 1 CSV\n", "")

    good = path.read_text()
    broken = {
        "row 1: epoch_seconds is '-3'": good.replace(",1,60.0,", ",1,-3,"),
        "row 2: status is 'fine'": good.replace(",61.0,833.3,ok", ",61.0,833.3,fine"),
        "row 1: machine is Other": good.replace(HOME, "Other", 1),
        "row 1: data is 'made up'": good.replace(",real,", ",made up,", 1),
        "ends in the middle of a row": good[:-1],
        "row 4 has 3 cells": good + "1,2,3\n",
        "does not have the columns of these scripts": good.replace("epoch_seconds", "seconds", 1),
        "row 3: run_id is empty": "0123456789ab".join(good.split("0123456789ab")[:3]) + good.split("0123456789ab")[3],
    }
    for reason, text in broken.items():
        path.write_text(text)
        done = run(COMPARE, "--check", cwd=tmp_path)
        assert done.returncode == 1, reason
        assert f"{path.relative_to(tmp_path)} {reason}" in done.stderr


def test_the_committed_results_are_fit_and_the_readme_shows_them(tmp_path):
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
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    command = re.search(r"<!-- python compare_results.py (.*) -->\n", readme)
    block = readme[command.end() : readme.index("<!-- end -->")]
    done = run(COMPARE, *shlex.split(command[1]), cwd=tmp_path)
    assert done.stdout.strip() == block.strip()


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

BROWSER = """
import json, sys
from playwright.sync_api import sync_playwright

seen = {"console": [], "requests": []}
with sync_playwright() as play:
    browser = play.chromium.launch(executable_path=sys.argv[1], args=["--no-sandbox"])
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.on("console", lambda message: seen["console"].append(message.text))
    page.on("pageerror", lambda error: seen["console"].append(str(error)))
    page.on("request", lambda request: seen["requests"].append(request.url))
    page.goto(sys.argv[2])

    def speeds():
        cells = page.locator("#pytorch_cifar100-speeds tbody tr").all()
        return {row.locator("td").first.text_content(): row.locator("td").nth(1).text_content() for row in cells}

    def axis():
        return page.evaluate("document.getElementById('pytorch_cifar100-chart')._fullLayout.yaxis.type")

    def first_column():
        return page.locator("#pytorch_cifar100-times tbody td:nth-child(2)").all_text_contents()

    seen["before"] = speeds()
    page.select_option("#baseline", "published Apple M3")
    seen["after"] = speeds()
    seen["hover"] = page.evaluate("document.getElementById('pytorch_cifar100-chart').data[0].customdata[0][0]")
    seen["fitting"] = axis()
    page.select_option("#scale", "linear")
    seen["linear"] = axis()
    page.select_option("#scale", "log")
    seen["log"] = axis()
    page.locator("#pytorch_cifar100-times thead th").nth(1).click()
    seen["up"] = first_column()
    page.locator("#pytorch_cifar100-times thead th").nth(1).click()
    seen["down"] = first_column()
    if len(sys.argv) > 3:
        page.screenshot(path=sys.argv[3], full_page=True)
    browser.close()
print(json.dumps(seen))
"""


@pytest.mark.skipif(not CHROMIUM, reason="needs Chromium")
def test_the_page_in_a_browser(tmp_path):
    pytest.importorskip("playwright")
    page = tmp_path / "page.html"
    done = run(COMPARE, f"--html={page}", "--baseline=M1 Pro", "--format=json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not re.search(r'<(?:script|link|img)[^>]+(?:src|href)="http', page.read_text(encoding="utf-8"))
    browsed = subprocess.run(
        [sys.executable, "-c", BROWSER, CHROMIUM, page.as_uri()], capture_output=True, text=True, timeout=120
    )
    assert browsed.returncode == 0, browsed.stderr
    seen = json.loads(browsed.stdout)
    assert seen["console"] == []
    assert [url for url in seen["requests"] if not url.startswith(("data:", "blob:"))] == [page.as_uri()]
    m1, m3 = ("Apple M1 Pro, 16 GPU cores, 32 GB (published)", "Apple M3, 10 GPU cores, 8 GB (published)")
    assert (seen["before"][m1], seen["before"][m3]) == ("1.00", f"{437.6 / 303.0:.2f}")
    assert (seen["after"][m1], seen["after"][m3]) == (f"{303.0 / 437.6:.2f}", "1.00")
    assert seen["hover"] == seen["after"][m1]
    assert (seen["fitting"], seen["linear"], seen["log"]) == ("log", "linear", "log")
    assert seen["up"] == seen["down"][::-1]
    assert float(seen["up"][0]) == min(map(float, seen["up"]))
