"""RBF features against loops, and the choice of bases."""

import numpy as np
import pytest
import torch

from cmh.hashing import rbf
from cmh.hashing.rbf import KernelProjection

X = np.random.default_rng(0).normal(size=(30, 4))


def test_rbf_is_its_formula() -> None:
    """exp(-|x - z|² / 2σ²) of every pair, and the mean squared distance, by loops."""
    z = X[:7] + 0.5
    squared = np.array([[sum((a - b) ** 2) for b in z] for a in X])
    np.testing.assert_allclose(rbf.rbf(X, z, 1.7), np.exp(-squared / 3.4))
    assert rbf.mean_squared_distance(X, z) == pytest.approx(squared.mean())


@pytest.mark.parametrize("how", ["random", "kmeans"])
def test_encoding_repeats_what_training_computed(how: rbf.Choice) -> None:
    """The module in torch gives the NumPy kernel times the weights."""
    module = KernelProjection(4, 6, 3)
    bases = module.choose(X, how, seed=0)
    weight = np.random.default_rng(1).normal(size=(6, 3))
    module.keep(weight)
    expected = rbf.rbf(X, bases, float(module.variance)) @ weight
    np.testing.assert_allclose(module(torch.from_numpy(X)), expected, atol=1e-12)


def test_random_bases_are_distinct_items() -> None:
    """Drawn without replacement, another seed draws others."""
    first, second = (rbf.choose_bases(X, 10, "random", seed) for seed in (0, 1))
    assert len(np.unique(first, axis=0)) == 10
    assert {tuple(row) for row in first} <= {tuple(row) for row in X}
    assert not np.array_equal(first, second)


def test_fewer_items_than_bases_leave_the_rest_without_weight() -> None:
    """All items are bases; the module's other rows do not count."""
    module = KernelProjection(4, 50, 2)
    bases = module.choose(X, "kmeans", seed=0)
    assert np.array_equal(bases, X)
    module.keep(np.ones((30, 2)))
    expected = rbf.rbf(X, X, float(module.variance)).sum(axis=1)
    np.testing.assert_allclose(module(torch.from_numpy(X))[:, 0], expected)


def test_equal_points_have_a_variance() -> None:
    """Where all distances are 0 the kernel is 1, not 0 / 0."""
    same = np.zeros((5, 3))
    assert rbf.mean_squared_distance(same, same) == 1.0
    for value in (0.3, 2.3):  # rounding leaves a little above or below 0
        same = np.full((50, 10), value)
        assert rbf.mean_squared_distance(same, same) == 1.0
