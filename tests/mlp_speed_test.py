# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = [
#     "torch>=2.13,<2.16",
#     "tqdm>=4.66",
#     "psutil>=6.0",
#     "portalocker>=3.0",
#     "py-cpuinfo>=9.0",
# ]
# ///
"""How fast does this machine train a multilayer perceptron on vectors of noise with PyTorch?

  python mlp_speed_test.py --epochs=1 --batch_sizes="32"

A speed test in one file, as a new one is added: nothing else in the project knows it.
"""

from typing import TYPE_CHECKING

from speed_test import Epochs, Experiment, Options, main

if TYPE_CHECKING:
    from torch import Tensor

WIDTH, CLASSES, SEED = 64, 10, 42

EXPERIMENT = Experiment(
    framework="pytorch",
    model="mlp",
    dataset="NOISE",
    input_size=WIDTH,
    samples=4_096,
    samples_are="vectors of 64 numbers",
    results="results_mlp",
    epochs=2,
    batch_sizes=(32, 256),
)


def load_data(options: Options) -> "tuple[Tensor, Tensor]":
    """Vectors float32 [4096, 64], and a class from 0 to 9 for each."""
    import torch

    torch.manual_seed(SEED)
    return torch.rand(EXPERIMENT.samples, WIDTH), torch.randint(0, CLASSES, (EXPERIMENT.samples,))


def training(batch_size: int, options: Options) -> Epochs:
    """The network at one batch size; runs in a fresh process of its own."""
    import torch
    from torch import nn
    from torch.nn.functional import cross_entropy

    from speed_test.frameworks.pytorch import rewind_of, shuffled_batches

    torch.manual_seed(SEED)
    model = nn.Sequential(nn.Linear(WIDTH, 256), nn.ReLU(), nn.Linear(256, CLASSES)).to(options.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    vectors, labels = (part.to(options.device) for part in load_data(options))

    def step(vectors: "Tensor", labels: "Tensor") -> "Tensor":
        loss = cross_entropy(model(vectors), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    batches = shuffled_batches(vectors, labels, batch_size=batch_size, seed=SEED)
    return Epochs(step, batches, samples=len(labels), rewind=rewind_of(model, optimizer))


if __name__ == "__main__":
    main(EXPERIMENT, load_data, training)
