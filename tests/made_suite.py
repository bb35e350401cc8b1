"""Speed tests of nothing, written into a folder of their own, for run_all.py to find and run there."""

import subprocess
import sys
from pathlib import Path

import psutil

from tests.conftest import environment

SCRIPT = '''# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = [
#     "{package}",
# ]
# ///
"""How fast does this machine do nothing, of the kind {name}?

More is not said.
"""

import os
import sys
import time

from speed_test import Epochs, Experiment, clock, main
from tests.plain_framework import Plain, use

clock.COMPUTE_SECONDS = 0.02  # nobody compares these figures
EXPERIMENT = Experiment(
    framework="plain",
    model="nothing",
    dataset="{name}",
    samples=50,
    results="results_plain",
    memory_gb={memory_gb},
    epochs=2,
    batch_sizes=({batch_sizes},),
)
use(Plain(), __name__)


def load_data(options):
    {preparation}


def training(batch_size, options):
    def batches():
        for first in range(0, EXPERIMENT.samples, batch_size):
            yield (range(first, min(first + batch_size, EXPERIMENT.samples)),)

    def step(batch):
        {step}
        return 1.0

    return Epochs(step, batches, EXPERIMENT.samples, rewind=lambda: None)


if __name__ == "__main__":
    main(EXPERIMENT, load_data, training)
'''

# run_all.py of this folder, with speed tests from another one.
START = "import pathlib, sys, run_all; sys.argv[0] = 'run_all.py'; run_all.main(pathlib.Path(sys.argv.pop(1)))"


def write(
    folder: Path,
    name: str,
    step: str = "time.sleep(0.002)",
    preparation: str = "pass",
    package: str = "psutil",
    memory_gb: float = 0.0,
    batch_sizes: str = "8, 16",
) -> None:
    """Write the speed test plain_`name` into `folder`. `step` and `preparation` are statements, which may go wrong."""
    facts = {"package": package, "memory_gb": memory_gb, "batch_sizes": batch_sizes}
    text = SCRIPT.format(name=name, step=step, preparation=preparation, **facts)
    (folder / f"plain_test_{name}.py").write_text(text, encoding="utf-8")


def start(folder: Path, *arguments: str, cwd: Path, **changes: str) -> subprocess.Popen:
    """Start the suite of the speed tests in `folder`. There is no uv: no test may install anything."""
    return subprocess.Popen(
        [sys.executable, "-c", START, str(folder), *arguments],
        cwd=cwd,
        env=environment(PATH="/usr/bin:/bin" if sys.platform != "win32" else "", UV="", **changes),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        start_new_session=True,
    )


def is_alive(pid: int) -> bool:
    """Whether a process runs. A zombie does not: it waits for its parent to look after it."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
