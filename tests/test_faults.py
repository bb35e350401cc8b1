"""What goes wrong on a machine that people also use: signals, full disks, removed folders, hanging processes.

Real processes and real files; in each test, no row is lost and none is there twice.
"""

import atexit
import contextlib
import getpass
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest

from speed_test import child, state
from speed_test.interrupt import Interrupt
from tests.conftest import (
    CIFAR100,
    LOAD,
    PLAIN,
    ROOT,
    SMALL,
    end_what_was_started,
    environment,
    rows,
    rows_so_far,
    run,
    start,
    the_csv,
)
from tests.test_sweep import status_of, wait_for

if sys.platform == "win32":
    pytest.skip("signals", allow_module_level=True)

pytestmark = pytest.mark.frameworks  # not for its imports, but for its minute


# A process that starts another in a session of its own, as torchrun does.
FAMILY = """
import subprocess, sys, time
child = "print('child', flush=True); __import__('time').sleep(60)"
subprocess.Popen([sys.executable, "-c", child], start_new_session=True)
time.sleep(60)
"""


def test_a_failed_test_leaves_no_process_behind(tmp_path):
    (tmp_path / "family.py").write_text(FAMILY)
    process = start(tmp_path / "family.py", cwd=tmp_path)
    assert process.stdout.readline() == "child\n"
    family = psutil.Process(process.pid).children(recursive=True)
    end_what_was_started()
    assert family
    assert process.poll() is not None
    wait_for(lambda: not any(member.is_running() for member in family), seconds=5)


def stuck(folder):
    """Whether a batch size has come to the point at which it hangs."""
    note = folder / "stuck.pid"
    return note.exists() and note.read_text()


def once(folder):
    """The (batch size, epoch) pairs of the CSV. Each is there once, in a complete row."""
    found = [(row["batch_size"], row["epoch"]) for row in rows(the_csv(folder)) if row["status"] == "ok"]
    assert len(found) == len(set(found))
    assert all(None not in row and None not in row.values() for row in rows(the_csv(folder)))
    return found


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_kill_and_a_closed_terminal_end_like_ctrl_c(tmp_path, number, status):
    """Sent to the parent alone."""
    process = start(PLAIN, "--batch_sizes=8, 7, 2", cwd=tmp_path)
    wait_for(lambda: stuck(tmp_path))
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == status
    assert "3 finished epochs are in" in out
    assert LOAD.sub("", err) == ""
    assert once(tmp_path) == [("8", "1"), ("8", "2"), ("7", "1")]
    wait_for(lambda: not any(member.is_running() for member in family), seconds=5)


def test_nohup_keeps_a_run_from_ending_with_its_terminal(tmp_path):
    command = ["nohup", sys.executable, PLAIN, "--batch_sizes=8"]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment(SECONDS="0.1"), stdout=subprocess.PIPE, text=True)
    wait_for(lambda: rows_so_far(tmp_path))
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert once(tmp_path) == [("8", "1"), ("8", "2")]


# Tells when speed_test watches for Ctrl-C: what comes earlier, while Python itself starts, may get lost in there.
WATCHED = """
import os, runpy, sys

class Watched:
    def find_spec(self, name, path, target=None):
        if name == "speed_test.command_line":  # the next one that speed_test imports
            os.write(1, b"watched\\n")

if __name__ == "__main__":
    sys.meta_path.insert(0, Watched())
    runpy.run_path(sys.argv.pop(1), run_name="__main__")
"""


def test_ctrl_c_at_any_moment_of_the_start(tmp_path):
    (tmp_path / "watched.py").write_text(WATCHED)
    for delay in (0, 0.03, 0.06, 0.1, 0.15, 0.25):
        process = start(tmp_path / "watched.py", str(CIFAR100), "--data=synthetic", cwd=tmp_path)
        assert process.stdout.readline() == "watched\n"
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
        assert process.returncode in (-signal.SIGINT, 130), err
        assert err in ("", STOPPED_EARLY.format(CIFAR100.name))


STOPPED_EARLY = "{}: stopped before anything was measured\n"

# Ctrl-C in a `__del__`, where Python ignores the KeyboardInterrupt, or one that a library turns into an error.
LOST = """
import os, runpy, signal, sys
import speed_test

class Swallows:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)

if __name__ == "__main__":
    Swallows()
    if "WRAPPED" in os.environ:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt as error:
            raise RuntimeError from error
    runpy.run_path(sys.argv.pop(1), run_name="__main__")
"""


def test_a_ctrl_c_that_gets_lost_before_the_start_ends_the_run(tmp_path):
    (tmp_path / "lost.py").write_text(LOST)
    done = run(tmp_path / "lost.py", str(PLAIN), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (130, STOPPED_EARLY.format(PLAIN.name))
    assert not (tmp_path / "results").exists()
    done = run(tmp_path / "lost.py", str(ROOT / "compare_results.py"), cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")
    done = run(tmp_path / "lost.py", cwd=tmp_path, WRAPPED="1")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_an_error_whose_causes_form_a_circle_is_printed():
    program = "import speed_test\na, b = ValueError('one'), ValueError('two')\nb.__context__ = a\nraise a from b"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, timeout=60
    )
    assert done.stderr.count("ValueError: one") >= 1


def test_a_process_that_ignores_ctrl_c_goes_on_to_ignore_it(tmp_path):
    """As children do; and one whose handler is its own keeps that."""
    program = "import signal\nsignal.signal(signal.SIGINT, {0})\nimport speed_test\n"
    program += "assert signal.getsignal(signal.SIGINT) is {0}"
    for handler in ("signal.SIG_IGN", "print"):
        subprocess.run([sys.executable, "-c", program.format(handler)], env=environment(), check=True)


def test_signals_are_reasons(tmp_path):
    done = run(PLAIN, "--batch_sizes=21, 22, 8", cwd=tmp_path)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    reasons = [row["error"] for row in rows(the_csv(tmp_path)) if row["status"] == "failed"]
    assert reasons[0] == f"was killed by signal {signal.SIGRTMIN + 3}"
    assert reasons[1] == "was ended by SIGTERM"
    assert once(tmp_path) == [("21", "1"), ("22", "1"), ("8", "1"), ("8", "2")]


def test_a_stopped_child_ends_with_its_killed_parent(tmp_path):
    if sys.platform != "linux":
        pytest.skip("only Linux tells a stopped process of its parent's death")
    process = start(PLAIN, "--batch_sizes=23", cwd=tmp_path)
    wait_for(lambda: stuck(tmp_path))
    family = psutil.Process(process.pid).children(recursive=True)
    stopped = psutil.Process(int(stuck(tmp_path)))
    wait_for(lambda: stopped.status() == psutil.STATUS_STOPPED)
    process.kill()
    process.communicate()
    wait_for(lambda: not any(member.is_running() for member in family), seconds=10)


def test_a_child_without_progress_is_named_and_ended(tmp_path):
    done = run(PLAIN, "--batch_sizes=7, 23, 8", "--stall_timeout=4", cwd=tmp_path)
    assert done.returncode == 0
    named = re.findall(r"has shown no progress for (\d+) s; it will be ended\s+after 4 s", done.stderr)
    assert len(named) == 2
    failed = [row for row in rows(the_csv(tmp_path)) if row["status"] == "failed"]
    assert [(row["batch_size"], row["epoch"]) for row in failed] == [("7", "2"), ("23", "2")]
    silent = [re.fullmatch(r"showed no progress for (\d+) s and was ended", row["error"])[1] for row in failed]
    assert all(int(seconds) >= 4 for seconds in [*named, *silent])
    assert once(tmp_path) == [("7", "1"), ("23", "1"), ("8", "1"), ("8", "2")]


def test_ctrl_z_is_no_stall(tmp_path):
    process = start(PLAIN, "--batch_sizes=8", "--epochs=1", "--stall_timeout=3", cwd=tmp_path, SECONDS="0.1")
    wait_for(lambda: len(psutil.Process(process.pid).children(recursive=True)) > 1)
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGSTOP)
    time.sleep(6)
    os.killpg(process.pid, signal.SIGCONT)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert once(tmp_path) == [("8", "1")]


def aborts_at_its_end(send):
    atexit.register(os.abort)
    send("device", "cpu")


def ends_in_mid_job(send):
    send("device", "cpu")
    sys.exit(0)


def test_a_child_that_aborts_after_its_job_has_not_failed():
    with Interrupt() as interrupt:
        one = child.Child(aborts_at_its_end, (), interrupt)
        assert one.answers() == {"device": "cpu"}
        assert (one.failure(), one._process.exitcode) == (None, -signal.SIGABRT)
        with pytest.raises(child.ChildFailed, match="ended without a word, with exit status 0"):
            child.Child(ends_in_mid_job, (), interrupt).answers()


class PipeOfWindows:
    """A pipe whose other end is gone: on Windows, poll() raises."""

    def __init__(self, pipe, process):
        self._pipe, self._process = pipe, process

    def poll(self, seconds):
        if not self._process.is_alive():
            raise BrokenPipeError(109, "The pipe has been ended")
        return self._pipe.poll(seconds)

    def __getattr__(self, name):
        return getattr(self._pipe, name)


def says_nothing(send):
    time.sleep(1000)


def test_a_silent_child_is_a_failure_on_windows_too():
    with Interrupt() as interrupt:
        one = child.Child(says_nothing, (), interrupt, stall_timeout=1)
        one._pipe = PipeOfWindows(one._pipe, one._process)
        assert list(one.messages()) == []
        status, reason = one.failure()
    assert status == "failed"
    assert reason.startswith("showed no progress for")


def test_a_slow_step_is_no_stall(tmp_path):
    done = run(PLAIN, "--batch_sizes=50", "--epochs=1", "--stall_timeout=4", cwd=tmp_path, SECONDS="1")
    assert (done.returncode, done.stderr) == (0, "")


def test_too_little_memory_for_a_library_is_out_of_memory(tmp_path):
    """Under `ulimit -v` the system's loader says it in its own words. With a little more it ends the process itself."""
    command = f"ulimit -v 1000000; exec {sys.executable} {SMALL} --batch_sizes=8 --epochs=1"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert any(words in done.stderr for words in child.OUT_OF_MEMORY), done.stderr


def test_a_missing_package_is_named_with_what_installs_it(tmp_path):
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')")
    done = run(SMALL, cwd=tmp_path, PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    assert done.returncode == 1
    assert done.stderr == (
        "small_speed_test.py: the package torch is missing; python3 speed_test small_speed_test.py installs it\n"
    )


@pytest.mark.parametrize(("columns", "shown"), [(100, "samples/s"), (60, "epoch 1 of 1 |")])
def test_the_progress_bar_fits_the_terminal(tmp_path, columns, shown):
    """On a narrow one the rate makes room for the bar."""
    import fcntl
    import pty
    import struct
    import termios

    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, PLAIN, "--batch_sizes=8", "--epochs=1"],
        **{"cwd": tmp_path, "env": environment(SECONDS="0.1"), "stdout": subprocess.DEVNULL, "stderr": end},
    )
    os.close(end)
    seen = b""
    with contextlib.suppress(OSError):  # the terminal is closed
        while part := os.read(terminal, 4096):
            seen += part
    process.wait()
    bars = [line for line in re.split("[\r\n]", seen.decode()) if " left" in line]
    assert any(shown in line for line in bars), bars
    assert max(map(len, bars)) <= columns
    assert all(len(line.split("|")[1]) >= 8 for line in bars), bars


# ---- The disk ----


def test_a_folder_that_is_removed_in_mid_run(tmp_path):
    process = start(PLAIN, "--batch_sizes=8, 16, 25", cwd=tmp_path, SECONDS="0.1")
    wait_for(lambda: len(rows_so_far(tmp_path)) >= 3)
    shutil.rmtree(tmp_path / "results")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert re.search(r"[345] rows had been removed from the CSV during the run; written again", err)
    assert sorted(once(tmp_path)) == sorted((size, epoch) for size in ("8", "16", "25") for epoch in "12")
    assert the_csv(tmp_path).name in out


def test_a_csv_that_gets_other_columns_in_mid_run(tmp_path):
    process = start(PLAIN, "--batch_sizes=8, 16, 25", cwd=tmp_path, SECONDS="0.1")
    wait_for(lambda: len(rows_so_far(tmp_path)) == 2)
    path = the_csv(tmp_path)
    path.write_text("batch_size,avg_time_per_epoch\n16,3\n")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "has got other columns, so it is left as it is; rows now go to" in err
    assert path.read_text() == "batch_size,avg_time_per_epoch\n16,3\n"
    beside = path.with_stem(path.stem + "_2")
    found = [(row["batch_size"], row["epoch"]) for row in rows(beside)]
    assert sorted(found) == sorted((size, epoch) for size in ("8", "16", "25") for epoch in "12")
    assert beside.name in out


FULL_DISK = """
import os, runpy, sys, time
import speed_test.results as results

real, full = os.fsync, []

def fsync(descriptor):
    if os.path.exists("full"):
        full.append(1)
        raise OSError(28, "No space left on device")
    return real(descriptor)

results.os.fsync = fsync
if __name__ == "__main__":
    runpy.run_path(sys.argv.pop(1), run_name="__main__")
"""


def test_rows_that_wait_for_the_disk_are_written_when_there_is_room(tmp_path):
    (tmp_path / "full_disk.py").write_text(FULL_DISK)
    (tmp_path / "full").touch()
    process = start(tmp_path / "full_disk.py", str(PLAIN), "--batch_sizes=8, 16, 25", cwd=tmp_path, SECONDS="0.1")
    lines = []
    while len([line for line in lines if line.startswith("batch size")]) < 3:
        lines.append(process.stdout.readline())
    (tmp_path / "full").unlink()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert err.count("cannot be written (No space left on device)") == 1
    assert out.count("The disk takes rows again: all are written") == 1
    assert len(once(tmp_path)) == 6


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_rows_that_wait_for_the_disk_are_printed_when_the_run_is_ended(tmp_path, number):
    (tmp_path / "full_disk.py").write_text(FULL_DISK)
    (tmp_path / "full").touch()
    process = start(tmp_path / "full_disk.py", str(PLAIN), "--batch_sizes=8, 7", cwd=tmp_path)
    wait_for(lambda: stuck(tmp_path))
    process.send_signal(number)
    out, _ = process.communicate(timeout=30)
    printed = [line.split(",")[:2] for line in out.splitlines() if line.count(",") > 30]
    assert printed == [["8", "1"], ["8", "2"], ["7", "1"]]


def test_a_stream_that_fails_once_is_tried_again(tmp_path):
    """A log on a disk that is full for a while: here, a file that may not grow, and later may."""
    program = tmp_path / "log.py"
    program.write_text(
        "import resource\nfrom speed_test import screen\n"
        "limit = resource.getrlimit(resource.RLIMIT_FSIZE)\n"
        "screen.open_streams()\nscreen.say('one')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4, limit[1]))\n"
        "assert not screen.say('two')\nassert not screen.say('three')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, limit)\n"
        "assert screen.say('four')\nscreen.close_streams()\n"
    )
    with open(tmp_path / "log", "w") as log:
        done = subprocess.run(
            [sys.executable, program], stdout=log, stderr=subprocess.PIPE, env=environment(), cwd=tmp_path, text=True
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "log").read_text() == "one\ntwo\nthree\nfour\n"


def test_rows_are_printed_whose_folder_is_gone_and_cannot_be_made_again(tmp_path):
    process = start(PLAIN, "--batch_sizes=8, 16, 25", "--results_dir=x/results", cwd=tmp_path, SECONDS="0.1")
    wait_for(lambda: len([line for file in tmp_path.rglob("*.csv") for line in file.open()]) > 3)
    shutil.rmtree(tmp_path / "x")
    (tmp_path / "x").touch()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "these rows could not be written" in err
    printed = re.findall(r"^(8|16|25),([12]),", out, flags=re.MULTILINE)
    assert sorted(printed) == sorted((size, epoch) for size in ("8", "16", "25") for epoch in "12")


def test_rescued_rows_go_to_standard_error_if_standard_output_is_full(tmp_path):
    (tmp_path / "full_disk.py").write_text(FULL_DISK)
    (tmp_path / "full").touch()
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, tmp_path / "full_disk.py", PLAIN, "--epochs=1"],
            stdout=full,
            stderr=subprocess.PIPE,
            env=environment(),
            cwd=tmp_path,
            text=True,
        )
    assert done.returncode == 1
    assert [line.split(",")[0] for line in done.stderr.splitlines() if line.count(",") > 30] == ["8", "16"]


def test_no_control_character_reaches_the_terminal(tmp_path):
    program = "from speed_test import screen; screen.say('a\\x1b[2Jb\\x9bc\\rd\\u202ee'); screen.warn('\\x07\\x00f')"
    done = subprocess.run([sys.executable, "-c", program], env=environment(), capture_output=True, text=True)
    assert done.stdout == "a\ufffd[2Jb\ufffdc\ufffdd\ufffde\n"
    assert done.stderr == "WARNING: \ufffd\ufffdf\n"


# ---- Several runs ----


def test_another_sweep_is_said_and_stands_in_the_rows(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    first = start(PLAIN, "--batch_sizes=7", cwd=tmp_path / "one", TMPDIR=str(tmp_path))
    wait_for(lambda: stuck(tmp_path / "one"))
    second = run(PLAIN, "--batch_sizes=8", "--epochs=1", cwd=tmp_path / "other", TMPDIR=str(tmp_path))
    first.kill()
    first.communicate()
    assert second.stderr.count("another speed test is running on this machine") == 1
    assert [row["other_sweeps"] for row in rows(the_csv(tmp_path / "other"))] == ["1"]
    # The lock of a killed sweep is none.
    third = run(PLAIN, "--batch_sizes=8", "--epochs=1", cwd=tmp_path / "other", TMPDIR=str(tmp_path))
    assert third.stderr == ""
    assert [row["other_sweeps"] for row in rows(the_csv(tmp_path / "other"))] == ["1", "0"]
    assert list(tmp_path.glob("ml_speed_test_*/*")) == []


def test_what_a_stranger_puts_where_sweeps_lock_their_files(tmp_path):
    """A link in place of the folder, and a pipe in place of a file: nothing is written there, and nothing hangs."""
    target = tmp_path / "target"
    target.mkdir(mode=0o700)
    (tmp_path / "ml_speed_test_stranger").mkdir()
    os.mkfifo(tmp_path / "ml_speed_test_stranger" / "1.lock")
    with state.Sweeps(tmp_path) as sweeps:
        assert sweeps.others() == 0
    ours = tmp_path / f"ml_speed_test_{getpass.getuser()}"
    ours.rmdir()
    ours.symlink_to(target)
    with state.Sweeps(tmp_path) as sweeps:
        assert sweeps.others() is None
        assert list(target.iterdir()) == []
    assert target.stat().st_mode & 0o777 == 0o700


def test_a_launcher_of_several_processes_is_refused(tmp_path):
    done = run(PLAIN, cwd=tmp_path, RANK="1")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "RANK is set" in done.stderr


ARGUMENTS = ("--batch_sizes=8, 16, 25", "--epochs=3")
ALL = sorted((size, epoch) for size in ("8", "16", "25") for epoch in "123")


@pytest.mark.parametrize("seed", range(int(os.environ.get("RESUMES", "3"))))
def test_resume_finishes_a_sweep_that_was_killed(tmp_path, seed):
    process = start(PLAIN, *ARGUMENTS, cwd=tmp_path, SECONDS="0.05")
    time.sleep(random.Random(seed).uniform(0.1, 4))
    process.kill()
    process.communicate()
    for _ in range(2):  # the second time there is nothing left to do
        done = run(PLAIN, *ARGUMENTS, "--resume", cwd=tmp_path, SECONDS="0.05")
        assert done.returncode == 0, done.stderr
        assert sorted(once(tmp_path)) == ALL
    assert "9 epochs found in the CSV already" in done.stdout
    assert "batch size" not in done.stdout.split("found in the CSV")[1]


def test_resume_measures_again_what_is_another_measurement(tmp_path):
    assert run(PLAIN, "--batch_sizes=8", "--epochs=1", "--max_steps=2", cwd=tmp_path).returncode == 0
    for arguments in ([], ["--max_steps=3"]):  # whole epochs are no estimates; estimates may be either
        assert run(PLAIN, "--batch_sizes=8", "--epochs=1", "--resume", *arguments, cwd=tmp_path).returncode == 0
    assert [row["estimated"] for row in rows(the_csv(tmp_path))] == ["True", "False"]
    path = the_csv(tmp_path)
    path.write_text(path.read_text().replace(",nothing,", ",other,"))
    assert run(PLAIN, "--batch_sizes=8", "--epochs=1", "--resume", cwd=tmp_path).returncode == 0
    assert [row["model"] for row in rows(path)] == ["other", "other", "nothing"]


def test_resume_knows_what_ran_out_of_memory_and_tries_failures_again(tmp_path):
    arguments = ("--batch_sizes=3, 5, 8, 2", "--epochs=2")
    run(PLAIN, *arguments, cwd=tmp_path)
    before = status_of(tmp_path)
    assert before == [
        *[("3", "1", "ok"), ("3", "2", "failed"), ("5", "1", "ok"), ("5", "2", "out_of_memory")],
        *[("8", "", "skipped"), ("2", "1", "ok"), ("2", "2", "ok")],
    ]
    run(PLAIN, *arguments, "--resume", cwd=tmp_path)
    # Only what had failed is tried again; it fails in its second epoch, and this is its first.
    assert status_of(tmp_path) == [*before, ("3", "2", "ok")]


def test_nothing_measured_and_nothing_left_to_measure_are_told_apart(tmp_path):
    """The exit status is 0 only if there is a figure: now, or from before."""
    out_of_memory = ("--batch_sizes=5", "--epochs=2", "--resume")
    assert run(PLAIN, *out_of_memory, cwd=tmp_path).returncode == 0  # its first epoch has a figure
    path = the_csv(tmp_path)
    path.write_text("".join(line for line in path.read_text().splitlines(keepends=True) if ",ok," not in line))
    assert run(PLAIN, *out_of_memory, cwd=tmp_path).returncode == 1
    arguments = ("--batch_sizes=8", "--epochs=1", "--resume")
    path.unlink()
    assert [run(PLAIN, *arguments, cwd=tmp_path).returncode for _ in range(2)] == [0, 0]
    assert len(rows(path)) == 1


@pytest.mark.skipif("SOAK" not in os.environ, reason="takes some minutes: set SOAK to a number of batch sizes")
def test_soak(tmp_path):
    """Memory, open files, children and threads of the parent stay flat over many batch sizes."""
    count = int(os.environ["SOAK"])
    program = tmp_path / "soak.py"
    program.write_text(PLAIN.read_text().replace("samples=50,", f"samples={count + 100},"))
    chosen = ", ".join(str(number) for number in range(100, 100 + count))
    process = start(program, f"--batch_sizes={chosen}", "--epochs=1", cwd=tmp_path)
    parent, seen = psutil.Process(process.pid), []
    while process.poll() is None:
        try:
            seen.append((parent.memory_info().rss, parent.num_fds(), len(parent.children()), parent.num_threads()))
        except psutil.Error:
            break
        time.sleep(1)
    process.communicate()
    early, late = seen[len(seen) // 4], seen[-2]
    print(f"{count} batch sizes: memory, open files, children, threads {early} -> {late}")
    assert late[0] < early[0] * 1.1 + 2**22
    assert all(after <= before + 2 for before, after in zip(early[1:], late[1:], strict=True))
    assert len(once(tmp_path)) == count
