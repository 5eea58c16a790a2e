"""Images that look alike are found by their hashes, in about linear time."""

import time

import numpy as np
from PIL import Image, ImageFilter

from cmh.data import near_duplicates


def photo(seed: int) -> Image.Image:
    noise = np.random.default_rng(seed).integers(256, size=(8, 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((128, 128), Image.Resampling.BICUBIC)


def test_a_photo_that_was_saved_again_looks_like_itself() -> None:
    """Scaled down and up, and blurred; another photo does not."""
    whole = photo(0)
    again = whole.resize((64, 64)).resize((128, 128)).filter(ImageFilter.GaussianBlur(1))
    hashes = [near_duplicates.perceptual_hash(np.asarray(image)) for image in (whole, photo(1), again)]
    assert near_duplicates.pairs(np.array(hashes, np.uint64)) == [(0, 2)]


def test_pairs_are_those_of_a_slow_loop() -> None:
    """Hashes that differ in 0 to 5 bits at random places."""
    rng = np.random.default_rng(0)
    base = rng.integers(1 << 63, size=60, dtype=np.uint64)
    flipped = base.copy()
    for row in range(60):
        for bit in rng.choice(64, row % 6, replace=False):
            flipped[row] ^= np.uint64(1) << np.uint64(bit)
    hash_N = np.concatenate([base, flipped])
    expected = [
        (i, j)
        for i in range(120)
        for j in range(i + 1, 120)
        if int(hash_N[i] ^ hash_N[j]).bit_count() <= near_duplicates.DISTANCE
    ]
    assert near_duplicates.pairs(hash_N) == expected
    asked_N = np.arange(120) < 60
    rows = near_duplicates.with_relatives(hash_N, asked_N, ~asked_N)
    assert rows.tolist() == [i for i, _ in expected]


def test_flat_images_take_no_quadratic_time() -> None:
    """A hundred thousand images of one hash, and as many of hashes alike in 48 bits."""
    hash_N = np.concatenate([np.zeros(100_000, np.uint64), np.arange(100_000).astype(np.uint64)])
    began = time.perf_counter()
    rows = near_duplicates.with_relatives(hash_N, hash_N == 0, hash_N == 0)
    assert len(rows) == 100_001
    assert time.perf_counter() - began < 20
