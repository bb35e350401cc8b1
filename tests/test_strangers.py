"""compare_results.py and the CSVs of strangers: none hangs it, breaks it, forges its messages or runs a script."""

import contextlib
import csv
import io
import os
import re

import pytest

from speed_test import replaced, resume, screen, verdict
from speed_test.command_line import BadInput
from speed_test.compare import cells, check, files, markdown, ours, read, speeds, table, text
from speed_test.results import COLUMNS, GENERATION_COLUMNS, Results
from speed_test.suite import saved
from speed_test.suite.summary import BASELINE
from tests import nasty_csvs
from tests.conftest import ROOT, run
from tests.made_csvs import HOME, cells_of, compare, generation_row, training_row, write
from tests.made_csvs import ours as made
from tests.test_page import browse, needs_browser, written

COMPARE = ROOT / "compare_results.py"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return nasty_csvs.make(tmp_path_factory.mktemp("nasty") / "results")


def control_characters(*texts):
    return {letter for text in texts for letter in text if not letter.isprintable()} - {"\n"}


# ---- All of them ----


def test_each_is_read_or_named(corpus):
    """benchmarks/fuzz.py makes every output of each of them, which takes minutes."""
    assert len(corpus) >= 100
    fit = 0
    for path in corpus:
        measurements, problems = nasty_csvs.look_at(path)
        if not problems:
            fit += 1
            assert len(measurements) == len(files.content(path).rows), path
    assert fit > 30


@pytest.mark.parametrize("output", ["text", "markdown", "csv", "json"])
def test_every_output_of_many_together(corpus, tmp_path, output):
    done = compare(f"--format={output}", f"--html={tmp_path / 'page.html'}", *map(str, corpus[::10]), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not control_characters(done.stdout, done.stderr)
    assert all(line.startswith("WARNING: ") for line in done.stderr.splitlines())
    if output == "csv":
        written = [cell for row in csv.reader(io.StringIO(done.stdout)) for cell in row]
        assert not [cell for cell in written if cell[:1] in set("=+-@\t")]


def test_the_command_on_all_of_them(corpus):
    folder = corpus[0].parent
    done = run(COMPARE, "--check", str(folder), cwd=folder)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert not control_characters(done.stdout, done.stderr)
    assert not [line for line in done.stderr.splitlines() if not line.startswith(str(folder))]
    if os.name == "nt":
        return
    for name, reason in (
        ("S_pipe.csv", "is a named pipe, no file"),
        ("S_pipe_behind_a_link.csv", "is a named pipe, no file"),
        ("S_socket.csv", "is a socket, no file"),
        ("S_folder.csv", "is a folder, no file"),
        ("S_zero.csv", "is a device, no file"),
        ("S_dangling.csv", "cannot be read (No such file or directory)"),
        ("S_loop.csv", "cannot be read ("),
        ("B_60_mb.csv", "is larger than 50 MB"),
        ("B_utf16.csv", "is not text in UTF-8 (it begins as UTF-16 does)"),
        ("B_cr.csv", "ends its lines with a carriage return"),
        ("C_twice.csv", "has the column 'machine' twice"),
        ("C_100000.csv", "has 100,000 columns"),
    ):
        assert f"{folder / name} {reason}" in done.stderr
    assert (os.getuid() == 0) != (f"{folder / 'S_unreadable.csv'} cannot be read (Permission denied)" in done.stderr)


# ---- Files that are no files ----


@pytest.mark.skipif(os.name == "nt", reason="Windows has no named pipes among its files")
def test_a_named_pipe_hangs_neither(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    for arguments in ([], ["--check"]):
        done = run(COMPARE, "--format=csv", *arguments, "pipe.csv", cwd=tmp_path)
        assert "pipe.csv is a named pipe, no file" in done.stderr


@pytest.mark.parametrize("path", ["x" * 300, "nowhere", "dangling.csv", "loop.csv", "a\nWARNING: b", "a\x1b[31m"])
def test_a_path_that_cannot_be_used_gets_one_sentence(tmp_path, path):
    with contextlib.suppress(OSError):
        (tmp_path / "dangling.csv").symlink_to("nowhere")
        (tmp_path / "loop.csv").symlink_to("loop.csv")
    for arguments in ([], ["--check"]):
        done = compare(*arguments, path, cwd=tmp_path)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1, done.stderr
        assert re.search(r"is not there|cannot be read \(", done.stderr)
        assert not control_characters(done.stderr)


@pytest.mark.skipif(os.name == "nt" or not hasattr(os, "getuid") or os.getuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_read_is_named(tmp_path):
    made(tmp_path)
    (tmp_path / "results" / "closed").mkdir(mode=0)
    done = compare("--format=csv", cwd=tmp_path)
    assert done.returncode == 0
    assert "closed cannot be read (Permission denied)" in done.stderr


def test_a_name_forges_no_line(tmp_path):
    if os.name == "nt":
        pytest.skip("Windows has no such names")
    made(tmp_path)
    for name in ("a\nWARNING: all is lost.csv", "b\rc.csv", "\x1b]0;title\x07.csv", "\u202egnp.csv"):
        (tmp_path / "results" / name).write_bytes(b"")
    for arguments in (["--format=csv"], ["--check"]):
        done = compare(*arguments, cwd=tmp_path)
        assert done.stderr.count("\n") == 4
        assert not control_characters(done.stderr)


def test_folders_in_folders_without_end(tmp_path):
    made(tmp_path)
    deep = tmp_path / "results"
    for _ in range(400):
        deep /= "a"
        deep.mkdir()
    done = compare("--format=csv", cwd=tmp_path)
    assert done.returncode == 0
    assert re.search(r"a/a is a folder, no file", done.stderr)


# ---- Links and pipes where something is written ----


@pytest.mark.skipif(os.name == "nt", reason="Windows lets few users make links, and has no named pipes")
@pytest.mark.parametrize("kind", ["link", "dangling", "pipe"])
def test_what_is_written_leads_to_no_other_file(tmp_path, kind):
    mine, results = tmp_path / "thesis.txt", tmp_path / "results"
    results.mkdir()
    if kind == "link":
        mine.write_text("mine")
    for name in ("a.png", "a_results.csv", saved.LOCK, saved.FILE):
        if kind == "pipe":
            os.mkfifo(results / name)
        else:
            (results / name).symlink_to(mine)
    replaced.write(results / "a.png", b"a picture")
    assert (results / "a.png").read_bytes() == b"a picture"
    saved.save(saved.Saved({}, []), results)
    assert (results / saved.FILE).read_text().startswith("{")
    with pytest.raises(BadInput, match=r"run_all.lock is no regular file; remove it"), saved.locked(results):
        pass
    if kind != "pipe":
        rows_of_mine = Results(results / "a_results.csv")
        rows_of_mine.append({"batch_size": 8})
        assert (results / "a_results_2.csv").is_file()
    assert [mine.exists(), mine.exists() and mine.read_text()] == ([True, "mine"] if kind == "link" else [False, False])
    assert not list(results.glob(".*"))


@pytest.mark.skipif(os.name == "nt", reason="Windows lets few users make links")
def test_a_chart_leads_to_no_other_file(tmp_path):
    made(tmp_path)
    mine = tmp_path / "thesis.txt"
    mine.write_text("mine")
    chart = tmp_path / "results" / "pytorch_cv_resnet50_cifar100.png"
    chart.symlink_to(mine)
    done = compare(cwd=tmp_path, draws=True)
    assert done.returncode == 0, done.stderr
    assert mine.read_text() == "mine"
    assert chart.name in [path.name for path in chart.parent.glob("*.png")]
    assert chart.read_bytes().startswith(b"\x89PNG")


# ---- Numbers and texts ----


@pytest.mark.parametrize("text", nasty_csvs.NUMBERS)
def test_numbers_that_no_script_writes(tmp_path, text):
    path = write(tmp_path / f"{HOME}_results.csv", [training_row(), training_row(epoch_seconds=text)])
    if text in ("1e5", "10000001"):
        assert nasty_csvs.look_at(path)[1] == []
        return
    measurements, notes = read.read(path)
    assert (len(measurements), len(notes)) == (1, 1)
    assert notes[0].startswith("line 3: epoch_seconds is '")
    assert list(check.problems(path)) == [notes[0].replace("line 3", "row 2")]


@pytest.mark.parametrize("text", ["0", "-1", "1e3", "10000001", "1" * 30, "032", "\u0661", "3_2", " 32", "32.0"])
def test_batch_sizes_that_no_script_writes(tmp_path, text):
    path = write(tmp_path / f"{HOME}_results.csv", [training_row(batch_size=text), training_row()])
    measurements, problems = nasty_csvs.look_at(path)
    assert len(measurements) == (2 if text == " 32" else 1)  # a space is cleaned away, and --check names it
    assert any(problem.startswith("row 1: batch_size is ") for problem in problems)


@pytest.mark.parametrize("version", ["\u00b2", "9" * 5000, "0", "-1", "x", "2"])
def test_versions_of_the_measurement_that_there_are_not(tmp_path, version):
    path = write(tmp_path / f"{HOME}_results.csv", [training_row(), training_row(measurement_version=version)])
    cells_of(path)
    assert next(check.problems(path)).startswith("row 2: measurement_version is ")


def test_one_row_of_a_later_version_does_not_mark_all_others(tmp_path):
    path = write(tmp_path / f"{HOME}_results.csv", [training_row()])
    other = write(tmp_path / "Z_results.csv", [training_row(machine="Z", chip="Z", measurement_version=9999)])
    found = table.cells(read.frame([*read.read(path)[0], *read.read(other)[0]]))
    marks = dict(zip(found["machine"], found["marks"], strict=True))
    assert "version" not in str(marks[HOME])
    assert "9999" in str(marks["Z"])


def test_a_chip_with_the_name_of_a_published_machine_is_not_the_baseline(tmp_path):
    path = write(tmp_path / "Z_results.csv", [training_row(machine="Z", chip="published Apple M1 Pro")])
    found = table.cells(read.frame([*read.published(), *read.read(path)[0]]))
    assert speeds.machines_called(found, BASELINE) == [BASELINE]


def test_figures_that_nobody_can_have_measured_are_none():
    for rates in ("1e308 " * 15, "1e-320 " * 15, "inf 1"):
        row = {"block_samples_per_second": rates, "figure": "epoch_seconds", "epoch_seconds": 1e-320, "better": "lower"}
        assert verdict.series([row]) == []
        assert verdict.grade([row]).letter in ("", "D")


def test_a_csv_beside_ours_that_is_far_too_large(tmp_path, monkeypatch):
    path = tmp_path / "a.csv"
    path.write_text("status\n" + "ok\n" * 50)
    assert len(list(resume.complete_rows(path))) == 50
    monkeypatch.setattr(resume, "MOST_ROWS", 20)
    assert len(list(resume.complete_rows(path))) == 20
    monkeypatch.setattr(resume, "LARGEST", 50)
    assert list(resume.complete_rows(path)) == []


def test_a_message_of_millions_of_brackets_is_cut_soon():
    for part in ("{{", "[[", "[Op:", "{{ ", "[[{{"):
        assert len(screen.one_line(part * 1_000_000)) <= 300
    said = screen.one_line("{{node a}} no [[{{node b}}]] room [Op:Add] name: ")
    assert said == "no room"
    assert screen.one_line("a\u200eb\u061cc") == "a\ufffdb\ufffdc"


def test_two_underlines_are_no_emphasis():
    assert markdown.escaped("__a__ b_c _d_") == r"\_\_a\_\_ b_c \_d\_"


def test_a_measured_figure_is_never_taken_for_a_published_one(tmp_path):
    rows = [training_row(machine="published Apple M3", source="published")]
    found, _ = cells_of(write(tmp_path / "x.csv", rows, [*COLUMNS, "source"]))
    assert not found["published"].any()
    assert list(found["machine"]) == ["published_Apple_M3"]


def test_a_long_text_is_cut_and_named(tmp_path):
    path = write(tmp_path / f"{HOME}_results.csv", [training_row(chip="x" * 10_000)])
    found, _ = cells_of(path)
    assert list(found["machine_name"]) == ["x" * (cells.LONGEST - 1) + "…"]
    assert list(check.problems(path)) == [f"row 1: chip is longer than {cells.LONGEST} characters"]


FORMULAS = {
    "=1+1": "'=1+1",
    "+1": "'+1",
    "-1+1": "'-1+1",
    "@SUM(1)": "'@SUM(1)",
    "\uff1d1": "'\uff1d1",
    "x;=1": "x;'=1",
    "a, -b": "a, '-b",
    "Apple M3-Max, 36 GB": "Apple M3-Max, 36 GB",
    "'=1": "'=1",
    "a=b": "a=b",
}


def test_no_text_is_a_formula(tmp_path):
    rows = [training_row(machine=f"m{number}", chip=one, memory_gb="") for number, one in enumerate(FORMULAS)]
    write(tmp_path / "results" / "x.csv", rows)
    table_of_all = csv.DictReader(io.StringIO(compare("--format=csv", cwd=tmp_path).stdout))
    assert {row["machine"] for row in table_of_all if row["published"] == "False"} == set(FORMULAS.values())
    assert [cells.no_formula(text) for text in (*FORMULAS, "")] == [*FORMULAS.values(), ""]


def test_numbers_stay_numbers_in_the_csv(tmp_path):
    made(tmp_path)
    rows = csv.DictReader(io.StringIO(compare("--format=csv", cwd=tmp_path).stdout))
    assert all(float(row["median"]) > 0 for row in rows if row["median"])


def test_markdown_begins_no_heading_and_no_list_with_a_unit(tmp_path):
    for number, unit in enumerate(("# x", "- x", "1. x", "===", "+ x")):
        made(tmp_path, machine=f"m{number}", unit=unit)
    lines = compare("--format=markdown", cwd=tmp_path).stdout.splitlines()
    headings = [line for line in lines if re.match("#|- |[0-9]+[.] |=|[+]", line)]
    assert all(line.startswith("## ") for line in headings)
    assert r"1\. x, median; lower is better" in lines


# ---- Names that become the same ----


def test_names_that_become_the_same_are_told_apart(corpus):
    for path in corpus:
        if path.name.startswith("A_"):
            found, notes = cells_of(path)
            assert notes == []
            compared = speeds.compare(found, None, [])
            tests = compared.groupby("test")
            assert tests["title"].nunique().max() == tests["chart"].nunique().max() == 1
            assert compared["title"].nunique() == compared["chart"].nunique() == compared["test"].nunique()
            assert not compared.duplicated(["test", "series", "group"]).any()
            for _, test in tests:
                text.figures_table(test.assign(line=test["label"]))


def test_distinct_names():
    assert table.distinct(["a", "A", "b", "a (2)"]) == ["a", "A (2)", "b", "a (2) (2)"]
    assert table.distinct(["NUL", "x"], "_{}", table.TAKEN) == ["NUL_2", "x"]


# ---- Very many of something ----


def test_a_file_holds_no_more_than_anybody_could_look_at(tmp_path):
    for column, things in (("experiment", "tests"), ("machine", "machines"), ("precision", "kinds of figures")):
        most = ours.MOST[things]
        path = write(tmp_path / f"{HOME}_results.csv", [training_row(**{column: f"x{n}"}) for n in range(most + 5)])
        measurements, problems = nasty_csvs.look_at(path)
        assert len(measurements) == most
        assert problems[-1] == f"row {most + 1}: the file has {most} {things} already, the most that are read"


def test_check_stops_after_some_problems_of_a_file(tmp_path):
    path = made(tmp_path)
    path.write_text(path.read_text(encoding="utf-8") + "1\n" * 5000, encoding="utf-8")
    done = compare("--check", cwd=tmp_path)
    assert done.stderr.count("\n") == 21
    assert done.stderr.endswith("has more of these\n")


# ---- In a browser ----

SEEN = """
seen["markup"] = page.locator("main b b, main img, main iframe, main svg[onload], .chart a, main script").count()
seen["shown"] = page.evaluate("[...document.querySelectorAll('th, td, h2')].map(cell => cell.textContent)")
seen["charts"] = page.locator(".chart .main-svg").count()
seen["alerts"] = page.evaluate("window.alerts || 0")
seen["clobbered"] = page.locator("#overview-base").text_content()
"""


@needs_browser
def test_no_text_of_any_column_runs_or_breaks_the_page(tmp_path):
    texts = nasty_csvs.TEXTS
    rows = []
    for number, one in enumerate(texts):
        cells_of_row = {"chip": one, "memory_gb": one, "gpu_cores": one, "precision": one, "machine": f"m{number}"}
        rows.append(training_row(**cells_of_row))
        rows.append(training_row(**cells_of_row | {"status": one, "batch_size": 64}))
    write(tmp_path / "results" / "machines.csv", rows)
    for number, one in enumerate((*texts[:14], "overview", "__proto__")):
        names = dict.fromkeys(("experiment", "framework", "model", "dataset", "input_size", "unit"), one)
        write(tmp_path / "results" / f"test_{number}.csv", [training_row(**names)])
    rows = [generation_row(machine=name, model=one, parameters=1) for one in texts for name in ("m0", "m1")]
    write(tmp_path / "results" / "answers.csv", rows, GENERATION_COLUMNS)
    seen = browse(written(tmp_path), f"page.on('dialog', lambda dialog: dialog.dismiss())\n{SEEN}")
    assert (seen["markup"], seen["alerts"]) == (0, 0)
    assert seen["charts"] > 20
    assert "overview" not in seen["clobbered"]
    shown = "\n".join(seen["shown"])
    for one in texts:
        if cells.clean(one) and len(cells.clean(one)) > 1:
            assert cells.clean(one) in shown, one
