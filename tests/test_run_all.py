"""run_all.py as a user starts it, on speed tests of nothing: whatever a test comes to, the others go on."""

import os
import re
import signal
import sys
import time
from pathlib import Path

import portalocker
import psutil
import pytest

import run_all
from speed_test import run_ids
from speed_test.command_line import BadInput
from speed_test.machine import names_of_this_machine
from speed_test.suite import before, saved, shares
from speed_test.suite.outcome import Outcome
from tests.conftest import ROOT, rows, run
from tests.made_suite import is_alive, start, write

SEVEN = tuple("abcdefg")


def ended(process, seconds=120):
    """Exit status, standard output and standard error of a suite, once it has ended."""
    out, err = process.communicate(timeout=seconds)
    return process.returncode, out, err


def rows_of(cwd: Path, name: str) -> list[dict]:
    return [row for path in cwd.glob(f"results/results_plain/*_{name}_*.csv") for row in rows(path)]


def wait_for(condition, seconds=60):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.05)


def test_what_fails_does_not_end_the_suite(tmp_path):
    folder = tmp_path / "scripts"
    folder.mkdir()
    write(folder, "crash", step="os._exit(3)")
    write(folder, "good")
    write(folder, "huge", memory_gb=1e6)
    write(folder, "lacking", package="no-such-package>=3")
    write(folder, "memory", step='raise MemoryError("out of memory")')
    write(folder, "unready", preparation='raise OSError("it rained")')
    (folder / "torn.py").write_bytes(b"# /// script\n# dependencies = [\n# ///\n\xff")
    status, out, err = ended(start(folder, "--budget=3m", cwd=tmp_path))
    assert status == 0, err
    assert "Traceback" not in out + err
    plain = " ".join(out.split())
    assert "plain_crash: failed: ended without a word, with exit status 3" in plain
    assert re.search(r"plain_good: [\d.]+ seconds per epoch .*at batch size (8|16)", plain)
    assert "plain_huge: left out: it needs at least 1000000.0 GB of memory, and" in plain
    assert "plain_lacking: left out: it needs packages that are not installed (no-such-package)" in plain
    assert '-m pip install "no-such-package>=3"' in plain
    assert "plain_memory: failed: out of memory" in plain
    assert re.search(r"plain_unready: left out: it could not be set up: .*it rained", plain)
    assert "How fast does this machine do nothing, of the kind good?" in plain
    assert "torn.py cannot be read" in err
    assert len([row for row in rows_of(tmp_path, "good") if row["status"] == "ok"]) >= 2
    assert rows_of(tmp_path, "huge") == rows_of(tmp_path, "lacking") == []

    results = tmp_path / "results"
    assert {path.suffix for path in results.glob("summary_*")} == {".md", ".png"}
    assert not list(results.glob("run_all*"))
    logs = Path(re.search(r"What the speed tests printed is in\n +(\S+)", out)[1])
    assert "plain_test_crash.txt" in {path.name for path in logs.iterdir()}


@pytest.mark.frameworks
@pytest.mark.skipif(sys.platform == "win32", reason="a signal cannot be sent to one process")
def test_ctrl_c_in_the_third_of_seven_and_going_on(tmp_path):
    folder = tmp_path / "scripts"
    folder.mkdir()
    for name in SEVEN:
        if name == "c":
            slow = 'time.sleep(float(os.environ.get("SLOW", "0.002")))'
            write(folder, name, step=slow, batch_sizes="8, 16")
        else:
            write(folder, name, step="pass", batch_sizes="8")
    suite = start(folder, "--budget=3m", cwd=tmp_path, SLOW="0.3")
    wait_for(lambda: rows_of(tmp_path, "c"))
    # Somebody starts the same script by hand meanwhile: those rows are not the suite's.
    by_hand = run(folder / "plain_test_c.py", "--batch_sizes=25", "--epochs=1", cwd=tmp_path)
    assert by_hand.returncode == 0, by_hand.stderr
    (id_by_hand,) = {row["run_id"] for row in rows_of(tmp_path, "c") if row["batch_size"] == "25"}
    family = psutil.Process(suite.pid).children(recursive=True)
    assert family
    os.kill(suite.pid, signal.SIGINT)  # to it alone, not as a terminal does
    status, out, err = ended(suite)
    assert status == 130, err
    assert not [process for process in family if is_alive(process.pid)]
    before = {name: rows_of(tmp_path, name) for name in SEVEN}
    assert all(before[name] for name in "abc")
    assert not any(before[name] for name in "defg")
    assert "plain_c: stopped" in out
    assert "--resume goes on" in out
    assert list(tmp_path.glob("results/summary_*.md"))
    left = (tmp_path / "results" / saved.FILE).read_text()
    assert next(row["run_id"] for row in before["c"]) in left
    assert id_by_hand not in left

    status, out, err = ended(start(folder, "--budget=3m", "--resume", cwd=tmp_path))
    assert status == 0, err
    after = {name: rows_of(tmp_path, name) for name in SEVEN}
    assert all(after.values())
    assert all(before[name] == after[name] for name in "ab")
    assert after["c"][: len(before["c"])] == before["c"]
    assert "plain_b" not in out.split("speed tests in")[0]
    # Each of them has a figure in the summary.
    assert len(re.findall(r"^nothing on [a-g]", out, flags=re.MULTILINE | re.IGNORECASE)) >= 7
    status, _, err = ended(start(folder, "--budget=3m", "--resume", cwd=tmp_path))
    assert (status, err.count("\n")) == (2, 1)
    assert "has no suite that was ended early" in err


def test_a_test_that_hangs_is_ended(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "scripts"
    folder.mkdir()
    write(folder, "hangs", step="time.sleep(1000)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(sys, "argv", ["run_all.py", "--budget=15s"])
    monkeypatch.setattr(shares, "MARGIN", (-2.0, -1.0))
    monkeypatch.setattr(shares, "FIRST_OVERHEAD", 14.0)
    monkeypatch.setattr(before, "SECONDS_OF_A_LOOK", 0.0)
    with pytest.raises(SystemExit) as ended:
        run_all.main(folder)
    out = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 1
    assert "plain_hangs: failed: it hung, and was ended after" in out
    assert "Nothing was measured" in out
    assert run_ids.GIVEN not in os.environ


def test_a_suite_that_was_killed_before_its_first_row_has_measured_nothing(tmp_path):
    """It knows the run that it had begun; that run has no rows, and now the test cannot run."""
    folder, results = tmp_path / "scripts", tmp_path / "results"
    folder.mkdir()
    results.mkdir()
    write(folder, "huge", memory_gb=1e6)
    asked = {"budget": "180", "tests": "plain_huge", "data": "auto", "device": "auto"}
    begun = Outcome("plain_huge", "plain_test_huge.py", "stopped", "while it ran", 5.0, ("0123456789ab",))
    saved.save(saved.Saved(asked, names_of_this_machine(), {"plain_huge": begun}, {"plain_huge": 170.0}), results)
    status, out, err = ended(start(folder, "--budget=3m", "--resume", cwd=tmp_path))
    assert status == 1, err
    assert "Nothing was measured" in out
    assert not list(results.glob("summary_*"))


def test_a_package_for_the_summary_is_missed_at_once(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["run_all.py"])
    monkeypatch.setattr(run_all, "find_spec", lambda name: None if name == "pandas" else sys.__spec__)
    with pytest.raises(SystemExit) as ended:
        run_all.main()
    said = "the package pandas is missing; python3 speed_test run_all.py installs it\n"
    assert (ended.value.code, *capsys.readouterr()) == (1, "", said)


@pytest.fixture
def one_line(tmp_path, monkeypatch, capsys):
    """A function that runs run_all.py with bad input, and returns the one sentence that it says."""
    folder = tmp_path / "scripts"
    folder.mkdir()
    write(folder, "a")
    write(folder, "b")
    monkeypatch.chdir(tmp_path)

    def said(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["run_all.py", *arguments])
        with pytest.raises(SystemExit) as stopped:
            run_all.main(folder)
        out, err = capsys.readouterr()
        assert (stopped.value.code, out, err.count("\n")) == (2, "", 1), err
        return err

    return said


def test_bad_input_is_one_sentence(one_line, tmp_path):
    assert "'5x' is not a time above 0, such as 45s" in one_line("--budget=5x")
    assert "2 speed tests need at least 30 s" in one_line("--budget=20s")
    assert "there is no 'c'; there are plain_a, plain_b" in one_line("--tests=plain_a, c")
    assert "plain_a is there twice" in one_line("--tests=plain_a,plain_a")
    assert "there is no machine 'PDP-11'" in one_line("--baseline=PDP-11")
    assert "has no suite that was ended early" in one_line("--resume")
    assert not (tmp_path / "results").exists()
    (tmp_path / "file").touch()
    assert "'file/results' cannot be written" in one_line("--results_dir=file/results")
    assert "'file' is no folder" in one_line("--data_dir=file")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ([], ""),
        (["--budget=30m", "--baseline=M3", "--data_dir=/home/me", "--resume"], ""),
        (["--budget=1h30m"], "--budget=1h30m"),
        (["--budget=45s"], "--budget=45s"),
        (["--budget=none", "--device=cpu"], "--budget=none --device=cpu"),
        (["--tests=a,b", "--data=synthetic"], '--tests="a, b" --data=synthetic'),
    ],
)
def test_the_summary_says_what_measured_it(typed, said, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["run_all.py", *typed])
    assert run_all.as_typed(run_all.parse()) == said


def test_two_suites_at_once(one_line, tmp_path):
    (tmp_path / "results").mkdir()
    with saved.locked(tmp_path / "results"):
        assert "another suite writes to results; wait until it has ended" in one_line()
    assert not list(tmp_path.glob("results/run_all*"))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows removes no open file")
def test_a_lock_whose_file_is_removed_meanwhile_is_none(tmp_path, monkeypatch):
    """The suite before ends between the moment in which this one opens the file and the one in which it locks it."""
    lock = portalocker.Lock.acquire
    taken = []

    def acquire(self):
        file = lock(self)
        if not taken:
            (tmp_path / saved.LOCK).unlink()
        taken.append(file)
        return file

    monkeypatch.setattr(portalocker.Lock, "acquire", acquire)
    with saved.locked(tmp_path):
        assert len(taken) == 2
        with pytest.raises(BadInput, match="another suite writes"), saved.locked(tmp_path):
            pass
        assert (tmp_path / saved.LOCK).exists()
    assert not (tmp_path / saved.LOCK).exists()
