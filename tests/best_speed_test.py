"""A speed test of one number that is fitted to another, in plain Python, for --best.

bfloat16 is three times as fast as float32 and rounds. Compiled, it is the fastest, but does not learn, as with a
compiler that makes a mistake. float16 overflows. There is no tf32, and compiling fails with channels last.
"""

import random
import struct
import time

from speed_test import Epochs, Experiment, clock, main
from speed_test.command_line import BadInput
from tests.plain_framework import Plain, use

clock.COMPUTE_SECONDS, clock.BLOCK_SECONDS = 0.05, 0.01  # nobody compares these figures

START, TARGET, LEARNING_RATE = 1.0, 3.0, 0.1
SECONDS = {"float32": 0.03, "bfloat16": 0.01, "float16": 0.01}

EXPERIMENT = Experiment(
    framework="plain",
    model="number",
    dataset="NOISE",
    input_size=1,
    samples=40,
    samples_are="numbers",
    results="results_plain",
    epochs=1,
    batch_sizes=(4, 8),
    switches=("precision", "compile", "channels_last"),
)


class PlainWithoutTf32(Plain):
    """What --best needs to know of a device."""

    def check_switches(self, options):
        if options.precision == "tf32":
            raise BadInput("--precision=tf32: plain Python has none")
        return []

    def peak_memory_gb(self, device):
        return 0.5


use(PlainWithoutTf32(), __name__)


def load_data(options):
    """There are none."""


class Number:
    """What is trained."""

    def __init__(self):
        self()

    def __call__(self):
        self.weight = START

    def perturbed(self, relative, seed):
        self.weight = START * (1 + relative * random.Random(seed).choice((-1, 1)))


def bfloat16(number):
    """`number` with the 16 upper bits of a float32 only."""
    return struct.unpack("<f", b"\0\0" + struct.pack("<f", number)[2:])[0]


def training(batch_size, options):
    if options.compile and options.channels_last:
        raise RuntimeError("out of memory")
    number = Number()

    def step(batch):
        time.sleep(SECONDS[options.precision] * (0.7 if options.compile else 1.5 if options.channels_last else 1))
        weight = bfloat16(number.weight) if options.precision == "bfloat16" else number.weight
        loss = (weight - TARGET) ** 2
        if options.precision == "float16":
            return float("inf")
        if not (options.compile and options.precision == "bfloat16"):
            number.weight -= LEARNING_RATE * 2 * (weight - TARGET)
        return loss

    def batches():
        for _ in range(EXPERIMENT.samples // batch_size):
            yield ([0] * batch_size,)

    return Epochs(step, batches, EXPERIMENT.samples, rewind=number)


if __name__ == "__main__":
    main(EXPERIMENT, load_data, training)
