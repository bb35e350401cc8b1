"""--budget and --prepare in real runs: how long they take, what they measure, and what they leave out."""

import re
import signal
import sys
import time

import pytest

import pytorch_test_computer_vision_cifar100 as cifar100
from speed_test import launchers
from speed_test.command_line import BadInput, parse
from tests.conftest import PLAIN, ROOT, rows, rows_so_far, run, start, the_csv
from tests.test_llama import ask
from tests.test_sweep import wait_for

PACED = ROOT / "tests" / "paced_speed_test.py"
SECONDS_TO_GET_READY = 8  # most of it for a machine with other work; without, it is one

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals")
frameworks = pytest.mark.frameworks  # or some seconds


def sizes(folder):
    return [row["batch_size"] for row in rows(the_csv(folder)) if row["status"] == "ok"]


@frameworks
def test_three_sizes_within_the_budget(tmp_path):
    began = time.monotonic()
    done = run(PACED, "--budget=12", cwd=tmp_path, FIXED="0.002", EACH="0.0005")
    took = time.monotonic() - began
    assert done.returncode == 0, done.stderr
    assert 10 < took < 13 + SECONDS_TO_GET_READY
    assert list(dict.fromkeys(sizes(tmp_path))) == ["4", "16", "128"]
    assert all(row["estimated"] == "True" for row in rows(the_csv(tmp_path)))
    assert "up to 3 epochs at three batch sizes from 4 to 128" in done.stdout
    assert re.search(r"batch size 128, epoch 1 of [123]: about", done.stdout)
    assert "a longer --budget gives more" in done.stdout
    shown = done.stdout.split("results.csv\n", 1)[1].split("The rows are in")[0]
    assert max(map(len, shown.splitlines())) <= 80


@frameworks
def test_whole_epochs_where_they_fit_and_the_time_that_is_left(tmp_path):
    """At 200,000 numbers a second an epoch takes a tenth of a second, so there is no need for all of the budget."""
    done = run(PACED, "--budget=1h", "--batch_sizes=128, 64", "--until=0.1%", cwd=tmp_path, EACH="0.000005")
    assert done.returncode == 0, done.stderr
    found = [(row["batch_size"], row["epoch"], row["estimated"]) for row in rows(the_csv(tmp_path))]
    assert found == [(size, epoch, "False") for size in ("128", "64") for epoch in "123"]
    assert re.search(r"3,5\d\d s of --budget were left.", done.stdout)


@frameworks
def test_steps_that_are_too_slow_are_a_row(tmp_path):
    done = run(PACED, "--budget=6", cwd=tmp_path, FIXED="1.5")
    assert done.returncode == 1
    (row,) = rows(the_csv(tmp_path))
    assert (row["batch_size"], row["status"]) == ("4", "skipped")
    told = re.fullmatch(
        r"(?:a step takes|the first step took) ([\d.]+) s, and \d s were left of --budget", row["error"]
    )
    assert float(told[1]) >= 1.5


@frameworks
def test_a_step_that_never_ends_is_ended_with_the_budget(tmp_path):
    done = run(PACED, "--budget=2", cwd=tmp_path, FIXED="600")
    assert done.returncode == 1
    (row,) = rows(the_csv(tmp_path))
    assert (row["batch_size"], row["status"]) == ("4", "failed")
    assert re.fullmatch(r"showed no progress for \d s, and --budget was used up", row["error"])
    assert "were left out: no time was left." in " ".join(done.stdout.split())


@frameworks
@posix
def test_ctrl_c_and_resume(tmp_path):
    process = start(PACED, "--budget=15", cwd=tmp_path, FIXED="0.01")
    wait_for(lambda: len(rows_so_far(tmp_path)) == 1)
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode == 130
    before = the_csv(tmp_path).read_bytes()
    done = run(PACED, "--budget=8", "--resume", cwd=tmp_path, FIXED="0.01")
    assert done.returncode == 0, done.stderr
    assert "1 epoch found in the CSV already" in done.stdout
    assert the_csv(tmp_path).read_bytes().startswith(before)
    assert list(dict.fromkeys(sizes(tmp_path)[1:])) == ["16", "128"]


@frameworks
def test_runs_share_the_budget(tmp_path):
    done = run(PACED, "--budget=12", "--runs=2", cwd=tmp_path, EACH="0.0005", MEMORY="1")
    assert done.returncode == 0, done.stderr
    # At a GB a number 128 has no room.
    assert list(dict.fromkeys(sizes(tmp_path))) == ["4", "16", "8"]
    runs = dict.fromkeys((row["run"], row["batch_size"]) for row in rows(the_csv(tmp_path)))
    assert list(runs) == [(run, size) for run in "12" for size in ("4", "16", "8")]
    assert "would need about 32.0 GB of the " in " ".join(done.stdout.split())


@frameworks
def test_answers_are_made_shorter(tmp_path):
    done = ask(tmp_path, "--budget=10")
    assert done.returncode == 0, done.stderr
    found = rows(the_csv(tmp_path))
    lengths = {row["answer_token_len"] for row in found}
    assert len(lengths) == 1
    assert lengths <= {"200", "100", "50", "20"}
    assert 1 <= len(found) < 100
    said = re.search(r"Answers have (\d+) tokens", done.stdout)
    assert {said[1]} == lengths
    assert f"{len(found) * int(said[1]):,} tokens" in done.stdout


# ---- --prepare ----


def test_prepare_measures_nothing(tmp_path):
    done = run(PLAIN, "--prepare", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Ready: NOISE, 50 numbers\n", "")
    done = run(cifar100_with_no_data(tmp_path), "--prepare", "--data=real", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "no such data" in done.stderr
    done = run(cifar100_with_no_data(tmp_path), "--prepare", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "Ready: synthetic NOISE, 50 numbers, made at each start\n")
    assert "SYNTHETIC DATA, not NOISE: no such data" in done.stderr
    assert not (tmp_path / "results").exists()


def cifar100_with_no_data(folder):
    """The plain speed test, whose real data cannot be had."""
    text = PLAIN.read_text().replace(
        "def load_data(options):\n",
        "def load_data(options):\n    from speed_test.data.files import DataUnavailable\n\n"
        "    if options.data == 'real':\n        raise DataUnavailable('no such data')\n",
    )
    path = folder / "no_data.py"
    path.write_text(text)
    return path


# ---- What --budget cannot stand beside ----


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("--time_limit=5", "--budget: it chooses how much is measured, as --time_limit does; leave one of the two out"),
        ("--max_steps=5", "--budget: it chooses how much is measured, as --max_steps does; leave one of the two out"),
        ("--best", "--budget: --best takes as long as it needs; measure with the options that it finds"),
        ("--processes=2", "--budget: it is for one process; leave it or --processes out"),
        ("--processes=all", "--budget: it is for one process; leave it or --processes out"),
        ("--budget=soon", "'soon' is not a time above 0, such as 45s, 10m, 1h30m or 900 (seconds)"),
        ("--budget=0", "'0' is not a time above 0"),
    ],
)
def test_bad_input(scratch, capsys, argument, says):
    with pytest.raises(SystemExit) as end:
        parse(cifar100.EXPERIMENT, "", ["--budget=4m", argument])
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert says in error


def test_no_launcher(scratch, monkeypatch):
    for name in launchers.NEEDED:
        monkeypatch.setenv(
            name, {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "localhost"}.get(name, "1")
        )
    with pytest.raises(BadInput, match="--budget: it is for one process"):
        launchers.place(cifar100.EXPERIMENT, parse(cifar100.EXPERIMENT, "", ["--budget=4m"]))


def test_what_a_budget_means(scratch):
    found = parse(cifar100.EXPERIMENT, "", ["--budget=1h30m"])
    assert (found.budget, found.until, found.has_chosen_sizes, found.prepare) == (5400, 0.01, False, False)
    found = parse(cifar100.EXPERIMENT, "", ["--budget=90", "--until=3%", "--batch_sizes=32"])
    assert (found.budget, found.until, found.has_chosen_sizes) == (90, 0.03, True)
    assert parse(cifar100.EXPERIMENT, "", []).until is None


@frameworks
def test_what_was_skipped_for_want_of_time_is_measured_later(tmp_path):
    arguments = ("--batch_sizes=128", "--epochs=1")
    run(PACED, "--budget=6", *arguments, cwd=tmp_path, FIXED="1.5")
    (skipped,) = rows(the_csv(tmp_path))
    assert (skipped["status"], skipped["epoch"]) == ("skipped", "")
    done = run(PACED, "--resume", *arguments, cwd=tmp_path, EACH="0.000005")
    assert done.returncode == 0, done.stderr
    assert [row["status"] for row in rows(the_csv(tmp_path))] == ["skipped", "ok"]
    # run_all.py resumes only runs of its own, and says which one is next.
    for _ in range(2):
        ids = "000000000001 000000000002"
        run(PACED, "--resume", *arguments, cwd=tmp_path, EACH="0.000005", SPEED_TEST_RUN_IDS=ids)
        assert [row["status"] for row in rows(the_csv(tmp_path))] == ["skipped", "ok", "ok"]
    assert rows(the_csv(tmp_path))[-1]["run_id"] == "000000000002"
