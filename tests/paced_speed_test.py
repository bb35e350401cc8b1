"""A speed test of nothing, in plain Python, of a machine that is made up by the environment: a step takes FIXED seconds
and EACH for each sample, the first one FIRST more, loading a batch LOAD for each sample, starting a child START. Batch
sizes from OUT_OF_MEMORY on run out of memory, others take MEMORY GB a sample.
"""

import itertools
import os
import time

from speed_test import Epochs, Experiment, machine, main
from tests.plain_framework import Plain, use


def made_up(name):
    return float(os.environ.get(name, "0"))


EXPERIMENT = Experiment(
    framework="plain",
    model="nothing",
    dataset="NOISE",
    input_size=4,
    samples=20_000,
    samples_are="numbers",
    results="results_paced",
    epochs=3,
    batch_sizes=(4, 8, 16, 32, 64, 128),
)


class Machine(Plain):
    def peak_memory_gb(self, device):
        return made_up("MEMORY") * self.batch_size if made_up("MEMORY") else None


MACHINE = Machine()
use(MACHINE, __name__)


def load_data(options):
    time.sleep(made_up("PREPARE"))


def training(batch_size, options):
    time.sleep(made_up("START"))
    MACHINE.batch_size = batch_size
    if batch_size >= made_up("OUT_OF_MEMORY") > 0:
        raise MemoryError("out of memory")
    steps = itertools.count()

    def batches():
        for first in range(0, EXPERIMENT.samples, batch_size):
            time.sleep(made_up("LOAD") * batch_size)
            yield (range(first, min(first + batch_size, EXPERIMENT.samples)),)

    def step(batch):
        time.sleep(made_up("FIXED") + made_up("EACH") * len(batch) + (made_up("FIRST") if next(steps) == 0 else 0))
        return 1.0

    return Epochs(step, batches, EXPERIMENT.samples, rewind=lambda: None)


if __name__ == "__main__":
    machine.total_memory_gb = lambda: 10
    main(EXPERIMENT, load_data, training)
