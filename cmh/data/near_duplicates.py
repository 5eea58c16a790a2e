"""Images that look alike: a perceptual hash of 64 bits each, and the pairs whose hashes nearly agree.

The hash is imagehash's `phash`: signs of the low frequencies of a small grey image.  It stays nearly the same
when a photo is scaled, compressed again or brightened, and changes when it is cropped or turned.

Shapes: N = images.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image

DISTANCE = 3  # bits of 64 that hashes of near-duplicates may differ in; below the number of bands
_BANDS = 4  # of 16 bits: two hashes that differ in 3 bits agree in one of them
_MOST = 2000  # hashes with one band that are compared with each other; flat images share theirs by thousands


def perceptual_hash(image_HWC: NDArray[np.uint8]) -> int:
    """Return the 64 bits of an image, uint8 RGB, as a number."""
    import imagehash  # brings PyWavelets, which takes a moment

    bits = imagehash.phash(Image.fromarray(image_HWC)).hash
    return int.from_bytes(np.packbits(bits).tobytes())


def pairs(hash_N: NDArray[np.uint64]) -> list[tuple[int, int]]:
    """Return the pairs (i, j), i < j, of images whose hashes differ in at most `DISTANCE` bits, ascending.

    Of images with one hash only pairs with the first of them are named.
    """
    kept, first_of, of_each = np.unique(hash_N, return_index=True, return_inverse=True)
    found = {(int(first_of[one]), row) for row, one in enumerate(of_each) if first_of[one] != row}
    for one, other in _near(kept):
        ends = sorted((int(first_of[one]), int(first_of[other])))
        found.add((ends[0], ends[1]))
    return sorted(found)


def with_relatives(
    hash_N: NDArray[np.uint64], asked_N: NDArray[np.bool_], others_N: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Return the images, of those that are asked for, that look like one of the others: rows, ascending."""
    kept, of_each = np.unique(hash_N, return_inverse=True)
    held = np.zeros(len(kept), bool)
    held[of_each[others_N]] = True
    near = held.copy()
    for one, other in _near(kept):
        near[one] |= held[other]
        near[other] |= held[one]
    return np.flatnonzero(asked_N & near[of_each])


def _near(kept: NDArray[np.uint64]) -> Iterator[tuple[int, int]]:
    """Yield pairs of different hashes that nearly agree, some more than once.

    The time is about linear: only hashes that agree in 16 bits at one place are compared, and of these at
    most `_MOST` with each other.
    """
    for band in range(_BANDS):
        key = (kept >> np.uint64(16 * band)) & np.uint64(0xFFFF)
        order = np.argsort(key, kind="stable")
        for block in _runs(key[order]):
            rows = order[block][:_MOST]
            near = np.bitwise_count(kept[rows][:, None] ^ kept[rows][None, :]) <= DISTANCE
            for one, other in zip(*np.nonzero(np.triu(near, 1)), strict=True):
                yield int(rows[one]), int(rows[other])


def _runs(sorted_n: NDArray[np.uint64]) -> Iterator[slice]:
    """Yield the stretches of two or more equal values."""
    ends = [0, *(np.flatnonzero(np.diff(sorted_n)) + 1).tolist(), len(sorted_n)]
    for start, stop in pairwise(ends):
        if stop - start > 1:
            yield slice(start, stop)
