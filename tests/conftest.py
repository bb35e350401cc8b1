"""What the tests share: running a speed test as a user does, offline, and reading its CSV."""

import contextlib
import csv
import functools
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parent.parent
CIFAR100 = ROOT / "pytorch_test_computer_vision_cifar100.py"
SMALL = ROOT / "tests" / "small_speed_test.py"
PLAIN = ROOT / "tests" / "plain_speed_test.py"
QUICK = ROOT / "tests" / "quick"  # see its sitecustomize.py

# A proxy that refuses at once: no test reaches the network, whether or not the machine has one.
OFFLINE = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "no_proxy": ""}
# Tests run side by side: threads of each that wait for one another would keep the other's from working.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1"}


# In the environment of what this process of pytest starts, and so of what that starts, in whatever session. pytest
# imports this module a second time, under another name, so the value must not be of the module.
STARTED_BY, OURS = "STARTED_BY_PYTEST", str(os.getpid())


@functools.cache
def temporary_folder() -> str:
    """One for each process of pytest, so that sweeps of two tests do not see each other."""
    return tempfile.mkdtemp(prefix="speed_test_")


def environment(**changes: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    temporary = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), temporary_folder())
    path = os.pathsep.join([str(ROOT), str(QUICK)])
    ours = {"PYTHONPATH": path, STARTED_BY: OURS}
    return kept | OFFLINE | ONE_THREAD | temporary | ours | changes


def end_what_was_started() -> None:
    """Kill all processes that `environment()` was made for, and all that they have started."""
    for _ in range(5):  # one of them may have been about to start another
        left = [process for process in psutil.process_iter() if _is_ours(process)]
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        if not left:
            return
        psutil.wait_procs(left, timeout=10)


def _is_ours(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error, OSError):  # of another user, or gone
        return process.environ().get(STARTED_BY) == OURS
    return False


@pytest.fixture(autouse=True)
def nothing_goes_on_after_a_test():
    """What a failed test leaves behind would fail others: they see its load, and that another sweep goes on."""
    yield
    end_what_was_started()


# Tests run side by side, so each is one of the other programs of another one. And a processor may have AMX.
LOAD = re.compile(r"^WARNING: (other programs use|the host gives) .*\n", re.MULTILINE)
AMX = re.compile(r"^WARNING: llama.cpp crashes in its code for AMX .*\n", re.MULTILINE)


def run(script: Path, *arguments: str, cwd: Path, **changes: str) -> subprocess.CompletedProcess:
    """Run a script to its end. `stderr` lacks the warnings of other programs, which `loads` has, and that of AMX."""
    done = subprocess.run(
        [sys.executable, str(script), *arguments],
        cwd=cwd,
        env=environment(**changes),
        capture_output=True,
        text=True,
        timeout=300,
    )
    done.loads = [found[0] for found in LOAD.finditer(done.stderr)]
    done.stderr = AMX.sub("", LOAD.sub("", done.stderr))
    return done


def start(script: Path, *arguments: str, cwd: Path, **changes: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, str(script), *arguments],
        cwd=cwd,
        env=environment(**changes),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def the_csv(folder: Path) -> Path:
    files = list((folder / "results").rglob("*.csv"))
    assert len(files) == 1, files
    return files[0]


def rows_so_far(folder: Path) -> list[dict]:
    """The rows of a run that goes on; before it has a CSV, none."""
    # By name: the command line makes the folder and removes it again, and rglob() raises if that happens meanwhile.
    files = list(folder.glob("results/results_*/*.csv"))
    return rows(files[0]) if files else []


def rows(path: Path) -> list[dict]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """An empty folder that is also the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
