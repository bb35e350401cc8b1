"""Which speed tests there are: scripts are known by their headers, and read without running them."""

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from speed_test import screen
from speed_test.command_line import BadInput
from speed_test.experiment import Experiment
from speed_test.scripts import header, is_speed_test

# What of an Experiment the suite uses, or its name is made of.
FACTS = ("name", "framework", "model", "dataset", "results", "figure", "unit", "better", "memory_gb")


@dataclass(frozen=True)
class SpeedTest:
    """A speed test that was found: its script, its experiment as far as the script spells it out, the first line of
    its docstring, and the packages in its header."""

    script: Path
    experiment: Experiment
    says: str
    packages: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.experiment.name


def find(folder: Path) -> tuple[list[SpeedTest], list[str]]:
    """All speed tests in `folder`, by their names, and a sentence for each script that cannot be read as one."""
    found: dict[str, SpeedTest] = {}
    problems = []
    for script in sorted(folder.glob("*.py")):
        try:
            if not (says := header(script)) or not is_speed_test(script):
                continue
            test = _read(script, tuple(says.get("dependencies", ())))
        except (OSError, ValueError, SyntaxError, TypeError) as error:  # bad TOML and bad UTF-8 are ValueErrors
            problems.append(f"{screen.one_line(script.name)} cannot be read ({screen.reason(error)}); it is left out")
            continue
        if test.name in found:
            other = found[test.name].script.name
            problems.append(f"{script.name} has the same name as {other}, {test.name}; it is left out")
            continue
        found[test.name] = test
    return list(found.values()), problems


def chosen(tests: Sequence[SpeedTest], names: str | None) -> list[SpeedTest]:
    """Those of `tests` that --tests names ("a, b"; None: all), in this order.

    Raises BadInput if there is none of a name, a name stands there twice, or there is nothing to choose from.
    """
    by_name = {test.name: test for test in tests}
    if not by_name:
        raise BadInput("there is no speed test in the folder of this script; clone or download the whole repository")
    if names is None:
        return list(tests)
    wanted = [name.strip() for name in names.split(",")]
    for name in wanted:
        if name not in by_name:
            raise BadInput(f"--tests: there is no {screen.one_line(repr(name), 80)}; there are {', '.join(by_name)}")
        if wanted.count(name) > 1:
            raise BadInput(f"--tests: {name} is there twice; name each test once")
    return [by_name[name] for name in wanted]


def _read(script: Path, packages: tuple[str, ...]) -> SpeedTest:
    """Read a script's docstring and its experiment. Raises OSError, ValueError, TypeError or SyntaxError."""
    tree = ast.parse(script.read_text(encoding="utf-8"))
    says = (ast.get_docstring(tree) or "").strip().split("\n")[0]
    for statement in tree.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id="EXPERIMENT")], value=ast.Call() as call):
                facts = {word.arg: ast.literal_eval(word.value) for word in call.keywords if word.arg in FACTS}
                return SpeedTest(script, Experiment(**facts), says, packages)
    raise ValueError("EXPERIMENT is not set to an Experiment")
