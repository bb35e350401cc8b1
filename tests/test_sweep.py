"""What becomes of rows and processes when a batch size fails, is killed, or the user has had enough."""

import os
import signal
import subprocess
import sys
import time

import portalocker
import psutil
import pytest

from speed_test import child
from tests.conftest import PLAIN, SMALL, environment, rows, run, start, the_csv

pytestmark = pytest.mark.frameworks
posix = pytest.mark.skipif(sys.platform == "win32", reason="signals")


def status_of(folder):
    return [(row["batch_size"], row["epoch"], row["status"]) for row in rows(the_csv(folder))]


@posix
def test_a_failure_is_a_row_and_the_sweep_goes_on(tmp_path):
    """Raises, killed, not finite, a dead loader process, out of memory: one sweep."""
    done = run(SMALL, "--batch_sizes=3, 4, 6, 24, 5, 8, 2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert status_of(tmp_path) == [
        *[("3", "1", "ok"), ("3", "2", "failed"), ("4", "1", "ok"), ("4", "2", "failed")],
        *[("6", "1", "ok"), ("6", "2", "failed"), ("24", "1", "ok"), ("24", "2", "failed")],
        # Only the larger ones than that which ran out of memory are left out.
        *[("5", "1", "ok"), ("5", "2", "out_of_memory"), ("8", "", "skipped"), ("2", "1", "ok"), ("2", "2", "ok")],
    ]
    failed = [row for row in rows(the_csv(tmp_path)) if row["status"] != "ok"]
    raised, killed, not_finite, loader, memory, skipped = (row["error"] for row in failed)
    assert raised.startswith("ValueError: the third wheel, as planned (small_speed_test.py, line ")
    assert "SIGKILL" in killed
    assert "the loss of epoch 2 is nan" in not_finite
    assert loader.startswith("RuntimeError: DataLoader worker")
    assert "allocate" in memory
    assert skipped == "batch size 5 ran out of memory already"
    assert "out of memory after 1 epoch" in done.stdout
    assert all(row["epoch_seconds"] == row["train_loss"] == row["estimated"] == "" for row in failed)
    assert all(row["machine"] and row["run_id"] and row["started_at"] for row in failed)


def test_killed_by_the_system_for_its_memory(monkeypatch):
    class Ended:
        exitcode = -9

    ended = child.Child.__new__(child.Child)
    ended._process, ended._kills = Ended, 3
    monkeypatch.setattr(child, "_system_kills", lambda: 4)
    assert ended._ending()[0] == "out_of_memory"
    monkeypatch.setattr(child, "_system_kills", lambda: 3)
    assert ended._ending()[0] == "failed"


@pytest.mark.parametrize(
    "message",
    [
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.65 GiB",
        "MPS backend out of memory (MPS allocated: 17.57 GB, other allocations: 1.2 GB, max allowed: 18.13 GB)",
        "Invalid buffer size: 24.00 GB",
        "[enforce fail at alloc_cpu.cpp:128] err == 0. DefaultCPUAllocator: can't allocate memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "x" * 400 + " OOM when allocating tensor",
    ],
)
def test_every_framework_says_out_of_memory_in_its_own_way(message):
    assert child.explain(_raised(RuntimeError(message)))[0] == "out_of_memory"
    assert child.explain(_raised(RuntimeError("shapes differ")))[0] == "failed"


def _raised(error):
    try:
        raise error
    except RuntimeError as raised:
        return raised


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


@posix
def test_ctrl_c_in_mid_epoch(tmp_path):
    """To the whole group of processes, as the terminal sends it."""
    process = start(SMALL, "--batch_sizes=7", cwd=tmp_path)
    note = tmp_path / "stuck.pid"
    wait_for(lambda: note.exists() and note.read_text())
    family = psutil.Process(process.pid).children(recursive=True)
    assert int(note.read_text()) in [member.pid for member in family]
    before = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert time.monotonic() - before < 20
    assert process.returncode == 130
    assert "Traceback" not in out + err
    assert "1 finished epoch is in" in out
    assert str(the_csv(tmp_path).name) in out
    assert status_of(tmp_path) == [("7", "1", "ok")]
    wait_for(lambda: not any(member.is_running() for member in family), seconds=15)


@posix
def test_a_killed_parent_leaves_its_rows_and_no_child(tmp_path):
    process = start(PLAIN, "--batch_sizes=7", cwd=tmp_path)
    note = tmp_path / "stuck.pid"
    wait_for(lambda: note.exists() and note.read_text())
    family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    wait_for(lambda: not any(member.is_running() for member in family), seconds=10)
    assert status_of(tmp_path) == [("7", "1", "ok")]


@posix
@pytest.mark.parametrize("where", ["| head -1", ">/dev/full 2>&-"])
def test_nobody_listens_and_every_row_is_there(tmp_path, where):
    command = f"set -o pipefail; {sys.executable} {PLAIN} --batch_sizes=3,8 {where}"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "Exception ignored" not in done.stderr
    assert [status for *_, status in status_of(tmp_path)] == ["ok", "failed", "ok", "ok"]


@posix
def test_ctrl_c_while_another_program_keeps_the_csv(tmp_path):
    """The rows are printed, and soon."""
    run(PLAIN, "--batch_sizes=8", "--epochs=1", cwd=tmp_path)
    before = the_csv(tmp_path).read_bytes()
    with portalocker.Lock(the_csv(tmp_path), "ab"):
        process = start(PLAIN, "--batch_sizes=7", cwd=tmp_path)
        note = tmp_path / "stuck.pid"
        wait_for(lambda: note.exists() and note.read_text())
        process.send_signal(signal.SIGINT)
        asked = time.monotonic()
        out, err = process.communicate(timeout=30)
        assert time.monotonic() - asked < 20
    assert process.returncode == 130
    assert "another program keeps the file locked" in err
    assert len([line for line in out.splitlines() if line.startswith("7,1,")]) == 1
    assert "finished epoch" not in out
    assert the_csv(tmp_path).read_bytes() == before


def test_a_csv_that_cannot_be_written_is_said_before_anything_is_measured(tmp_path):
    run(PLAIN, "--batch_sizes=8", "--epochs=1", cwd=tmp_path)
    path = the_csv(tmp_path)
    path.unlink()
    path.mkdir()
    done = run(PLAIN, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert path.name in done.stderr


def test_rows_wait_for_the_disk_and_are_printed_if_it_stays_full(tmp_path):
    (tmp_path / "results" / "results_plain").mkdir(parents=True)
    blocker = "import os, speed_test.results as r\ndef full(fd): raise OSError(28, 'No space left on device')\n"
    (tmp_path / "full_disk.py").write_text(
        blocker + "r.os.fsync = full\nimport runpy, sys\n"
        "if __name__ == '__main__':\n    runpy.run_path(sys.argv.pop(1), run_name='__main__')\n"
    )
    done = run(tmp_path / "full_disk.py", str(PLAIN), "--epochs=1", cwd=tmp_path)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    printed = [line for line in done.stdout.splitlines() if line.count(",") > 30]
    assert [line.split(",")[0] for line in printed] == ["8", "16"]
    assert the_csv(tmp_path).read_bytes() == b""
