"""The parts of the suite: finding tests and their packages, processes that hang, and the file for --resume."""

import json
import shutil
import signal
import sys
from types import SimpleNamespace

import pytest

from speed_test.command_line import BadInput
from speed_test.interrupt import Interrupt
from speed_test.results import UNWRITTEN
from speed_test.scripts import SETS_UP, as_started, speed_tests
from speed_test.suite import found, measured, memory, packages, process, saved
from speed_test.suite.outcome import Outcome
from speed_test.suite.suite import Suite
from tests.conftest import ROOT
from tests.made_suite import is_alive, write

# ---- Finding ----


def test_the_seven_are_found_with_their_names():
    tests, problems = found.find(ROOT)
    assert problems == []
    assert [test.script for test in tests] == speed_tests(ROOT)
    assert {"pytorch_cifar100", "pytorch_food101", "pytorch_imdb", "tensorflow_cifar100", "llama2"} <= {
        test.name for test in tests
    }
    assert all(test.says.startswith("How ") and test.packages and test.experiment.memory_gb for test in tests)


def test_a_new_script_is_found_and_a_second_of_its_name_is_not(tmp_path):
    write(tmp_path, "new")
    (tmp_path / "plain_test_other.py").write_text((tmp_path / "plain_test_new.py").read_text())
    tests, problems = found.find(tmp_path)
    assert [test.name for test in tests] == ["plain_new"]
    assert problems == ["plain_test_other.py has the same name as plain_test_new.py, plain_new; it is left out"]


@pytest.mark.parametrize("wrong", ["EXPERIMENT = Experiment(framework=NAME)", "EXPERIMENT = Experiment(", "import x"])
def test_a_script_that_cannot_be_read_is_not_run(tmp_path, wrong):
    write(tmp_path, "new")
    script = tmp_path / "plain_test_new.py"
    begin = script.read_text().split("EXPERIMENT = ")[0]
    script.write_text(f"{begin}TEXT = '''\nEXPERIMENT = Experiment(\n'''\nopen('ran', 'w')\n{wrong}\n")
    tests, problems = found.find(tmp_path)
    assert tests == []
    assert len(problems) == 1
    assert "plain_test_new.py cannot be read" in problems[0]
    assert [path.name for path in tmp_path.iterdir()] == [script.name]


# ---- Packages and memory ----


def test_which_packages_are_missing():
    here = ["psutil>=6.0", "no-such ; sys_platform == 'nowhere'", "zeus-apple-silicon>=1 ; sys_platform == 'nowhere'"]
    gone = ["psutil>=1000", "no-such-package[extra]>=2 ; python_version > '3'", "not a requirement"]
    assert packages.missing([*here, *gone]) == gone
    assert packages.names(gone) == "psutil, no-such-package, not"
    assert packages.line_that_installs(gone[:2]).endswith('-m pip install "psutil>=1000" "no-such-package[extra]>=2"')


def test_the_next_command_is_started_as_this_one_was(monkeypatch):
    for name in (SETS_UP, "UV"):
        monkeypatch.delenv(name, raising=False)
    assert as_started("a.py") == "python a.py"
    monkeypatch.setenv("UV", "/bin/uv")
    assert as_started("a.py") == "uv run a.py"
    monkeypatch.setenv(SETS_UP, "1")
    assert as_started("a.py").endswith(" speed_test a.py")


def test_python3_speed_test_goes_on_to_install_what_is_missing(monkeypatch):
    monkeypatch.setenv(packages.SETS_UP, "1")
    script = ROOT / "x.py"
    assert packages.command(script, ["psutil"]) == [sys.executable, str(script)]
    assert packages.command(script, ["no-such-package"]) == [sys.executable, str(ROOT / "speed_test"), str(script)]


@pytest.mark.skipif(sys.platform == "win32", reason="makes a shell script")
def test_uv_runs_what_this_python_cannot(tmp_path, monkeypatch):
    uv = tmp_path / "uv"
    monkeypatch.delenv("UV", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    for status, command in ((0, [str(uv), "run", "x.py"]), (1, None)):
        uv.write_text(f"#!/bin/sh\nexit {status}\n")
        uv.chmod(0o755)
        packages.find_uv.cache_clear()
        assert packages.command("x.py", ["no-such-package"]) == command
        assert packages.command("x.py", ["psutil"]) == [sys.executable, "x.py"]
    packages.find_uv.cache_clear()


def test_what_does_not_fit_is_told():
    assert memory.too_little(2, 2.5) == memory.too_little(0, 0.1) == ""
    assert memory.too_little(4.5, 2) == "it needs at least 4.5 GB of memory, and 2.0 GB are free: close other programs"
    assert 0 < memory.free_gb() < 100_000


# ---- A process ----

HANGS = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
print("WARNING: child", child.pid, flush=True)
time.sleep(100)
"""


def run(code, log, interrupt, too_long=100.0):
    said: list[str] = []
    watch = lambda seconds, lines: said.extend(lines)  # noqa: E731
    ended = process.run([sys.executable, "-c", code], {}, log, interrupt, watch, lambda seconds: seconds > too_long)
    return ended, said


def test_a_process_that_hangs_is_ended_with_its_children(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "SECONDS_TO_END", 0.2)
    with Interrupt() as interrupt:
        ended, said = run(HANGS, process.Log(tmp_path / "log"), interrupt, too_long=1.0)
    assert ended.hung
    assert ended.status
    assert not is_alive(int(said[0].split()[-1]))


WRITES = """
import sys, time
for part in (b"on", b"e\\ntwo\\xff\\n", b"three"):
    sys.stdout.buffer.write(part)
    sys.stdout.flush()
    time.sleep(0.3)
"""


def test_the_output_is_read_line_by_line(tmp_path):
    log = process.Log(tmp_path / "log")
    with Interrupt() as interrupt:
        ended, said = run(WRITES, log, interrupt)
    assert (ended.status, ended.hung) == (0, False)
    assert said == ["one", "two\N{REPLACEMENT CHARACTER}"]
    assert (log.last_line(), log.last_line("on"), log.last_line("no")) == ("three", "one", "three")


def test_letters_of_all_languages_are_read(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1")
    with Interrupt() as interrupt:
        _, said = run("print('M\\u00fcller')", process.Log(tmp_path / "log"), interrupt)
    assert said == ["M\u00fcller"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows removes no open file")
def test_a_log_that_is_removed_does_not_end_the_test(tmp_path):
    """As systems do with temporary files that are some days old."""
    log = process.Log(tmp_path / "logs" / "log")
    code = f"import shutil, time\nshutil.rmtree({str(log.path.parent)!r})\ntime.sleep(0.6)\nprint('done')"
    with Interrupt() as interrupt:
        ended, said = run(code, log, interrupt)
    assert (ended.status, said, log.last_line()) == (0, [], "")
    assert process.Log(log.path).last_line() == ""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals to pass on")
def test_a_signal_is_passed_on(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "PATIENCE", 5.0)  # then it is ended by SIGTERM
    code = "import os, signal, time\nos.kill(os.getppid(), signal.SIGINT)\ntime.sleep(50)"
    with Interrupt() as interrupt:
        ended, _ = run(code, process.Log(tmp_path / "log"), interrupt)
        assert interrupt.caught == signal.SIGINT
    assert ended.status == -signal.SIGINT


# ---- The file for --resume ----

ASKED = {"budget": "600", "tests": "a, b", "data": "auto", "device": "auto"}
MACHINES = ["Abacus"]
SCRIPTS = {"a": "a.py", "b": "b.py"}


def suite():
    outcomes = {
        "a": Outcome("a", "a.py", "measured", "", 61.5, ("0123456789ab",)),
        "b": Outcome("b", "b.py", "stopped", "it was stopped", 2.5, ()),
    }
    return saved.Saved(dict(ASKED), list(MACHINES), outcomes, {"a": 60.0, "b": 50.0})


def test_what_is_saved_is_loaded(tmp_path):
    saved.save(suite(), tmp_path)
    assert saved.load(tmp_path, ASKED, MACHINES, SCRIPTS) == suite()
    assert [path.name for path in tmp_path.iterdir()] == [saved.FILE]
    saved.forget(tmp_path)
    with pytest.raises(BadInput, match="no suite that was ended early"):
        saved.load(tmp_path, ASKED, MACHINES, SCRIPTS)


@pytest.mark.parametrize(
    ("asked", "machines", "scripts", "why"),
    [
        (ASKED | {"budget": "900"}, MACHINES, SCRIPTS, "was started with --budget=600"),
        (ASKED, ["Another"], SCRIPTS, "of another machine"),
        (ASKED, MACHINES, {"a": "a.py"}, "names speed tests that are not here"),
        (ASKED, MACHINES, SCRIPTS | {"b": "other.py"}, "names speed tests that are not here"),
    ],
)
def test_a_suite_that_does_not_fit_is_not_resumed(tmp_path, asked, machines, scripts, why):
    saved.save(suite(), tmp_path)
    with pytest.raises(BadInput, match=why):
        saved.load(tmp_path, asked, machines, scripts)


def test_one_of_an_earlier_version_is_not_called_damaged(tmp_path):
    saved.save(suite(), tmp_path)
    path = tmp_path / saved.FILE
    path.write_text(path.read_text().replace(f'"version": {saved.VERSION}', '"version": 1'))
    with pytest.raises(BadInput, match="is of an earlier version; leave the option out"):
        saved.load(tmp_path, ASKED, MACHINES, SCRIPTS)


def test_how_long_a_test_has_been_running_is_noted(tmp_path):
    """For a suite that is killed, and goes on with what is left of the test's share."""
    options = SimpleNamespace(results_dir=tmp_path, budget=600.0)
    so_far = suite()
    running = so_far.outcomes["b"]
    with Suite(options, (), so_far, None) as one:
        watch = one._keeping(running, lambda seconds, lines: None)
        noted = []
        for seconds in (9.0, 11.0, 12.0, 22.0):
            watch(seconds, [])
            noted.append((tmp_path / saved.FILE).exists() and saved.load(tmp_path, ASKED, MACHINES, SCRIPTS))
    assert [found and found.outcomes["b"].seconds for found in noted] == [False, 13.5, 13.5, 24.5]


def test_rows_that_the_disk_has_refused_are_not_thrown_away(tmp_path, capsys):
    test = SimpleNamespace(name="plain_a", script=tmp_path / "a.py")
    with Suite(SimpleNamespace(results_dir=tmp_path, budget=600.0), (), suite(), None) as one:
        log = process.Log(one.logs / "a.txt")
        log.path.write_text(f"WARNING: {UNWRITTEN} to a.csv; copy them from here:\n8,2,1.5\n")
        one._say(test, suite().outcomes["a"], [], log, process.Ended(1, 2.0))
    assert (one.has_failed, one.has_unwritten) == (True, True)
    assert "8,2,1.5" in log.path.read_text()
    assert str(log.path) in " ".join(capsys.readouterr().err.split())
    shutil.rmtree(one.logs)


def damages():
    def change(**changes):
        return lambda content: content | changes

    def change_outcome(**changes):
        return lambda content: content | {"outcomes": [content["outcomes"][0] | changes]}

    yield from (
        change(version=3),
        change(version="1"),
        change(more=1),
        change(given={"a": float("nan")}),
        change(given={"a": -1.0}),
    )
    yield from (change(given=[]), change(asked={"budget": 5}), change(machines=5))
    yield from (change(outcomes=5), change(outcomes=[5]), lambda content: [content], lambda content: None)
    yield from (change_outcome(status="fine"), change_outcome(status=[]), change_outcome(seconds="5"))
    yield from (change_outcome(run_ids=["../../etc"]), change_outcome(run_ids="0123456789ab"), change_outcome(name=5))
    yield from (change_outcome(reason="x" * 5000), change_outcome(seconds=float("inf")))
    yield lambda content: content | {"outcomes": content["outcomes"] * 2}


@pytest.mark.parametrize("damage", list(damages()))
def test_a_damaged_file_is_one_sentence(tmp_path, damage):
    saved.save(suite(), tmp_path)
    path = tmp_path / saved.FILE
    path.write_text(json.dumps(damage(json.loads(path.read_text()))))
    with pytest.raises(BadInput, match="is damaged"):
        saved.load(tmp_path, ASKED, MACHINES, SCRIPTS)


@pytest.mark.parametrize("content", [b"", b"\xff", b"{", b"[" * 100_000, b" " * 2_000_000, b"9" * 10_000])
def test_a_file_that_is_no_json_is_one_sentence(tmp_path, content):
    (tmp_path / saved.FILE).write_bytes(content)
    with pytest.raises(BadInput, match="is damaged"):
        saved.load(tmp_path, ASKED, MACHINES, SCRIPTS)


# ---- What was measured ----


def row(**cells):
    usual = {"experiment": "plain_new", "status": "ok", "machine": "Abacus", "started_at": "2026-01-02T03:04:05+00:00"}
    return usual | {"run_id": "0123456789ab", "error": ""} | cells


def test_the_line_tells_the_best_batch_size(tmp_path):
    write(tmp_path, "new")
    test = found.find(tmp_path)[0][0]
    rows = [
        row(batch_size=size, epoch_seconds=seconds, estimated="True")
        for size, seconds in (("8", "12"), ("8", "8"), ("16", "9.5"), ("16", "9.7"), ("32", ""))
    ]
    rows.append(row(batch_size="64", status="out_of_memory", error="no room"))
    assert measured.line(test, rows) == "about 9.6 seconds per epoch at batch size 16"
    assert measured.failure(rows) == "out of memory: no room"
    rows.append(row(batch_size="128", status="skipped", error="more than 64"))
    assert measured.failure(rows) == "out of memory: no room"
    assert measured.failure(rows[-1:]) == "more than 64"
    assert measured.ids(rows) == ("0123456789ab",)


def test_only_the_rows_of_its_runs_are_those_of_the_suite(tmp_path):
    write(tmp_path, "new")
    test = found.find(tmp_path)[0][0]
    folder = tmp_path / "results_plain"
    folder.mkdir()
    lines = [row(), row(run_id="0123456789ac"), row(run_id=""), row(run_id="0123456789ad")]
    text = "\n".join([",".join(lines[0]), *(",".join(cells.values()) for cells in lines), "torn,row"])
    (folder / "x.csv").write_text(text)
    assert measured.rows_of(tmp_path, test, ["0123456789ab", "0123456789ad"]) == [lines[0], lines[3]]
