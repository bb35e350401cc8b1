"""What a speed test is: the facts that its command line, its rows and its file name are made of."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Experiment:
    """One speed test.

    `samples` is what a whole epoch has; `samples_are` completes "50,000 ..." for a reader.
    `results` is the folder below --results_dir; `epochs` and `batch_sizes` are the defaults.
    `smallest_batch` is the number of samples that a training step needs.
    """

    framework: str
    model: str
    dataset: str
    input_size: int
    samples: int
    samples_are: str
    results: str
    epochs: int
    batch_sizes: tuple[int, ...]
    smallest_batch: int = 1
    precision: str = "float32"

    @property
    def name(self) -> str:
        """The value of the CSV's `experiment` column, such as `pytorch_cifar100`."""
        return f"{self.framework}_{self.dataset}".lower()
