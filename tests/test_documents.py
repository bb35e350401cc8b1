"""README, docs and the other pages: they agree with the scripts, the columns and one another."""

import importlib.util
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import tomllib
from functools import cache
from pathlib import Path

import pytest

from speed_test import child, columns_page
from speed_test.data import files
from speed_test.frameworks import llamacpp_trial
from speed_test.results import GENERATION, TRAINING
from tests.conftest import ROOT
from tests.made_suite import is_alive

SCRIPTS = sorted(path for path in ROOT.glob("*.py") if "# /// script" in path.read_text(encoding="utf-8"))
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGES.md", "SECURITY.md", "results/README.md", "published/README.md")
TEXTS = {
    file: file.read_text(encoding="utf-8")
    for file in [*(ROOT / page for page in PAGES), *sorted((ROOT / "docs").glob("*.md"))]
    if file.exists()
}
BLOCK = re.compile(r"^( *)```(sh|powershell|ipython)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)


def blocks(text):
    """The commands in the code blocks of a page, one a line."""
    for block in BLOCK.finditer(text):
        yield from (line.strip() for line in block[3].splitlines())


def commands(text):
    """The commands in the code blocks of a page and in its sentences."""
    yield from blocks(text)
    yield from re.findall(r"`((?:\S*python3? |\S*pip |uv run )[^`\n]+)`", text)


ALL_COMMANDS = sorted({command for text in TEXTS.values() for command in commands(text)})


@cache
def flags(script):
    """The options that the --help of `script` names."""
    done = subprocess.run([sys.executable, script, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return set(re.findall(r"--\w+", done.stdout))


def bootstrap():
    """The module speed_test/__main__.py."""
    spec = importlib.util.spec_from_file_location("bootstrap", ROOT / "speed_test" / "__main__.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ---- README ----


def test_the_readme_is_short_and_starts_with_two_short_commands():
    assert len(README.splitlines()) <= 170
    first, second = list(blocks(README))[:2]
    assert first.startswith("python3 speed_test run_all.py --budget=2m ")
    assert (
        second == "python3 -m venv .venv && .venv/bin/pip install -r requirements-dev.txt && .venv/bin/python -m pytest"
    )
    assert max(len(command) for command in blocks(README)) < 120


def test_readme_names_every_script_and_every_page():
    for script in SCRIPTS:
        assert re.search(rf"(^\| `|speed_test ){re.escape(script.name)}", README, re.MULTILINE), script.name
    for page in [
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / name for name in ("CONTRIBUTING.md", "CHANGES.md", "SECURITY.md")),
    ]:
        assert f"]({page.relative_to(ROOT).as_posix()}" in README, page


def test_every_script_column_and_option_is_documented():
    everything = "\n".join(TEXTS.values())
    options = {flag for script in SCRIPTS for flag in flags(script)}
    assert {"--epochs", "--evaluate", "--stream_output", "--check"} <= options
    for word in [*(script.name for script in SCRIPTS), *TRAINING, *GENERATION, *options]:
        assert f"`{word}" in everything, word


def test_the_readme_has_the_overview_of_the_results():
    """Another test holds results/README.md to the CSVs."""

    def table(text):
        block = re.search(r"<!-- overview -->(.*?)<!-- end", text, re.DOTALL)[1]
        return [line for line in block.splitlines() if line.startswith("|")]

    assert len(table(README)) > 2
    assert table(README) == table((ROOT / "results" / "README.md").read_text(encoding="utf-8"))


def test_what_can_go_wrong_is_told_with_the_limits_that_the_code_has():
    faults = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
    assert f"never ends ({llamacpp_trial.SECONDS} seconds)" in faults
    assert f"fills the memory ({llamacpp_trial.MEMORY // 2**30} GB)" in faults
    assert f"less than {files.SLOW_BYTES // 1000} kB a minute" in faults
    assert files.SLOW_SECONDS == 60
    assert f"sends nothing for {files.STALLED_SECONDS} seconds" in faults
    assert f"after {child.SECONDS_TO_NAME // 60} minutes; ended after `--stall_timeout`" in faults
    security = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert len(security.splitlines()) <= 40
    assert "private security advisory" in security
    for page in (faults, security):
        assert "`data_checksum`" in page


# ---- Links and commands ----


def anchors(text):
    """The anchors of a page's headings, as GitHub makes them."""
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        yield re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", TEXTS[page]):
        if re.match(r"https?://", link):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file) if file else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), link


@pytest.mark.parametrize("command", ALL_COMMANDS)
def test_commands_have_no_placeholder(command):
    without_variables = re.sub(r"\S*CMAKE_ARGS=\S+", "", command)
    assert not re.search(r"\b[A-Z_]{3,}\b|<[a-z]|\.\.\.|path/to|example\.com", without_variables), command


@pytest.mark.parametrize("command", [command for command in ALL_COMMANDS if re.search(r"\.py\b|pytest|-m ", command)])
def test_commands_name_scripts_and_options_that_exist(command):
    for part in re.split(r" (?:&&|;) ", command.lstrip("!")):
        words = shlex.split(part, posix="\\" not in part)
        if "-m" in words and "python" in words[words.index("-m") - 1]:
            module = words[words.index("-m") + 1]
            assert importlib.util.find_spec(module), part
        scripts = [word for word in words if word.endswith(".py")]
        for script in scripts:
            assert (ROOT / script).exists(), part
            given = {word.split("=")[0] for word in words[words.index(script) :] if word.startswith("--")}
            assert given <= flags(ROOT / script), part


# ---- Generated and configuration files ----


def test_the_page_of_columns_is_the_one_that_is_generated():
    assert columns_page.PAGE.read_text(encoding="utf-8") == columns_page.page()


def test_the_requirements_of_developers_include_those_of_the_scripts():
    lines = (ROOT / "requirements-dev.txt").read_text(encoding="utf-8").splitlines()
    assert "-r requirements.txt" in lines
    names = {re.split(r"[>=<]", line)[0] for line in lines}
    assert {"pytest", "pytest-xdist", "playwright", "ruff", "mypy"} <= names


# ---- python3 speed_test SCRIPT ----


def test_the_first_command_installs_what_its_script_needs():
    for script in SCRIPTS:
        block = re.search(r"^# /// script\n((?:#.*\n)+?)# ///$", script.read_text(encoding="utf-8"), re.MULTILINE)
        header = tomllib.loads("".join(line[2:] + "\n" for line in block[1].splitlines()))
        assert bootstrap().dependencies(script) == header["dependencies"], script.name


def test_the_first_command_sets_up_an_environment_and_runs_the_script_in_it(tmp_path):
    folder = tmp_path / "speed_test"
    folder.mkdir()
    (folder / "__main__.py").write_bytes((ROOT / "speed_test" / "__main__.py").read_bytes())
    (tmp_path / "small.py").write_text(
        '# /// script\n# requires-python = ">=3.11,<3.13"\n# dependencies = []\n# ///\n'
        "import sys\nprint(sys.prefix, *sys.argv[1:])\nsys.exit(7)\n"
    )
    done = subprocess.run(
        [sys.executable, "speed_test", "small.py", "--epochs=1", "two words"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 7, done.stderr
    prefix, rest = done.stdout.strip().split(" ", 1)
    assert (Path(prefix).resolve(), rest) == ((tmp_path / ".venv").resolve(), "--epochs=1 two words")


@pytest.mark.skipif(sys.platform == "win32", reason="a signal cannot be sent to one process")
def test_the_first_command_passes_signals_on():
    code = "import signal, sys, time\nsignal.signal(15, lambda *_: sys.exit(9))\nprint('ready', flush=True)\n"
    program = (
        f"import importlib.util, sys\nspec = importlib.util.spec_from_file_location('first', sys.argv[1])\n"
        f"first = importlib.util.module_from_spec(spec)\nspec.loader.exec_module(first)\n"
        f"sys.exit(first.run([sys.executable, '-c', {code + 'time.sleep(60)'!r}]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, ROOT / "speed_test" / "__main__.py"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(15)
    assert process.wait(30) == 9


@pytest.mark.skipif(sys.platform == "win32", reason="a signal cannot be sent to one process")
def test_ctrl_c_in_the_set_up_is_one_sentence():
    """The step is ended with what it has started, and has no chance to print a traceback."""
    child = "import time; time.sleep(60)"
    code = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {child!r}]); print(p.pid, flush=True)"
    program = (
        f"import importlib.util, sys\nspec = importlib.util.spec_from_file_location('first', sys.argv[1])\n"
        f"first = importlib.util.module_from_spec(spec)\nspec.loader.exec_module(first)\n"
        f"sys.exit(first.run([sys.executable, '-c', {code + '; p.wait()'!r}], is_set_up=True))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, ROOT / "speed_test" / "__main__.py"],
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True},
    )
    started = int(process.stdout.readline())
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert said == "speed_test: stopped during the set-up; the same command goes on with it\n"
    limit = time.monotonic() + 20
    while is_alive(started):
        assert time.monotonic() < limit
        time.sleep(0.05)


def test_an_environment_without_pip_is_made_again(tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path], check=True)
    python = next(path for path in (tmp_path / "bin" / "python", tmp_path / "Scripts" / "python.exe") if path.exists())
    assert not bootstrap().is_complete(str(python))
    assert bootstrap().is_complete(sys.executable)


@pytest.mark.parametrize(
    ("argument", "wrong"),
    [("nothing.py", "nothing.py cannot be read"), ("README.md", "README.md has no PEP 723 header")],
)
def test_the_first_command_says_what_is_wrong_in_one_sentence(argument, wrong):
    done = subprocess.run(
        [sys.executable, "speed_test", argument], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"speed_test: {wrong}")
    assert done.stderr.count("\n") == 1


def test_another_python_is_named_where_there_is_no_right_one(monkeypatch, capsys):
    module = bootstrap()
    monkeypatch.setattr(module.sys, "version_info", (3, 13, 0))
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    with pytest.raises(SystemExit) as end:
        module.find_python()
    assert end.value.code == 2
    assert "this is Python 3.13; install Python 3.12 or 3.11" in capsys.readouterr().err
