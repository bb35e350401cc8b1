"""The device's own ceiling: the rate of large matrix products. Pure; a framework's module says how to multiply.

The work of a neural network is mostly matrix products, so none of its steps does more operations a second than a large
product of the same kind of numbers does. See https://en.wikipedia.org/wiki/Roofline_model
"""

import time
from collections.abc import Callable

SMALLEST = 256
LARGEST = 8192  # three matrices of float32 take 0.8 GB; the rate of the fastest GPUs has stopped rising by then
# On a CPU the peak memory of the process cannot be forgotten, so the matrices have to be small beside the training.
LARGEST_OF_CPU = 4096
# A block is long enough for the wait at its end not to matter. The best of some blocks is taken, for this is a ceiling.
BLOCK_SECONDS = 0.02
BLOCKS = 5
FEWEST_BLOCKS = 2
SIZE_SECONDS = 0.2  # after so long, the fewest blocks have to do for a size
# No size is tried whose single product would take longer, as it seems. A CPU has reached its rate by then. But where
# other programs keep the cores busy, threads wait for one another at small sizes, and that must not end it.
PRODUCT_SECONDS = 0.5
RISE = 1.02  # a rate that is higher by less has stopped rising
ENOUGH = 2  # sizes in a row without a rise; after a single one, a busy neighbour would end it too early


def largest_size(free_bytes: float, bytes_each: int, on_cpu: bool) -> int:
    """The largest size to try, for numbers of `bytes_each` bytes: three matrices take an eighth of the free memory at
    most, and no more than `LARGEST` is needed."""
    size = SMALLEST
    while 2 * size <= (LARGEST_OF_CPU if on_cpu else LARGEST) and 3 * bytes_each * (2 * size) ** 2 <= free_bytes / 8:
        size *= 2
    return size


def product_tflops(make: Callable[[int], Callable[[], object]], wait: Callable[[], None], largest: int) -> float:
    """Trillions of floating-point operations a second in products of square matrices: 2 n^3 in one of size n.

    `make(n)` returns a function that multiplies two n x n matrices and need not wait for the result; `wait()` returns
    once the device has done all that it was given. Sizes are doubled from 256 up to `largest`, until the rate no longer
    rises. Takes one to two seconds.
    """
    best = 0.0
    size, without_rise = SMALLEST, 0
    while size <= largest and without_rise < ENOUGH:
        seconds = _seconds(make(size), wait)
        rate = 2 * size**3 / seconds
        without_rise = 0 if rate > best * RISE else without_rise + 1
        best = max(best, rate)
        size *= 2
        if 8 * seconds > PRODUCT_SECONDS:
            break
    return best / 1e12


def _seconds(multiply: Callable[[], object], wait: Callable[[], None]) -> float:
    """How long one product takes in the best block."""
    multiply()  # the first one chooses and loads its kernel
    wait()
    times, best, blocks = 1, float("inf"), 0
    begin = time.perf_counter()
    while blocks < (BLOCKS if time.perf_counter() - begin < SIZE_SECONDS else FEWEST_BLOCKS):
        start = time.perf_counter()
        for _ in range(times):
            multiply()
        wait()
        seconds = time.perf_counter() - start
        best = min(best, seconds / times)
        if seconds < BLOCK_SECONDS:
            times *= 2
        else:
            blocks += 1
    return best
