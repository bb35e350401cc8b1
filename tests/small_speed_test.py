"""A speed test of a tiny network, some of whose batch sizes come to a bad end in the middle of epoch 2.

The environment variable SECONDS is how long a step takes.
"""

import itertools
import os
import signal
import sys
import time

from speed_test import Epochs, Experiment, clock, main
from tests.bad_ends import NOT_FINITE, OUT_OF_MEMORY, RAISES, WORKER_KILLED, come_to_a_bad_end

clock.COMPUTE_SECONDS = 0.3  # nobody compares these figures

EXPERIMENT = Experiment(
    framework="pytorch",
    model="tiny",
    dataset="NOISE",
    input_size=4,
    samples=50,
    samples_are="vectors of 4",
    results="results_tiny",
    epochs=2,
    batch_sizes=(8, 16),
)


def load_data(options):
    pass


def training(batch_size, options):
    import torch

    torch.manual_seed(0)
    model = torch.nn.Linear(4, 1)
    data = torch.rand(EXPERIMENT.samples, 4)
    epochs = itertools.count()  # 0 is the look at the first batch, before the warm-up

    def batches():
        epoch = next(epochs)
        for number, batch in enumerate(data.split(batch_size)):
            if epoch == 2 and number == 1:
                if batch_size == RAISES:
                    raise ValueError("the third wheel,\nas planned")
                if batch_size == OUT_OF_MEMORY:
                    torch.empty(2**50)
                if batch_size == WORKER_KILLED:
                    kill_a_loader_process()
                come_to_a_bad_end(batch_size)
            yield (batch * float("nan"),) if epoch == 2 and batch_size == NOT_FINITE else (batch,)

    def step(batch):
        time.sleep(float(os.environ.get("SECONDS", "0")))
        loss = model(batch).square().mean()
        model.zero_grad()
        loss.backward()
        with torch.no_grad():  # by hand, for the import of torch's optimizers takes as long as that of torch
            for parameter in model.parameters():
                parameter -= 0.001 * parameter.grad
        return loss.detach()

    return Epochs(step, batches, EXPERIMENT.samples, rewind=lambda: None)


def kill_a_loader_process():
    """torch's own handler of SIGCHLD then raises, wherever this process is."""
    import torch

    loader = iter(torch.utils.data.DataLoader(Killed(), num_workers=1))
    next(loader)


class Killed:
    def __len__(self):
        return 2

    def __getitem__(self, index):
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    try:
        main(EXPERIMENT, load_data, training)
    finally:
        assert "torch" not in sys.modules, "the parent has imported torch"
