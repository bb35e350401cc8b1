"""Two ranks under torchrun: what they train together, and what becomes of rows and processes when one fails."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.conftest import CIFAR100, ROOT, environment, rows, run, the_csv
from tests.test_sweep import wait_for

if sys.platform == "win32":
    pytest.skip("signals", allow_module_level=True)

pytestmark = pytest.mark.frameworks

RANKED = ROOT / "tests" / "ranked_speed_test.py"
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
STANDALONE = [*TORCHRUN, "--standalone", "--nproc-per-node", "2"]


def start(*arguments, cwd, before=(), **changes):
    """Start torchrun; its output goes into files, which no process that is left keeps from ending."""
    with open(cwd / "out", "w") as out, open(cwd / "err", "w") as err:
        command = [*before, *map(str, arguments)]
        changed = environment(**changes)
        return subprocess.Popen(command, cwd=cwd, env=changed, stdout=out, stderr=err, start_new_session=True)


def stuck(folder):
    note = Path(folder, "stuck.pid")
    return note.exists() and note.read_text()


def is_gone(process):
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def cells(folder, *columns):
    return [tuple(row[column] for column in columns) for row in rows(the_csv(folder))]


def test_ranks_train_as_one_process_does_with_the_global_batch(tmp_path):
    done = start(sys.executable, ROOT / "tests" / "ranked_facts.py", tmp_path, cwd=tmp_path)
    assert done.wait(120) == 0, (tmp_path / "err").read_text()
    facts = [json.loads((tmp_path / f"facts_{rank}.json").read_text()) for rank in (0, 1)]
    one, other = facts
    assert sorted(one["seen"] + other["seen"]) == list(range(45))
    assert [one["sizes"], other["sizes"]] == [one["own sizes"], other["own sizes"]] == [[8, 7, 7], [8, 7, 8]]
    numbers = [number for rank in facts for batch in rank["batches of a loader"] for number in batch]
    assert sorted(numbers) == list(range(45))
    assert one["together"] == other["together"]
    for step, expected in zip(one["together"], one["alone"], strict=True):
        assert step == pytest.approx(expected, rel=1e-12)
    for rank in facts:
        assert (rank["total"], rank["highest"], rank["highest of none"]) == (3.0, 1.0, None)
        assert rank["agreed"] == [True, False]
        # Rank 0 says False, True, False, True; each answer comes at the next question.
        assert rank["agreed later"] == [False, False, True, False]
        assert rank["agreed in the next epoch"] is False
        assert rank["shares after leaving"] == 6


def test_one_row_says_which_rank_failed_and_why(tmp_path):
    """Raises, killed, hangs, stopped, out of memory, works: one sweep."""
    process = start(
        *(*STANDALONE, RANKED, "--device=cpu", "--batch_sizes=3, 4, 7, 23, 5, 16, 2"), cwd=tmp_path, PATIENCE="4"
    )
    assert process.wait(240) == 0, (tmp_path / "err").read_text()
    statuses = cells(tmp_path, "batch_size", "epoch", "status")
    assert statuses == [
        *(("3", "1", "ok"), ("3", "2", "failed"), ("4", "1", "ok"), ("4", "2", "failed")),
        *(("7", "1", "ok"), ("7", "2", "failed"), ("23", "1", "ok"), ("23", "2", "failed")),
        *(("5", "1", "ok"), ("5", "2", "out_of_memory"), ("16", "", "skipped"), ("2", "1", "ok"), ("2", "2", "ok")),
    ]
    raised, killed, hung, suspended, memory, _ = (row["error"] for row in rows(the_csv(tmp_path)) if row["error"])
    assert raised.startswith("rank 1: ValueError: the third wheel, as planned (ranked_speed_test.py, line ")
    assert killed.startswith("rank 1: was killed by SIGKILL")
    assert hung.startswith("rank 1 kept the others waiting: ")
    assert suspended.startswith(("rank 1: was stopped by a signal for ", "rank 1 kept the others waiting: "))
    assert memory.startswith("rank 1: ")
    assert "allocate" in memory
    done = [row for row in rows(the_csv(tmp_path)) if row["status"] == "ok"]
    assert {row["measured_samples"] for row in done} == {"101"}
    columns = ("num_processes", "num_nodes", "global_batch_size")
    assert all([row[column] for column in columns] == ["2", "1", str(2 * int(row["batch_size"]))] for row in done)
    assert {row["other_sweeps"] for row in done} == {"0"}
    assert (tmp_path / "out").read_text().count("batch size 2, epoch 2 of 2: ") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_of_a_launcher_that_is_ended(tmp_path, number):
    process = start(*STANDALONE, RANKED, "--device=cpu", "--batch_sizes=7", cwd=tmp_path)
    wait_for(lambda: stuck(tmp_path), seconds=120)
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) >= 4
    process.send_signal(number)
    process.wait(60)
    wait_for(lambda: all(map(is_gone, family)), seconds=30)
    assert cells(tmp_path, "batch_size", "epoch", "status") == [("7", "1", "ok")]
    assert (tmp_path / "out").read_text().count("1 finished epoch is in") == 1


def test_a_real_script_with_processes(tmp_path):
    """--processes starts torchrun with the same script."""
    size = ("--device=cpu", "--epochs=1", "--batch_sizes=8", "--max_steps=3", "--data=synthetic")
    done = run(CIFAR100, *size, "--processes=2", cwd=tmp_path, SMALL_NETWORK="1")
    assert done.returncode == 0, done.stderr
    columns = ("batch_size", "status", "num_processes", "global_batch_size", "measured_samples")
    assert cells(tmp_path, *columns) == [("8", "ok", "2", "16", "48")]


def test_two_machines_and_the_link_between_them_cut(tmp_path):
    """Each is a network namespace; the commands are those of docs/several_devices.md."""
    if sys.platform != "linux" or os.geteuid() or not is_done("ip", "netns", "add", "speed_test_probe"):
        pytest.skip("no network namespaces")
    is_done("ip", "netns", "delete", "speed_test_probe")
    names = [f"speed_test_{os.getpid()}_{number}" for number in (0, 1)]
    processes = []
    family = []
    try:
        connect(names)
        for number, name in enumerate(names):
            folder = tmp_path / name
            folder.mkdir()
            where = ("--nnodes", "2", "--nproc-per-node", "1", "--node-rank", str(number))
            master = ("--master-addr", "192.0.2.10", "--master-port", "29500")
            command = (*TORCHRUN, *where, *master, RANKED, "--device=cpu", "--batch_sizes=7")
            processes.append(start(*command, cwd=folder, before=("ip", "netns", "exec", name)))
        first, second = (tmp_path / name for name in names)
        wait_for(lambda: stuck(second), seconds=150)
        family = [member for process in processes for member in psutil.Process(process.pid).children(recursive=True)]
        assert is_done("ip", "-n", names[0], "link", "set", "eth0", "down")
        cut = time.monotonic()
        wait_for(lambda: len(rows(the_csv(first))) == 2, seconds=60)
        assert time.monotonic() - cut < 60
        wait_for(lambda: "left out" in (first / "err").read_text(), seconds=20)
        assert cells(first, "batch_size", "status", "num_nodes") == [("7", "ok", "2"), ("7", "failed", "2")]
        assert rows(the_csv(first))[1]["error"].startswith("rank 1")
        assert not (second / "results").exists()
        # torchrun itself waits for that of the other machine for minutes; what it has started is gone.
        wait_for(lambda: all(map(is_gone, family)), seconds=60)
    finally:
        for process in processes:
            process.kill()
            process.wait()
        for member in family:
            if not is_gone(member):
                member.kill()
        for name in names:
            is_done("ip", "netns", "delete", name)


def is_done(*command):
    try:
        return subprocess.run(command, capture_output=True, timeout=20).returncode == 0
    except OSError:
        return False


def connect(names):
    """Two namespaces with a cable between them: 192.0.2.10 and 192.0.2.11."""
    for name in names:
        assert is_done("ip", "netns", "add", name)
    ends = ("name", "eth0", "netns", names[0], "type", "veth", "peer", "name", "eth0", "netns", names[1])
    assert is_done("ip", "link", "add", *ends)
    for number, name in enumerate(names):
        assert is_done("ip", "-n", name, "address", "add", f"192.0.2.1{number}/24", "dev", "eth0")
        for interface in ("lo", "eth0"):
            assert is_done("ip", "-n", name, "link", "set", interface, "up")
