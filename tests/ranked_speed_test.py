"""A speed test of a tiny network that runs as several ranks; some of its batch sizes come to a bad end at rank 1 in the
middle of epoch 2.

The environment variable PATIENCE is for how many seconds the ranks wait for one that hangs.
"""

import itertools
import os
import sys
from datetime import timedelta

from speed_test import Epochs, Experiment, clock, main
from speed_test.frameworks import pytorch_group
from tests.bad_ends import OUT_OF_MEMORY, RAISES, come_to_a_bad_end

clock.COMPUTE_SECONDS = 0.1  # nobody compares these figures
pytorch_group.TIMEOUT = timedelta(seconds=float(os.environ.get("PATIENCE", "40")))

EXPERIMENT = Experiment(
    framework="pytorch",
    model="tiny",
    dataset="NOISE",
    input_size=4,
    samples=101,
    samples_are="vectors of 4",
    results="results_tiny",
    epochs=2,
    batch_sizes=(8, 16),
    switches=("processes",),
)


def load_data(options):
    pass


def training(batch_size, options):
    import torch

    from speed_test.frameworks.pytorch_group import parallel, shares_of

    torch.manual_seed(0)
    model = parallel(torch.nn.Linear(4, 1))
    data = torch.rand(EXPERIMENT.samples, 4)
    epochs = itertools.count()  # 0 is the look at the first batch, before the warm-up
    ends_badly = os.environ.get("RANK") == "1"

    def batches():
        epoch = next(epochs)
        for number, (first, last) in enumerate(shares_of(len(data), batch_size)):
            if epoch == 2 and number == 1 and ends_badly:
                if batch_size == RAISES:
                    raise ValueError("the third wheel,\nas planned")
                if batch_size == OUT_OF_MEMORY:
                    torch.empty(2**50)
                come_to_a_bad_end(batch_size)
            yield (data[first:last],)

    def step(batch):
        loss = model(batch).square().mean()
        model.zero_grad()
        loss.backward()
        with torch.no_grad():  # by hand, for the import of torch's optimizers takes as long as that of torch
            for parameter in model.parameters():
                parameter -= 0.001 * parameter.grad
        return loss.detach()

    return Epochs(step, batches, EXPERIMENT.samples, rewind=lambda: None)


if __name__ == "__main__":
    try:
        main(EXPERIMENT, load_data, training)
    finally:
        assert "torch" not in sys.modules, "the parent has imported torch"
