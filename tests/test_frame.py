"""What keeps the project in one piece: headers and requirements, and which module may import which."""

import ast
import inspect

import pytest

from speed_test import frameworks
from speed_test.frameworks.base import Framework, KerasFramework
from speed_test.scripts import header, speed_tests, with_header
from tests.conftest import ROOT

FRAMEWORKS = {"torch", "torchvision", "tensorflow", "keras", "pandas", "matplotlib", "plotly"}
FRAMEWORKS |= {"transformers", "datasets", "accelerate", "evaluate", "llama_cpp", "gguf", "huggingface_hub"}

# Which room of speed_test/ a room may import; a folder stands for all that is in it.
ARROWS = {
    "experiment": set(),
    "screen": set(),
    "state": {"results", "sensors"},
    "sensors": {"sensors"},
    "steady": set(),
    "faults": {"screen"},
    "verdict": {"steady", "screen", "faults"},
    "results": set(),
    "scripts": set(),
    "machine": {"sensors"},
    "switches": set(),
    "ceiling": set(),
    "arguments": set(),
    "command_line": {"experiment", "flags", "screen", "arguments"},
    "interrupt": set(),
    "early_interrupt": set(),
    "family": set(),
    "child": {"screen", "family", "interrupt"},
    "line": set(),
    "ranks": {"child", "command_line", "interrupt", "line"},
    "group": set(),
    "epoch": {"screen", "steady"},
    "until": {"screen", "steady"},
    "budget": set(),
    "pace": {"budget", "child", "command_line"},
    "pieces": {"epoch", "screen", "steady"},
    "timetable": {"budget", "clock", "command_line", "resume", "steady"},
    "train": {"clock", "command_line", "data", "epoch", "experiment", "frameworks", "ranks"},
    "shared": {"command_line", "experiment", "machine", "ranks", "results", "switches"},
    "flags": {"arguments", "experiment", "switches"},
    "best": {"screen", "switches"},
    "search": {"best", "child", "command_line", "screen", "switches"},
    "trial": {"best", "switches"},
    "clock": {"budget", "trial", "switches", "experiment", "screen", "epoch", "until", "group", "pace", "pieces"},
    "launchers": {"child", "command_line", "experiment", "frameworks", "group", "interrupt", "machine", "ranks"},
    "prepare": {"child", "command_line", "data", "experiment", "frameworks", "interrupt", "machine", "ranks", "screen"}
    | {"switches"},
    "cooldown": {"interrupt", "results", "screen", "state"},
    "rows": {"command_line", "epoch", "interrupt", "experiment", "report", "resume", "results", "run_ids"}
    | {"screen", "state"},
    "advice_limits": {"faults", "screen", "verdict"},
    "advice": {"advice_limits", "faults", "results", "screen", "steady", "verdict"},
    "run_ids": set(),
    "resume": {"results", "verdict"},
    "frameworks": {"experiment", "frameworks", "group", "machine", "command_line", "switches", "ceiling", "screen"},
    "data": {"data", "machine", "screen", "command_line"},
    "report": {"screen", "experiment", "command_line", "machine", "results", "scripts", "verdict", "faults", "advice"},
    "sweep": {"budget", "child", "rows", "cooldown", "until", "state", "results", "resume", "report", "run_ids"}
    | {"screen", "experiment", "machine", "command_line", "data", "search", "shared", "switches", "timetable", "train"}
    | {"early_interrupt", "interrupt", "launchers", "prepare", "ranks"},
    "replaced": set(),
    "compare": {"arguments", "compare", "replaced", "results", "experiment", "machine", "screen", "verdict", "faults"},
    "suite": {"suite", "compare", "machine", "command_line", "results", "screen", "verdict", "faults", "advice"}
    | {"experiment", "family", "interrupt", "replaced", "resume", "run_ids", "scripts", "state"},
    "__main__": set(),
    "columns_page": {"results"},
    "__init__": {"early_interrupt", "sweep", "experiment", "command_line"},
}
OF_SPEED_TESTS = {"", "experiment", "command_line", "screen", "machine", "results", "data", "frameworks"}
OF_RUN_ALL = {"suite", "arguments", "command_line", "early_interrupt", "interrupt", "machine", "replaced", "screen"}
OF_RUN_ALL |= {"scripts"}
OF_COMPARE_RESULTS = {"arguments", "compare", "command_line", "early_interrupt", "experiment", "machine", "results"}
OF_COMPARE_RESULTS |= {"screen"}


def test_requirements_are_the_headers_together():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    required = {line.strip() for line in lines if line.strip() and not line.startswith("#")}
    assert required == {line for script in with_header() for line in header(script)["dependencies"]}
    assert all(header(script)["requires-python"] == ">=3.11,<3.13" for script in with_header())


def test_scripts_are_found_by_their_headers():
    names = {script.name for script in with_header()}
    assert {"llama2_test.py", "pytorch_test_nlp.py", "compare_results.py"} <= names
    assert {script.name for script in speed_tests()} == names - {"compare_results.py", "run_all.py"}


def is_type_checking(node):
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def imports(nodes, inside_functions):
    """The modules that these statements import when they run: those for a type checker only are left out."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)
        elif not is_type_checking(node) and (inside_functions or not isinstance(node, ast.FunctionDef)):
            yield from imports(ast.iter_child_nodes(node), inside_functions)


def tree(file):
    return ast.parse(file.read_text(encoding="utf-8")).body


MODULES = sorted((ROOT / "speed_test").rglob("*.py"))
FILES = [*with_header(), *MODULES]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_frameworks_come_late_and_no_script_is_imported(file):
    scripts = {script.stem for script in with_header()}
    for module in imports(tree(file), inside_functions=False):
        assert module.split(".")[0] not in FRAMEWORKS
    for module in imports(tree(file), inside_functions=True):
        assert module.split(".")[0] not in scripts


def rooms(file):
    """The rooms of speed_test/ that a file imports: "" for what speed_test itself offers."""
    offered = {"Epochs", "Experiment", "KerasFit", "Options", "Repeats", "main"}
    for module in imports(tree(file), inside_functions=True):
        package, *rest = module.split(".")
        if package == "speed_test" and rest:
            yield "" if rest[0] in offered else rest[0]


@pytest.mark.parametrize("file", MODULES, ids=lambda file: file.stem)
def test_arrows_run_one_way(file):
    parts = file.relative_to(ROOT / "speed_test").with_suffix("").parts
    assert set(rooms(file)) <= ARROWS[parts[0]], parts


@pytest.mark.parametrize("script", with_header(), ids=lambda script: script.stem)
def test_arrows_of_scripts(script):
    others = {"compare_results.py": OF_COMPARE_RESULTS, "run_all.py": OF_RUN_ALL}
    allowed = others.get(script.name, OF_SPEED_TESTS)
    assert set(rooms(script)) <= allowed


def test_the_table_of_arrows_has_no_circle():
    done = set()
    while len(done) < len(ARROWS):
        free = {room for room, targets in ARROWS.items() if room not in done and targets - {room} <= done}
        assert free, ARROWS.keys() - done
        done |= free


@pytest.mark.parametrize("name", ["pytorch", "tensorflow", "llamacpp"])
def test_every_framework_fulfils_the_protocol(name):
    module = frameworks.load(name)
    protocol = KerasFramework if name == "tensorflow" else Framework
    assert module.NAME
    of_all = ("start", "describe_device", "check_switches", "count_flop", "matmul_tflops", "wait", "peak_memory_gb")
    for function in (*of_all, "cpu_fallback", "num_processes", "time_fit", "keras_step"):
        if hasattr(protocol, function):
            wanted = list(inspect.signature(getattr(protocol, function)).parameters)[1:]
            assert list(inspect.signature(getattr(module, function)).parameters) == wanted
