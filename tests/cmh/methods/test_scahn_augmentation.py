"""Augmented images against the eight ways a square can lie, and their shares against the stated ones."""

from collections import Counter

import torch

from cmh.methods.scahn import turn_and_flip

IMAGE_CHW = torch.arange(3 * 4 * 4, dtype=torch.uint8).view(3, 4, 4)
WAYS = [
    way
    for turns in range(4)
    for turned in [IMAGE_CHW.rot90(turns, (1, 2))]
    for way in (turned, turned.flip(2))
]


def _ways(count: int) -> list[int]:
    torch.manual_seed(0)
    result = turn_and_flip(IMAGE_CHW.expand(count, 3, 4, 4))
    return [next(n for n, way in enumerate(WAYS) if torch.equal(way, image)) for image in result]


def test_every_result_is_one_of_the_eight_ways_and_all_occur() -> None:
    """Nothing but turns and mirrors happens to an image."""
    assert set(_ways(400)) == set(range(8))


def test_shares_are_the_stated_ones() -> None:
    """An image stays as it is where it is kept (.2), or changed by nothing (.8 x .5^3) or by what undoes
    itself: a half turn and both mirrors (.8 x .5 / 3 x .25)."""
    expected = 0.2 + 0.8 * (0.5**3 + 0.5 / 3 * 0.25)
    assert abs(Counter(_ways(6000))[0] / 6000 - expected) < 0.02


def test_the_same_seed_gives_the_same_images() -> None:
    """Augmentation is part of a step's reproducible randomness."""
    assert _ways(50) == _ways(50)
