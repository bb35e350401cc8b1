"""Python imports a module of this name at its start, if a folder of PYTHONPATH has one. It makes the speed tests that
the tests run, and their children, spend less time on figures that nobody compares, on the compute limit and on the
ceiling of matrix products, and on synthetic photographs. With SMALL_NETWORK in the environment ResNet50 is a network
that costs nothing, for tests of the way of the data to it.
"""

import importlib.abc
import importlib.machinery
import os
import sys

QUICK = {
    "speed_test.clock": {"WARMUP_STEPS": 2, "COMPUTE_SECONDS": 0.2, "COMPUTE_BLOCKS": 2, "BLOCK_SECONDS": 0.02},
    "speed_test.data.photographs": {"PICTURES": 50},
    "speed_test.ceiling": {"BLOCK_SECONDS": 0.002, "SIZE_SECONDS": 0.02, "PRODUCT_SECONDS": 0.02},
}


def small_torchvision(models):
    import torch

    def resnet50(num_classes):
        pool = torch.nn.AdaptiveAvgPool2d(1)
        return torch.nn.Sequential(pool, torch.nn.Flatten(), torch.nn.Linear(3, num_classes))

    models.resnet50 = resnet50


def small_keras(applications):
    def resnet50(weights, input_shape, classes, **_):
        import keras

        pixels = keras.Input(input_shape)
        return keras.Model(pixels, keras.layers.Dense(classes)(keras.layers.GlobalAveragePooling2D()(pixels)))

    applications.ResNet50 = resnet50


SMALL = {"torchvision.models": small_torchvision, "keras.applications": small_keras}


class Quick(importlib.abc.MetaPathFinder):
    """Changes a module of QUICK or SMALL when it is imported."""

    def find_spec(self, name, path, target=None):
        if name not in QUICK and not (name in SMALL and "SMALL_NETWORK" in os.environ):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            if name in SMALL:
                SMALL[name](module)
            for constant, value in QUICK.get(name, {}).items():
                assert hasattr(module, constant), f"{name} has no {constant}"
                setattr(module, constant, value)

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, Quick())
