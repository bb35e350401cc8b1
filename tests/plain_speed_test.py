"""A speed test of nothing, in plain Python: it starts in a fraction of a second, so that processes, signals and files
can be tested in all their states. Some batch sizes come to a bad end in the middle of epoch 2.

The environment variable SECONDS is how long a step takes, and BLOCK how long a block of an epoch is. PREPARE
is how long it takes to get the data ready.
"""

import itertools
import os
import sys
import time

from speed_test import Epochs, Experiment, clock, epoch, main
from tests.bad_ends import OUT_OF_MEMORY, RAISES, come_to_a_bad_end
from tests.plain_framework import Plain, use

clock.COMPUTE_SECONDS, clock.BLOCK_SECONDS = 0.02, 0.002  # nobody compares these figures
epoch.BLOCK_SECONDS = float(os.environ.get("BLOCK", "1"))

EXPERIMENT = Experiment(
    framework="plain",
    model="nothing",
    dataset="NOISE",
    input_size=4,
    samples=50,
    samples_are="numbers",
    results="results_plain",
    epochs=2,
    batch_sizes=(8, 16),
)


use(Plain(), __name__)


def load_data(options):
    time.sleep(float(os.environ.get("PREPARE", "0")))


def training(batch_size, options):
    epochs = itertools.count()  # 0 is the look at the first batch, before the warm-up

    def batches():
        epoch = next(epochs)
        for first in range(0, EXPERIMENT.samples, batch_size):
            if epoch == 2 and first > 0:
                if batch_size == RAISES:
                    raise ValueError("the third wheel,\nas planned")
                if batch_size == OUT_OF_MEMORY:
                    raise MemoryError("out of memory")
                come_to_a_bad_end(batch_size)
            yield (range(first, min(first + batch_size, EXPERIMENT.samples)),)

    def step(batch):
        time.sleep(float(os.environ.get("SECONDS", "0")))
        return 1.0

    return Epochs(step, batches, EXPERIMENT.samples, rewind=lambda: None)


if __name__ == "__main__":
    try:
        main(EXPERIMENT, load_data, training)
    finally:
        assert "torch" not in sys.modules, "the parent has imported torch"
