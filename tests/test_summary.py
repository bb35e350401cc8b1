"""What run_all.py says at its end: the table, the speed over all tests, the verdict, the Markdown and the card."""

import re
import struct
from dataclasses import replace
from math import cbrt

import pytest

from speed_test.command_line import BadInput
from speed_test.results import GENERATION_COLUMNS
from speed_test.suite import card, sentences, shown
from speed_test.suite.outcome import Outcome
from speed_test.suite.sentences import Near, Work
from speed_test.suite.summary import Line, check_baseline, summarise
from tests.made_csvs import HOME, generation_row, runs, training_row, write
from tests.made_rows import row

TESTS = {
    "pytorch_cifar100": {"dataset": "CIFAR100"},
    "pytorch_food101": {"dataset": "FOOD101", "input_size": 224},
    "pytorch_imdb": {"model": "distilbert-base-uncased", "dataset": "IMDB", "input_size": 512},
    "tensorflow_imdb": {
        "framework": "tensorflow",
        "framework_version": "2.21.0",
        "model": "SmallTransformer",
        "dataset": "IMDB",
        "input_size": 200,
    },
}
# Seconds per epoch of the published Apple M1 Pro at its best batch size.
M1_PRO = {"pytorch_cifar100": 112.3, "pytorch_food101": 1186.4, "pytorch_imdb": 799.6, "tensorflow_imdb": 172.2}


def measured(name, seconds, run_id="", **cells):
    """The rows of a calm run of three epochs, and how its test ended."""
    own = TESTS.get(name, {"model": name}) | {"experiment": name, "run_id": run_id or f"run of {name}"}
    rows = runs([50_000 / seconds], epochs=3, **own | {"compute_samples_per_second": 50_500 / seconds} | cells)
    return rows, Outcome(name, f"{name}.py", "measured", run_ids=(own["run_id"],))


def summary_of(folder, *tests, more=(), outcomes=(), baseline=None):
    """The summary of these tests (see `measured`), with `more` rows in the folder and `outcomes` of other tests."""
    write(folder / "results_x" / "made.csv", [row for rows, _ in tests for row in rows] + list(more))
    return summarise(folder, [*(outcome for _, outcome in tests), *outcomes], baseline)


def three_tests():
    """At 1, 2 and 4 times the speed of the published Apple M1 Pro."""
    return [
        measured(name, M1_PRO[name] / times)
        for name, times in (("pytorch_cifar100", 1), ("pytorch_food101", 2), ("pytorch_imdb", 4))
    ]


# ---- The figures ----


def test_figures_speeds_and_neighbours_against_hand_computed_ones(tmp_path):
    summary = summary_of(tmp_path, *three_tests())
    assert [line.figure for line in summary.tests] == pytest.approx([112.3, 593.2, 199.9])
    assert [line.text for line in summary.tests] == ["112", "593", "200"]
    assert [line.speed_text for line in summary.tests] == ["1.00", "2.00", "4.00"]
    assert [line.grade for line in summary.tests] == ["B"] * 3
    assert (summary.overall, summary.overall_tests) == (pytest.approx(2), 3)
    assert summary.baseline == "Apple M1 Pro (published)"
    assert (summary.machine, summary.name) == (HOME, "NVIDIA GeForce RTX 4090")
    assert (summary.facts, summary.date) == ("24 GB, Linux", "2026-11-24")
    assert summary.versions == ("PyTorch 2.15.0",)
    max_of_m3 = cbrt(112.3 / 110.8 * 593.2 / 767.3 * 199.9 / 510.4)
    v100 = cbrt(112.3 / 15.1 * 593.2 / 581.0 * 199.9 / 161.0)
    assert (f"{max_of_m3:.2f}", f"{v100:.2f}") == ("0.67", "2.11")
    best, _, beside = summary.verdict
    assert best == (
        "Against the Apple M1 Pro it does best in DistilBERT on IMDB, PyTorch (4.00 times its speed), and worst in "
        "ResNet50 on CIFAR100, PyTorch (1.00)."
    )
    assert beside == (
        "Of the published machines it stands between the Apple M3 Max (0.67 times as fast over 3 tests) and the "
        "NVIDIA Tesla V100-SXM2-16GB (2.11 times as fast over 3 tests), nearer to the Apple M3 Max."
    )


def test_only_the_rows_of_this_suite_count(tmp_path):
    earlier, _ = measured("pytorch_cifar100", 1.0, run_id="earlier")
    older = [training_row(epoch_seconds=2.0, experiment="pytorch_food101", dataset="FOOD101", input_size=224)]
    elsewhere, _ = measured("pytorch_cifar100", 3.0, run_id="earlier", cpu_model="another host")
    summary = summary_of(
        tmp_path, measured("pytorch_cifar100", 56.15), more=earlier + older + elsewhere, baseline="M1 Pro"
    )
    assert [line.text for line in summary.tests] == ["56.1"]
    assert (summary.overall, summary.overall_tests) == (pytest.approx(2), 1)


def test_the_best_batch_size_may_be_an_estimated_one(tmp_path):
    rows, outcome = measured("pytorch_cifar100", 80.0)
    larger, _ = measured("pytorch_cifar100", 50.0, batch_size=256, estimated="True")
    faster, _ = measured("pytorch_cifar100", 10.0, batch_size=256, precision="bfloat16")
    failed = [training_row(**{**larger[0], "batch_size": 512, "status": "out_of_memory", "epoch_seconds": ""})]
    summary = summary_of(tmp_path, (rows + larger + faster + failed, outcome))
    (line,) = summary.tests
    assert (line.group, line.text, line.marks) == ("256", "50.0", ("estimated",))
    assert line.speed == summary.overall == pytest.approx(112.3 / 50)
    assert "50.0*" in "\n".join(summary.lines(80))
    assert "* estimated from a part of the epoch" in summary.lines(80)
    assert "memory: batch size 512 did not fit in ResNet50 on CIFAR100, PyTorch" in " ".join(summary.verdict)


def test_a_framework_that_left_the_gpu_idle_is_of_the_same_machine(tmp_path):
    on_cpu = {"machine": "AMD_EPYC_64GB_Memory_8_CPU_Cores", "chip": "AMD EPYC", "device": "cpu", "cpu_cores": 8}
    earlier, _ = measured("tensorflow_imdb", 1.0, run_id="earlier", **on_cpu)
    tests = [measured("tensorflow_imdb", 86.1, **on_cpu), measured("pytorch_cifar100", 112.3 / 8)]
    summary = summary_of(tmp_path, *tests, more=earlier)
    assert summary.machine == HOME
    assert [line.marks for line in summary.tests] == [("on the CPU",), ()]
    assert (summary.overall, summary.overall_tests) == (pytest.approx(4), 2)
    assert "Small transformer on IMDB, TensorFlow: on the CPU" in summary.lines(80)


def test_answers_of_a_language_model(tmp_path):
    answers = [
        generation_row(run=1, run_id="answers", device="cuda", machine=HOME, chip="NVIDIA GeForce RTX 4090", **cells)
        for cells in ({"tokens_per_second": 68.0}, {"tokens_per_second": 68.0, "question_iter": 2})
    ]
    write(tmp_path / "results_llama2" / "made.csv", answers, GENERATION_COLUMNS)
    llama = Outcome("llama2", "llama2_test.py", "measured", run_ids=("answers",))
    summary = summary_of(tmp_path, measured("pytorch_cifar100", 112.3), outcomes=[llama])
    assert (summary.tests[1].title, summary.tests[1].text) == ("Text generation, llama.cpp", "68.0")
    assert (summary.tests[1].speed_text, summary.tests[1].grade) == ("2.00", "D")
    assert summary.overall == pytest.approx(2**0.5)
    said = " ".join(summary.lines(80))
    assert "Text generation, llama.cpp: tokens per second (answer by total time), higher is better" in said
    assert "1 of the figures has grade D." in said


def test_a_model_that_no_other_machine_has(tmp_path):
    own, others = (
        generation_row(run=1, run_id=name, model=name, parameters=1, tokens_per_second=5.0, machine=name, chip=name)
        for name in ("Own", "Theirs")
    )
    write(tmp_path / "results_llama2" / "made.csv", [own, others], GENERATION_COLUMNS)
    outcome = Outcome("llama2", "llama2_test.py", "measured", run_ids=("Own",))
    for baseline in (None, "Theirs"):
        summary = summarise(tmp_path, [outcome], baseline)
        (line,) = summary.tests
        assert (line.title, line.text, line.speed) == ("Text generation, llama.cpp: Own Q4_0", "5.0", None)
        assert (summary.overall, summary.overall_tests) == (None, 0)
        assert summary.baseline == (baseline or "Apple M1 Pro (published)")
        assert "Apple" not in "".join(summary.lines(80)[4:])
    card.draw(summary, tmp_path / "card.png")


def test_baselines(tmp_path, capsys):
    own = {"machine": "B", "chip": "Chip B", "memory_gb": ""}
    calm, _ = measured("pytorch_cifar100", 100.2, run_id="of another", **own)
    tests = [measured("pytorch_cifar100", 100.0)]
    summary = summary_of(tmp_path, *tests, more=calm, baseline="chip b")
    assert (summary.baseline, summary.tests[0].speed_text) == ("Chip B", "same")
    assert summarise(tmp_path, [tests[0][1]], "RTX 4090").overall is None
    check_baseline(tmp_path, None)
    with pytest.raises(
        BadInput, match=r"^--baseline: there is no machine 'M9'; there are Apple M1 Pro, 16 .*; Chip B;"
    ):
        check_baseline(tmp_path, "M9")
    # What was another machine before the start may be this one at the end: half an hour must not be lost for it.
    assert summarise(tmp_path, [tests[0][1]], "M9").baseline == "Apple M1 Pro (published)"
    assert "there is no machine 'M9'" in capsys.readouterr().err
    check_baseline(tmp_path / "not there", "m1 pro")


# ---- How tests end ----


def test_every_end_of_a_test_is_said(tmp_path):
    stopped, outcome = measured("pytorch_cifar100", 56.15)
    stopped = (stopped, replace(outcome, status="stopped", reason="Ctrl-C ended it at batch size 64"))
    others = [
        Outcome("pytorch_food101", "x.py", "failed", "torch is broken"),
        Outcome("tensorflow_imdb", "x.py", "left out", "it needs 8 GB of memory"),
        Outcome("made_up", "x.py", "measured", run_ids=("gone",)),
    ]
    summary = summary_of(tmp_path, stopped, outcomes=others)
    said = "\n".join(summary.lines(80))
    assert re.search(r"^ResNet50 on CIFAR100, PyTorch +32 +56\.1 +±0\.\d+% +B +2\.00$", said, re.MULTILINE)
    assert "ResNet50 on CIFAR100, PyTorch: stopped: Ctrl-C ended it at batch size 64" in " ".join(summary.lines(80))
    assert re.search(r"^ResNet50 on Food101, PyTorch +failed: torch is broken$", said, re.MULTILINE)
    assert re.search(r"^Small transformer on IMDB, TensorFlow +left out: it needs 8 GB of memory$", said, re.MULTILINE)
    assert re.search(r"^made_up +measured: it has no figure$", said, re.MULTILINE)
    assert (
        "| Small transformer on IMDB, TensorFlow |  | left out: it needs 8 GB of memory |  |  |" in summary.markdown()
    )


def test_a_suite_in_which_nothing_worked(tmp_path):
    failed = training_row(status="failed", epoch_seconds="", run=1, run_id="a", error="no")
    outcomes = [Outcome("pytorch_cifar100", "x.py", "failed", "no", run_ids=("a",))]
    summary = summary_of(tmp_path, ([failed], outcomes[0]), baseline="M9")
    assert (summary.machine, summary.overall, summary.verdict) == (HOME, None, ())
    assert summary.lines(80) == ["NVIDIA GeForce RTX 4090", "", "test", "ResNet50 on CIFAR100, PyTorch  failed: no"]
    nowhere = summarise(tmp_path / "not there", [Outcome("x", "x.py", "left out", "its packages are missing")], None)
    assert re.fullmatch(r"[\w.-]+", nowhere.machine)
    assert nowhere.lines(60)[-1].endswith("left out: its packages are missing")
    card.draw(nowhere, tmp_path / "card.png")


# ---- The verdict ----


def line_of(title, speed, half_width=0.01, grade="B"):
    return Line(title, "measured", figure=1.0, half_width=half_width, grade=grade, speed=speed)


def test_best_and_worst_only_of_graded_figures_that_differ():
    tests = [line_of("one", 2.0), line_of("two", 0.5), line_of("unsure", 9.0, grade="D"), line_of("old", 0.1, grade="")]
    said = sentences.best_and_worst(tests, "M1")
    assert said == (
        "Against the M1, in the 2 tests with a grade from A to C, it does best in one (2.00 times its speed), and "
        "worst in two (0.50)."
    )
    assert sentences.best_and_worst(tests[:2], "M1").startswith("Against the M1 it does best in one ")
    assert sentences.best_and_worst(tests[1:], "M1") == ""
    wide = [line_of("one", 1.0, 0.1), line_of("two", 0.9, 0.1)]
    assert sentences.best_and_worst(wide, "M1") == (
        "Against the M1 no test stands out: its speed is 0.90 to 1.00 times the baseline's in the 2 tests with a "
        "grade from A to C."
    )


def work(*rows, best=32.0, too_large=()):
    sizes = {}
    for one in rows:
        sizes.setdefault(float(one["batch_size"]), []).append(one)
    return Work(sizes, best, too_large)


def test_what_held_it_back_is_what_rows_say():
    waits = row(compute_samples_per_second=200.0, data_wait_seconds=15.0)
    assert sentences.held_back({"a": work(waits)}) == "What held it back: waiting for data, 25% of the time in a."
    assert sentences.held_back({"a": work(row())}) == "Nothing that its rows record held it back."
    ungraded = {"status": "ok", "batch_size": 32, "epoch_seconds": 1.0}
    assert sentences.held_back({"a": work(ungraded)}) == ""
    assert sentences.held_back({}) == ""
    battery, swap = row(power="battery"), row(swap_growth_gb=2.0)
    small = row(batch_size=16, compute_samples_per_second=50.0)
    said = sentences.held_back(
        {"a": work(battery), "b": work(swap, battery, too_large=[64, 128]), "c": work(small, row())}
    )
    assert said == (
        "What held it back: memory: batch size 64 did not fit in b; swapped 2.0 GB in b; on battery in a and 1 other "
        "test; small batches: the compute limit of batch size 16 is 50% below that of 32 in c."
    )
    slower = row([100.0 - 0.1 * (at % 3) for at in range(30)] + [80.0 - 0.1 * (at % 3) for at in range(30)])
    assert "heat" not in sentences.held_back({"a": work(slower)})
    hot = work({**slower, "thermal_level": "heavy"})
    assert "heat, which slowed it down by 20% in a" in sentences.held_back({"a": hot})


def test_neighbours_need_three_tests():
    near = [Near("A", 1.2, 3), Near("B", 0.5, 2)]
    for sure, have in ((2, "2 tests have"), (1, "1 test has"), (0, "No test has")):
        said = f"{have} a grade from A to C: 3 are needed to say which published machine it stands beside."
        assert sentences.neighbours(near, sure) == said
    assert sentences.neighbours(near[1:], 3).startswith("No published machine has figures in 3 of these tests")
    slower = [Near("A", 0.5, 3), Near("B", 0.2, 7), Near("C", 1.1, 2)]
    assert sentences.neighbours(slower, 7) == (
        "Every published machine that can be compared is slower; the nearest is the A (0.50 times as fast over 3 "
        "tests)."
    )
    faster = [Near("A", 5.0, 3), Near("B", 2.0, 7)]
    assert "is faster; the nearest is the B (2.00" in sentences.neighbours(faster, 7)


def test_a_verdict_says_less_where_less_is_known(tmp_path):
    rows = [training_row(run=1, run_id="a", epoch_seconds=50.0)]
    summary = summary_of(tmp_path, (rows, Outcome("pytorch_cifar100", "x.py", "measured", run_ids=("a",))))
    assert summary.tests[0].grade == "D"
    assert len(summary.verdict) == 2
    assert "No test has a grade from A to C" in summary.verdict[-1]


# ---- What is shown ----


@pytest.mark.parametrize("width", [80, 60])
def test_no_line_is_too_wide(tmp_path, width):
    long = "a_rather_long_name_of_a_speed_test_without_any_space_in_it_at_all"
    tests = [*three_tests(), measured(long, 12_345.0, batch_size=1024, estimated="True", data="synthetic")]
    reason = "it needs 123 GB of memory, and nobody knows where these could come from " * 4
    summary = summary_of(tmp_path, *tests, outcomes=[Outcome("tensorflow_imdb", "x.py", "left out", reason)])
    assert [line for line in summary.lines(width) if len(line) > width] == []
    assert len(summary.lines(width)) < 50
    columns = [line for line in summary.lines(width) if line.endswith(("1.00", "2.00", "4.00"))]
    assert len({len(line) for line in columns}) == 1


@pytest.mark.parametrize(
    ("speed", "text"),
    [(0.0123, "0.012"), (0.1, "0.10"), (0.994, "0.99"), (15.52, "15.5"), (99.9, "99.9"), (1234.5, "1,234")],
)
def test_speeds_have_two_digits_at_least(speed, text):
    assert shown.times(speed) == text


NASTY = "<img src=x> $x^{$ | `b` [a](http://b.c)\x1b[31m\u202e @all _i_\n# c a/b#12"


def test_a_strangers_text_is_text(tmp_path):
    cells = {
        "chip": NASTY,
        "os": NASTY,
        "framework_version": NASTY,
        "machine": "../../x",
        "busiest_other_process": NASTY,
    }
    tests = [measured("pytorch_cifar100", 56.15, other_load_percent=500.0, cpu_cores=8, **cells), measured(NASTY, 2.0)]
    baseline, _ = measured("pytorch_cifar100", 80.0, run_id="b", machine="B", chip=f"B {NASTY}")
    summary = summary_of(
        tmp_path, *tests, more=baseline, baseline="B <img", outcomes=[Outcome(NASTY, "x", "failed", NASTY)]
    )
    assert summary.machine == "x"
    for text in ("\n".join(summary.lines(80)), summary.markdown()):
        assert not [letter for letter in text if not letter.isprintable() and letter != "\n"]
    assert not re.search(r"@\w|#\d", summary.markdown())
    unescaped = re.sub(r"\\.|<!-- -->", "", summary.markdown().replace("`uv run run_all.py`", ""))
    assert not set(unescaped) & set("<[]`$@~&")
    assert not re.search(r"(?<!\w)_|_(?!\w)", unescaped)
    assert {line.count("|") for line in unescaped.splitlines() if line.startswith("|")} == {6}
    assert len(re.findall("^#", unescaped, re.MULTILINE)) == 1
    card.draw(summary, tmp_path / "card.png")  # no formula in it that cannot be read
    assert size(tmp_path / "card.png") == (1200, 630)


def size(path):
    """Width and height of a PNG."""
    start = path.read_bytes()[:24]
    assert start.startswith(b"\x89PNG\r\n\x1a\n")
    return struct.unpack(">II", start[16:24])


def test_the_card_of_many_tests_and_of_extreme_speeds(tmp_path, monkeypatch):
    written = []
    write_text = card._write

    def spy(figure, text, x, y, size, room=None, **look):
        width = write_text(figure, text, x, y, size, room, **look)
        drawn = figure.texts[-1]
        written.append(drawn.get_text())
        box = drawn.get_window_extent()
        assert min(box.x0, box.y0, 1200 - box.x1, 630 - box.y1) >= 0, text
        assert drawn.get_fontsize() * 100 / 72 >= 19.99, text
        return width

    monkeypatch.setattr(card, "_write", spy)
    summary = summary_of(tmp_path, *three_tests())
    speeds = (1000.0, 0.01, 1.0, None)
    tests = [
        replace(summary.tests[0], speed=speed, speed_text="" if speed is None else shown.times(speed))
        for speed in speeds * 3
    ]
    summary = replace(summary, tests=tuple(tests), name="N" * 30 + " " + "M" * 29, facts="F" * 200)
    card.draw(summary, tmp_path / "new" / "card.png")
    assert size(tmp_path / "new" / "card.png") == (1200, 630)
    assert {"N" * 30, "M" * 29, "1,000", "0.010", "1.00", "and 4 more tests", "Apple M1 Pro (published) = 1"} <= {
        *written
    }
    assert "ML Speed Test: uv run run_all.py" in written
    written.clear()
    card.draw(replace(summary, tests=(), overall=None), tmp_path / "none.png")
    assert size(tmp_path / "none.png") == (1200, 630)
