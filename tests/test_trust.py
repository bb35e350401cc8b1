"""How sure a figure is, in real sweeps: runs, the row that waits for its last column, stops, other programs, rests."""

import os
import re
import signal
import subprocess
import sys
import time

import psutil
import pytest

from speed_test import cooldown
from speed_test.child import Interrupt
from speed_test.cooldown import Cooldown, is_as_cool
from speed_test.faults import faults
from tests.conftest import PLAIN, ROOT, rows, rows_so_far, run, start, the_csv
from tests.test_sweep import wait_for

sweeps = pytest.mark.frameworks  # not for their imports, but for their time
posix = pytest.mark.skipif(sys.platform == "win32", reason="signals")


def places(folder):
    """(run, batch size, epoch) of each row, in the order of the CSV."""
    return [(row["run"], row["batch_size"], row["epoch"]) for row in rows(the_csv(folder))]


# ---- Runs ----


@sweeps
def test_runs_repeat_the_sweep_in_fresh_processes(tmp_path):
    done = run(PLAIN, "--runs=2", "--epochs=1", "--batch_sizes=8, 16", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert places(tmp_path) == [("1", "8", "1"), ("1", "16", "1"), ("2", "8", "1"), ("2", "16", "1")]
    ids = [row["run_id"] for row in rows(the_csv(tmp_path))]
    assert ids[0] == ids[1] != ids[2] == ids[3]
    assert "Run 2 of 2" in done.stdout


@sweeps
@posix
def test_resume_finishes_runs(tmp_path):
    process = start(PLAIN, "--runs=3", "--batch_sizes=8, 16", cwd=tmp_path, SECONDS="0.02")
    wait_for(lambda: len(rows_so_far(tmp_path)) >= 6)
    process.kill()
    process.communicate()
    done = run(PLAIN, "--runs=3", "--batch_sizes=8, 16", "--resume", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    wanted = [(str(n), size, epoch) for n in (1, 2, 3) for size in ("8", "16") for epoch in ("1", "2")]
    assert sorted(places(tmp_path)) == sorted(wanted)


@sweeps
def test_resume_takes_what_until_has_ended_for_ended(tmp_path):
    """50% of many short blocks is soon reached; the epochs that --until left out are not measured later."""
    arguments = ["--batch_sizes=8", "--epochs=40", "--until=50%", "--data=real"]
    changes = {"SECONDS": "0.01", "BLOCK": "0.01"}
    first = run(PLAIN, *arguments, cwd=tmp_path, **changes)
    assert first.returncode == 0, first.stderr
    assert "sure enough (--until=50%)" in first.stdout
    before = places(tmp_path)
    assert 2 <= len(before) < 40
    again = run(PLAIN, *arguments, "--resume", cwd=tmp_path, **changes)
    assert again.returncode == 0, again.stderr
    assert places(tmp_path) == before


# ---- The compute limit after the last epoch, and the row that waits for it ----


@sweeps
def test_only_the_row_of_the_last_epoch_has_the_limit_after_it(tmp_path):
    run(PLAIN, "--batch_sizes=8, 16", cwd=tmp_path, SECONDS="0.005")
    after = [row["compute_samples_per_second_after"] for row in rows(the_csv(tmp_path))]
    assert [bool(rate) for rate in after] == [False, True, False, True]
    before = [float(row["compute_samples_per_second"]) for row in rows(the_csv(tmp_path))]
    assert 0.5 < float(after[1]) / before[1] < 2


@sweeps
@posix
@pytest.mark.parametrize("end", ["the child is killed", "Ctrl-C", "SIGTERM"])
def test_a_row_that_waits_for_its_last_column_is_not_lost(tmp_path, end):
    process = start(PLAIN, "--batch_sizes=50", cwd=tmp_path, SECONDS="1")
    for line in process.stdout:
        if "epoch 2 of 2" in line:  # the row waits for some more steps
            break
    assert len(rows_so_far(tmp_path)) == 1
    if end == "the child is killed":
        for child in psutil.Process(process.pid).children():
            if "spawn_main" in " ".join(child.cmdline()):
                child.kill()
    else:
        process.send_signal(signal.SIGINT if end == "Ctrl-C" else signal.SIGTERM)
    process.communicate(timeout=60)
    found = [(row["epoch"], row["status"]) for row in rows(the_csv(tmp_path))]
    assert found[:2] == [("1", "ok"), ("2", "ok")]
    assert rows(the_csv(tmp_path))[1]["compute_samples_per_second_after"] == ""


@sweeps
def test_a_machine_that_became_slower_during_the_sweep_is_told(tmp_path):
    """The first batch size is measured again at the end; here its steps have become half as fast by then."""
    script = tmp_path / "slower_speed_test.py"
    text = PLAIN.read_text().replace("import Epochs, Experiment, clock", "import Epochs, Experiment, clock, sweep")
    text = text.replace('os.environ.get("SECONDS", "0")', '"0.04" if os.path.exists("slow") else "0.02"')
    text = text.replace(
        "    epochs = itertools", "    open('slow', 'w').close() if batch_size == 16 else None\n    epochs = itertools"
    )
    script.write_text(
        text.replace("clock.COMPUTE_SECONDS", "sweep.SECONDS_TO_CHANGE, clock.COMPUTE_SECONDS", 1).replace(
            "= 0.02, 0.002", "= 0, 0.02, 0.002", 1
        )
    )
    done = run(script, "--epochs=1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "slower than when the run began: the compute limit of batch size 8 was" in said
    assert len(rows(the_csv(tmp_path))) == 2


# ---- Stops and other programs ----


@sweeps
@posix
def test_a_child_that_is_stopped_for_3_seconds(tmp_path):
    script = tmp_path / "telling_speed_test.py"
    note = tmp_path / "epoch.pid"
    begins = "        epoch = next(epochs)\n"
    text = PLAIN.read_text()
    assert text.count(begins) == 1
    told = f"        if epoch == 1:\n            open({str(note)!r}, 'w').write(str(os.getpid()))\n"
    script.write_text(text.replace(begins, begins + told))
    process = start(script, "--batch_sizes=2", "--epochs=1", cwd=tmp_path, SECONDS="0.15", PYTHONPATH=str(ROOT))
    wait_for(lambda: note.exists() and note.read_text())
    training = psutil.Process(int(note.read_text()))
    time.sleep(0.5)
    training.suspend()
    began = time.monotonic()
    time.sleep(3)
    training.resume()
    stopped = time.monotonic() - began
    out, _ = process.communicate(timeout=60)
    (row,) = rows(the_csv(tmp_path))
    assert float(row["suspended_seconds"]) == pytest.approx(stopped, abs=0.6)
    assert "Grade D" in out
    assert re.search(r"stopped or asleep for \d", " ".join(out.split()))


@sweeps
@pytest.mark.skipif(sys.platform != "linux", reason="what is asserted is Linux'")
def test_another_program_that_takes_a_core_is_named_before_and_after(tmp_path):
    """On two cores or more. It runs on a core that no other test of the suite has to have."""
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        done = run(PLAIN, "--batch_sizes=1", "--epochs=1", cwd=tmp_path, SECONDS="0.06", PREPARE="2.5", BLOCK="0.1")
    finally:
        busy.kill()
        busy.wait()
    assert done.returncode == 0, done.stderr
    (row,) = rows(the_csv(tmp_path))
    assert float(row["other_load_percent"]) > 30
    assert row["cpu_pressure_percent"] or not os.path.exists("/proc/pressure/cpu")
    # What else this machine is doing decides which program is the busiest, and which reason comes first of how many.
    assert row["busiest_other_process"]
    (before,) = (line for line in done.loads if "other programs use" in line)
    assert re.search(r"other programs use .*, most of all \S.* \(PID \d+\): end it, or this figure is a C", before)
    assert any(re.match(r"other programs used .* for a time \(most: \S", fault.text) for fault in faults([row]))
    assert re.search(r"Grade [CD] ", done.stdout)


# ---- Rests ----


class Monitor:
    """Cools down a level at each look."""

    def __init__(self, *levels):
        self.levels = list(levels)

    def now(self):
        return {"thermal_level": self.levels.pop(0) if len(self.levels) > 1 else self.levels[0]}


def rests(monkeypatch, seconds, *levels, start="nominal"):
    """How many seconds of rest there are, without resting."""
    slept = []
    passed = [0.0]
    monkeypatch.setattr(cooldown.time, "monotonic", lambda: passed[0])
    monkeypatch.setattr(cooldown.time, "sleep", lambda time: (slept.append(time), passed.append(passed.pop() + time)))
    rest = Cooldown(seconds, Monitor(*levels), {"thermal_level": start}, Interrupt())
    rest.rest()
    assert not slept, "rested before the first batch size"
    rest.rest()
    return round(sum(slept), 1)


def test_a_rest_of_so_many_seconds(monkeypatch):
    assert rests(monkeypatch, 60.0, "nominal") == 60
    assert rests(monkeypatch, None, "heavy") == 0


def test_a_rest_until_it_is_as_cool_as_at_the_start(monkeypatch):
    assert rests(monkeypatch, "auto", "nominal") == 0
    assert rests(monkeypatch, "auto", "heavy", "moderate", "nominal") == 10
    assert rests(monkeypatch, "auto", "heavy", "moderate", "nominal", start="moderate") == 5
    assert rests(monkeypatch, "auto", "heavy") == 300


@pytest.mark.parametrize(
    ("now", "start", "cool"),
    [
        ({}, {}, True),
        ({"thermal_level": "moderate"}, {}, False),
        ({"thermal_level": "moderate"}, {"thermal_level": "heavy"}, True),
        ({"throttle_reasons": "HwThermal"}, {"throttle_reasons": ""}, False),
        ({"throttle_reasons": "power cap"}, {"throttle_reasons": "power cap, HwThermal"}, True),
        ({"gpu_temperature_c": 70}, {"gpu_temperature_c": 50}, False),
        ({"gpu_temperature_c": 54}, {"gpu_temperature_c": 50}, True),
        ({"gpu_temperature_c": 70}, {"gpu_temperature_c": None}, True),
    ],
)
def test_as_cool_as_at_the_start(now, start, cool):
    assert is_as_cool(now, start) is cool


def test_a_rest_ends_with_ctrl_c():
    with Interrupt() as interrupt:
        rest = Cooldown(60.0, Monitor("nominal"), {}, interrupt)
        rest.rest()
        os.kill(os.getpid(), signal.SIGINT) if os.name != "nt" else setattr(interrupt, "caught", signal.SIGINT)
        begun = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            rest.rest()
        assert time.monotonic() - begun < 5


def test_where_nothing_tells_of_heat_auto_says_so(capsys):
    Cooldown("auto", Monitor("nominal"), {"power": "mains"}, Interrupt())
    assert "will not rest; name seconds" in capsys.readouterr().err
