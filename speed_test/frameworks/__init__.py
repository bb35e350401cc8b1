"""One module for each framework, with the same functions in all of them: see base.py."""

import importlib
from typing import cast

from speed_test.frameworks.base import Framework, KerasFramework


def load(name: str) -> Framework:
    """The module of framework `name`. Raises ModuleNotFoundError if there is none."""
    return cast(Framework, importlib.import_module(f"{__name__}.{name}"))


def load_keras(name: str) -> KerasFramework:
    """The same, for a framework that times `KerasFit`."""
    return cast(KerasFramework, load(name))
