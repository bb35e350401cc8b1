"""Set up and run a speed test, with no more than Python on the machine.

  python3 speed_test pytorch_test_computer_vision_cifar100.py --epochs=1

Makes a virtual environment in .venv, installs what the script's PEP 723 header asks for, and runs the script in it.
run_all.py lets each speed test be set up like this, too. `uv run SCRIPT` does the same with uv.
"""

# Started as `python3 speed_test`, so that speed_test/__init__.py is not imported: an older Python could not read it.
# For the same reason this file does without newer syntax.

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
VERSIONS = ((3, 12), (3, 11))


def stop(message: str) -> NoReturn:
    """End with exit status 2 and one sentence."""
    print(f"speed_test: {message}", file=sys.stderr)
    sys.exit(2)


def find_python() -> str:
    """The path of a Python 3.12 or 3.11: this one if it is, else one on the PATH.

    Exits with status 2 if there is none.
    """
    if sys.version_info[:2] in VERSIONS:
        return sys.executable
    for major, minor in VERSIONS:
        path = shutil.which(f"python{major}.{minor}")
        # A shim of a version manager may stand on the PATH for a Python that it cannot start.
        if path and subprocess.run([path, "--version"], capture_output=True).returncode == 0:
            return path
    return stop(f"this is Python {sys.version_info[0]}.{sys.version_info[1]}; install Python 3.12 or 3.11 beside it")


def dependencies(script: Path) -> list[str]:
    """The packages in the PEP 723 header of `script`, as pip takes them.

    Exits with status 2 if there is no such script, or it has no header.
    """
    try:
        text = script.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        stop(f"{script} cannot be read; name a speed test, such as pytorch_test_computer_vision_cifar100.py")
    header = re.search(r"^# /// script\n((?:#.*\n)+?)# ///$", text, flags=re.MULTILINE)
    if not header:
        stop(f"{script} has no PEP 723 header that says what it needs; name a speed test")
    # tomllib came with Python 3.11.
    listed = re.search(r"^# dependencies = \[\n((?:#.*\n)*?)# \]$", header[1], flags=re.MULTILINE)
    return re.findall(r'^#\s+"(.+)",$', listed[1], flags=re.MULTILINE) if listed else []


def run(command: list[str], is_set_up: bool = False) -> int:
    """Run `command` to its end and return its exit status, as a shell has it.

    Signals that end this process are passed on to it, as it may have rows to write. A terminal sends Ctrl-C to both; a
    second one does no harm. A step of the set-up has nothing to write, and would print a traceback: it is in a session
    of its own, where it hears nothing of Ctrl-C, and is ended with all that it has started.
    """
    apart = is_set_up and os.name != "nt"
    caught: list[int] = []
    process = subprocess.Popen(command, start_new_session=apart)

    def pass_on(number: int, _: object) -> None:
        caught.append(number)
        if not apart:
            process.send_signal(number)
        elif process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)

    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number and os.name != "nt" and signal.getsignal(number) != signal.SIG_IGN:  # `nohup` ignores one
            signal.signal(number, pass_on)
    while True:
        try:
            status = process.wait()
            if apart and caught:
                print("speed_test: stopped during the set-up; the same command goes on with it", file=sys.stderr)
                return 128 + caught[0]
            return status if status >= 0 else 128 - status
        except KeyboardInterrupt:  # on Windows
            pass


def is_complete(python: str) -> bool:
    """Whether the virtual environment of `python` is there and has pip, which comes last."""
    if not os.path.exists(python):
        return False
    return not subprocess.run([python, "-c", "import pip"], capture_output=True).returncode


def main() -> int:
    """Set up .venv and run the script. Returns the exit status of the script, or of the step that failed."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(__doc__.strip())
        return 0 if len(sys.argv) > 1 else 2
    packages = dependencies(Path(sys.argv[1]))
    python = str(ROOT / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
    steps = [] if is_complete(python) else [[find_python(), "-m", "venv", str(ROOT / ".venv")]]
    if packages:
        steps.append([python, "-m", "pip", "install", "--disable-pip-version-check", *packages])
    os.environ["SPEED_TEST_SETS_UP"] = "1"  # so run_all.py knows that it may install what its speed tests need
    steps.append([python, *sys.argv[1:]])
    for step in steps:
        status = run(step, is_set_up=step is not steps[-1])
        if status:
            return status
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("speed_test: stopped before it began", file=sys.stderr)
        sys.exit(130)
