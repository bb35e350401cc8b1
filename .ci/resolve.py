"""Do the requirements files and the header of each script resolve on every platform, to versions that work together?

    python .ci/resolve.py

Asks the package index through uv, for the platforms of others as well as for this one.
"""

import itertools
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MAC = "aarch64-apple-darwin"
PLATFORMS = ("x86_64-manylinux_2_28", MAC, "windows")
PYTHONS = ("3.11", "3.12")
# How the versions begin, where a package is asked for. tensorflow-metal loads no later TensorFlow than 2.18,
# which was built with protobuf 5; torch and torchvision are released in pairs.
PAIRS = {"torch": ("2.13", "2.14", "2.15"), "torchvision": ("0.28", "0.29", "0.30")}
WANTED = {
    MAC: PAIRS | {"tensorflow": ("2.18.1",), "tensorflow-metal": ("1.2.0",), "protobuf": ("5.",)},
    "x86_64-manylinux_2_28": PAIRS | {"tensorflow": ("2.21.0",)},
    "windows": PAIRS | {"tensorflow": ("2.21.0",)},
}


def dependencies(source: Path) -> str:
    """The requirements in `source`, a script with a PEP 723 header or a requirements file, one on a line."""
    text = source.read_text(encoding="utf-8")
    if source.suffix == ".txt":
        # The path in a line such as "-r requirements.txt" is relative to the file, which is about to be copied.
        return re.sub(r"^-r (.*)$", lambda line: dependencies(ROOT / line[1]), text, flags=re.MULTILINE)
    block = re.search(r"^# /// script\n((?:#.*\n)+?)# ///$", text, flags=re.MULTILINE)
    header = tomllib.loads("".join(line[2:] + "\n" for line in block[1].splitlines()))
    return "\n".join(header["dependencies"])


def resolve(job: tuple[Path, str, str]) -> str:
    """What is wrong with `job`, a source on a platform with a Python; "" where nothing is."""
    source, platform, python = job
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "requirements.in"
        file.write_text(dependencies(source), encoding="utf-8")
        command = ["-m", "uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--only-binary", ":all:"]
        # These two are on the index as sources only.
        command += ["--no-binary", "promise", "--no-binary", "llama-cpp-python"]
        done = subprocess.run(
            [sys.executable, *command, "--python-platform", platform, "--python-version", python, file],
            env=os.environ | {"MACOSX_DEPLOYMENT_TARGET": "15.0"},
            capture_output=True,
            text=True,
        )
    if done.returncode:
        return done.stderr
    found = dict(line.split(" ")[0].split("==") for line in done.stdout.splitlines() if "==" in line)
    wrong = [f"{package} {found[package]}" for package in found if not fits(package, found[package], platform, found)]
    if "tensorflow" in found and platform == MAC and "tensorflow-metal" not in found:
        wrong.append("no tensorflow-metal")
    return ", ".join(wrong)


def fits(package: str, version: str, platform: str, found: dict[str, str]) -> bool:
    if package == "protobuf" and "tensorflow" not in found:
        return True
    return version.startswith(WANTED[platform].get(package, ""))


def main() -> None:
    sources = [
        ROOT / "requirements.txt",
        ROOT / "requirements-dev.txt",
        *sorted(file for file in ROOT.glob("*.py") if "# /// script" in file.read_text()),
    ]
    jobs = list(itertools.product(sources, PLATFORMS, PYTHONS))
    bad = 0
    with ThreadPoolExecutor(8) as pool:
        for (source, platform, python), wrong in zip(jobs, pool.map(resolve, jobs), strict=True):
            bad += bool(wrong)
            if wrong:
                print(f"{source.name}, {platform}, Python {python}: {wrong}")
    print(f"{len(jobs) - bad} of {len(jobs)} sets of dependencies resolve as they should")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
