"""What a speed test is, and the three kinds of work that a script hands back to be timed."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Batch = tuple[Any, ...]  # arrays or tensors, all with the samples of the batch along their first axis


@dataclass(frozen=True)
class Experiment:
    """One speed test: what its command line, its rows and its file name are made of.

    `framework` names a module in speed_test/frameworks/. `samples` is how many an epoch has, and `samples_are`
    completes "50,000 ..." for a reader. `results` is the folder below --results_dir. `epochs` and `batch_sizes` are
    the defaults; a test without batch sizes hands back `Repeats`. `smallest_batch` is how many samples a training
    step needs. `switches` are the options on how the work is done that the script obeys, of "precision", "compile",
    "channels_last" and "processes"; the others are not on its command line. `real_data` is what readers call the real
    data (by default the data set's name), and `row_is` what a row measures.

    `memory_gb` is how much memory the smallest batch size takes at least on a CPU (0: unknown). run_all.py leaves a
    test out that cannot fit.

    `figure` is the column that machines are compared by, `unit` says what it counts, and `better` is "lower" or
    "higher". `columns` are those of the CSV (None: the ones of a training test).

    `identity` are the columns that tell the rows of one run apart: `--resume` knows by them what is done.
    `name` is the value of the column `experiment`; by default framework and data set, such as "pytorch_cifar100".
    `facts` are columns of every row, and `header` the lines at the start of a run, where only the run knows them.

    Raises ValueError if `results` is missing, or `better` is another word.
    """

    framework: str
    model: str
    dataset: str = ""
    input_size: int | None = None
    samples: int = 0
    samples_are: str = "samples"
    results: str = ""
    epochs: int = 1
    batch_sizes: tuple[int, ...] = ()
    smallest_batch: int = 1
    switches: tuple[str, ...] = ()
    precision: str = "float32"
    real_data: str = ""
    row_is: str = "epoch"
    memory_gb: float = 0.0
    figure: str = "epoch_seconds"
    unit: str = "seconds per epoch"
    better: str = "lower"
    columns: tuple[str, ...] | None = None
    identity: tuple[str, ...] = ("batch_size", "epoch")
    name: str = ""
    facts: Mapping[str, object] = field(default_factory=dict)
    header: str = ""

    def __post_init__(self) -> None:
        if not self.results:
            raise ValueError("an Experiment needs `results`, the folder that its CSV goes to")
        if self.better not in ("lower", "higher"):
            raise ValueError(f'`better` is "lower" or "higher", not {self.better!r}')
        defaults = {
            "name": f"{self.framework}_{self.dataset or self.model}".lower(),
            "real_data": self.dataset or self.model,
        }
        for name, value in defaults.items():
            object.__setattr__(self, name, getattr(self, name) or value)


def _unchanged(*batch: Any) -> Batch:
    return batch


@dataclass(frozen=True)
class Epochs:
    """Training by a step of the script's own: one row for each epoch.

    `step(*batch)` trains on one batch and returns its mean loss, left on the device. `batches()` gives the batches
    of one epoch over `samples` samples; if they do not lie on the device, `to_device(*batch)` copies one there.
    `rewind()` undoes all training so far. `after()`, if given, runs when the last epoch has been timed, and returns
    a line to print.
    """

    step: Callable[..., Any]
    batches: Callable[[], Iterable[Batch]]
    samples: int
    rewind: Callable[[], None]
    to_device: Callable[..., Batch] = _unchanged
    after: Callable[[], str] | None = None


@dataclass(frozen=True)
class TrainingStep:
    """A training step on its own: what warm-up, the compute limit and --best train with. No script makes one.

    `run(*batch)` trains on a batch and returns at once, `loss(*batch)` trains and returns the loss as a number.
    `first` is the first batch of an epoch over `samples` samples, on the device. `rewind()` is as in `Epochs`.
    `flop()` returns the floating-point operations of a step on `first`, None if nothing counts them.
    """

    run: Callable[..., Any]
    loss: Callable[..., float]
    first: Batch
    samples: int
    rewind: Callable[..., None]
    flop: Callable[[], float | None]


@dataclass(frozen=True)
class KerasFit:
    """Training by Keras' own `model.fit`: one row for each epoch.

    `model` is compiled, and `batches` is a tf.data.Dataset with the batches of one epoch over `samples` samples.
    `after()`, if given, runs when the last epoch has been timed, and returns a line to print.
    """

    model: Any
    batches: Any
    samples: int
    after: Callable[[], str] | None = None


@dataclass(frozen=True)
class Repeats:
    """Pieces of work of any kind: one row for each of `items`.

    `work(item)` does one piece, and `rewind()`, if given, prepares the next one outside the clock. If the work is a
    generator, the clock notes when each thing that it yields has come: a token, or the end of a phase.
    `row(item, yielded, seconds)` turns that into columns: `yielded` has those things, and `seconds` how long after
    the start each of them came and, last, the end. Without `row` each piece is an epoch over the experiment's samples.

    The first item is worked on once before the clock starts, but only until `warm_up_yields` things have come.
    A progress bar counts `yields` things for each item, called `unit`; it is not shown if `quiet`. `line(row)`, if
    given, is what to print for a row. `after()`, if given, runs at the end, and returns a line to print.

    `fit(most)`, if given, is called with --budget before the first piece that counts: it makes all pieces shorter, so
    that each yields no more than `most` things if possible, and returns how many each yields now. The last value of an
    item is then how long its piece is meant to be.
    """

    work: Callable[[Any], Any]
    items: Sequence[Any]
    row: Callable[[Any, list[Any], list[float]], dict[str, object]] | None = None
    rewind: Callable[[], None] | None = None
    yields: int = 1
    unit: str = "items"
    warm_up_yields: int = 16
    quiet: bool = False
    line: Callable[[dict[str, object]], str] | None = None
    after: Callable[[], str] | None = None
    fit: Callable[[int], int] | None = None


Timed = Epochs | KerasFit | Repeats
