"""What keeps the project in one piece: headers and requirements, imports, and the README."""

import ast
import re
import shlex
import tomllib

import pytest

from tests.conftest import ROOT

SCRIPTS = sorted(path for path in ROOT.glob("*.py") if "# /// script" in path.read_text(encoding="utf-8"))
FRAMEWORKS = {"torch", "torchvision", "tensorflow", "keras", "pandas", "matplotlib", "plotly"}
FRAMEWORKS |= {"transformers", "datasets", "accelerate", "evaluate", "llama_cpp", "gguf", "huggingface_hub"}


def header(script):
    block = re.search(r"^# /// script\n((?:#.*\n)+?)# ///$", script.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return tomllib.loads("".join(line[2:] + "\n" for line in block[1].splitlines()))


def test_requirements_are_the_headers_together():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    required = {line.strip() for line in lines if line.strip() and not line.startswith("#")}
    assert required == {line for script in SCRIPTS for line in header(script)["dependencies"]}
    assert all(header(script)["requires-python"] == ">=3.11,<3.13" for script in SCRIPTS)


def imports(tree):
    """The modules imported when a file is imported: not those inside functions or `if TYPE_CHECKING`."""
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


@pytest.mark.parametrize("file", [*SCRIPTS, *(ROOT / "speed_test").glob("*.py")], ids=lambda file: file.name)
def test_imports_run_one_way_and_frameworks_come_late(file):
    scripts = {script.stem for script in SCRIPTS}
    for module in imports(ast.parse(file.read_text(encoding="utf-8"))):
        assert module.split(".")[0] not in FRAMEWORKS | scripts


def test_readme_names_every_script_column_and_flag():
    from speed_test.results import COLUMNS, GENERATION_COLUMNS

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    sources = [*SCRIPTS, ROOT / "speed_test" / "command_line.py"]
    flags = {flag for file in sources for flag in re.findall(r'"(--\w+)",', file.read_text(encoding="utf-8"))}
    assert {"--epochs", "--evaluate", "--stream_output"} <= flags
    for word in [*(script.name for script in SCRIPTS), *COLUMNS, *GENERATION_COLUMNS, *flags]:
        assert f"`{word}" in readme, word
    for file in re.findall(r"\]\(([^)#:]+)\)", readme):
        assert (ROOT / file).exists(), file


def test_readmes_first_command_installs_what_its_script_needs():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    command = re.search(r"^python3 -m venv .*", readme, re.MULTILINE)[0]
    installed = shlex.split(re.search(r"pip install (.*?) &&", command)[1])
    needed = header(ROOT / re.search(r"\S+\.py", command)[0])["dependencies"]
    names = [re.match(r"[\w-]+", package)[0] for package in needed]
    assert [re.match(r"[\w-]+", package)[0] for package in installed] == names
    assert {package for package in installed if ">" in package} <= set(needed)
