"""Python imports a module of this name at its start, if a folder of PYTHONPATH has one. It makes the speed tests that
the tests run, and their children, spend less time on figures that nobody compares: on the compute limit and on the
ceiling of matrix products.
"""

import importlib.abc
import importlib.machinery
import sys

QUICK = {
    "speed_test.clock": {"WARMUP_STEPS": 2, "COMPUTE_SECONDS": 0.2, "COMPUTE_BLOCKS": 2, "BLOCK_SECONDS": 0.02},
    "speed_test.ceiling": {"BLOCK_SECONDS": 0.002, "SIZE_SECONDS": 0.02, "PRODUCT_SECONDS": 0.02},
}


class Quick(importlib.abc.MetaPathFinder):
    """Changes the constants of a module of QUICK when it is imported."""

    def find_spec(self, name, path, target=None):
        if name not in QUICK:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            for constant, value in QUICK[name].items():
                assert hasattr(module, constant), f"{name} has no {constant}"
                setattr(module, constant, value)

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, Quick())
