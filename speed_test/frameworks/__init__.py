"""One module for each framework, with the same functions in all of them: see base.py."""

import importlib
import importlib.util
from typing import cast

from speed_test.frameworks.base import Framework, GroupFramework, KerasFramework


def load(name: str) -> Framework:
    """The module of framework `name`. Raises ModuleNotFoundError if there is none."""
    return cast(Framework, importlib.import_module(f"{__name__}.{name}"))


def has_group(name: str) -> bool:
    """Whether the scripts of framework `name` may run as the ranks of a launcher."""
    return importlib.util.find_spec(f"{__name__}.{name}_group") is not None


def load_group(name: str) -> GroupFramework:
    """The module by which they do."""
    return cast(GroupFramework, importlib.import_module(f"{__name__}.{name}_group"))


def load_keras(name: str) -> KerasFramework:
    """The same, for a framework that times `KerasFit`."""
    return cast(KerasFramework, load(name))
