"""Noise in labels: which rows change, by how much, and how."""

import numpy as np
import pytest

from cmh.data.label_noise import exchange


@pytest.mark.parametrize("rate", [0.2, 0.5, 0.8, 1.0])
def test_a_share_of_the_rows_has_one_label_exchanged(rate: float) -> None:
    """As many labels as before, one of them new; the other rows, and those without labels, keep theirs."""
    rng = np.random.default_rng(0)
    label_NL = (rng.random((400, 6)) < 0.3).astype(np.uint8)
    label_NL[0], label_NL[1] = 0, 1
    row_n = np.arange(200)
    noisy_NL = exchange(label_NL, row_n, rate, seed=1)
    changed_N = (noisy_NL != label_NL).any(axis=1)
    able = (label_NL[:200].any(axis=1) & ~label_NL[:200].all(axis=1)).sum()
    assert changed_N.sum() == round(rate * able)
    assert not changed_N[200:].any()
    assert not changed_N[:2].any()
    assert np.array_equal(noisy_NL.sum(axis=1), label_NL.sum(axis=1))
    assert set((noisy_NL != label_NL).sum(axis=1)) <= {0, 2}
    assert np.array_equal(noisy_NL, exchange(label_NL, row_n, rate, seed=1))
    assert not np.array_equal(noisy_NL, exchange(label_NL, row_n, rate, seed=2))


def test_every_wrong_label_is_as_likely() -> None:
    """Of 3,000 items of one class, each of the other three gets about a third: within five deviations."""
    label_NL = np.tile(np.array([0, 1, 0, 0], np.uint8), (3000, 1))
    count_L = exchange(label_NL, np.arange(3000), 1.0, seed=0).sum(axis=0, dtype=int)
    assert count_L[1] == 0
    np.testing.assert_allclose(count_L[[0, 2, 3]], 1000, atol=5 * np.sqrt(3000 * 2 / 9))
