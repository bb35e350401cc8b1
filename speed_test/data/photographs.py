"""Synthetic photographs, which cost as much to decode as real ones."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy

PICTURES = 1000


def synthetic_photographs(seed: int) -> Iterator["numpy.ndarray"]:
    """1,000 pictures, uint8 [384, 512, 3], that make JPEGs of about 50 KB at quality 75, as Food101's are.

    All are different, and too many for a cache to hold them decoded. They are cut from a large picture of coloured
    squares with a fine grain on top, whose contrast is chosen for the 50 KB.
    """
    import numpy

    random = numpy.random.default_rng(seed)
    squares = random.random((500, 500, 3), dtype=numpy.float32).repeat(4, axis=0).repeat(4, axis=1)
    grain = random.random((2000, 2000, 3), dtype=numpy.float32)
    picture = (80 + squares * 80 + grain * 20).astype(numpy.uint8)
    for _ in range(PICTURES):
        top, left = random.integers(0, 2000 - 384), random.integers(0, 2000 - 512)
        yield picture[top : top + 384, left : left + 512]
