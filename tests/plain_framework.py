"""A framework of nothing, in plain Python, for speed tests that start in a fraction of a second."""

from speed_test import frameworks
from speed_test.machine import Device


class Plain:
    """As speed_test/frameworks/base.py wants it."""

    NAME = "plain Python"

    def start(self, device):
        pass

    def describe_device(self, wanted):
        return Device("cpu", self.NAME, "1.0")

    def check_switches(self, options):
        return []

    def count_flop(self, step, batch):
        return None

    def matmul_tflops(self, options):
        return None

    def wait(self, device):
        pass

    def peak_memory_gb(self, device):
        return None

    def cpu_fallback(self):
        return None


def use(framework, module):
    """Let a speed test, the `module` of this name, run on `framework`, in the parent and in its children."""
    if module in ("__main__", "__mp_main__"):
        frameworks.load = lambda name: framework
