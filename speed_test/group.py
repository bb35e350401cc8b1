"""What processes that train together agree on. Here: a process that trains alone, so that the clock is one for both."""

from collections.abc import Iterator


class Group:
    """The processes that train together, as one of them sees the others: this one is alone, and all is agreed.

    All of them call these methods in the same order.
    """

    rank = 0
    size = 1

    def meet(self) -> None:
        """Wait for the others, also if they come minutes later."""

    def wait(self) -> None:
        """Wait for the others, right before the clock starts or stops."""

    def agreed(self, mine: bool) -> bool:
        """Rank 0's word."""
        return mine

    def agreed_later(self, mine: bool) -> bool:
        """Rank 0's word at the last call, False at the first one of an epoch: no step waits for it."""
        return mine

    def total(self, mine: float) -> float:
        """The sum over all."""
        return mine

    def highest(self, mine: float | None) -> float | None:
        """The largest of all; None if all are None."""
        return mine

    def own_sizes(self, samples: int, batch_size: int) -> list[int]:
        """The sizes of this process's batches in an epoch over `samples` samples."""
        return [last - first for first, last in shares(samples, batch_size, self.size, self.rank)]

    def start_epoch(self, samples: int, batch_size: int) -> None:
        """An epoch begins, whose gradients are weighted by the sizes of its batches."""

    def next_step(self, number: int) -> None:
        """Step `number` (from 0) of the epoch is about to begin."""

    def end_epoch(self) -> None:
        """An epoch is over, and with it what `agreed_later` has not answered yet."""

    def leave(self) -> None:
        """Train together no longer."""


def shares(samples: int, batch_size: int, size: int, rank: int) -> Iterator[tuple[int, int]]:
    """The batches of one rank in an epoch, as (first, last + 1) in the order of the samples that all ranks have.

    Each sample is in one batch of one rank, and all ranks make the same number of steps. A step takes `batch_size`
    samples of each of the `size` ranks. What is left at the end is shared evenly, together with the last whole step, so
    that no batch is much smaller than half of the others. A process alone has the rest as its last batch.
    """
    whole = batch_size * size
    steps = -(-samples // whole)
    spread = min(2, steps) if size > 1 and samples % whole else 0
    full = steps - spread
    for step in range(full):
        first = step * whole + rank * batch_size
        yield first, min(first + batch_size, samples)
    first, parts = full * whole, spread * size
    for part in range(rank, parts, size):
        yield tuple(first + (samples - first) * edge // parts for edge in (part, part + 1))  # type: ignore[misc]
