"""Pairs of directions against SciPy's generalised eigenproblem, and what is refused."""

import numpy as np
import pytest
from scipy import linalg

from cmh.hashing import correlation
from cmh.hashing.projections import Matrix


def covariances(features: int, dimensions: int, items: int = 200) -> tuple[Matrix, Matrix, Matrix]:
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(items, 3))
    x, y = (shared @ rng.normal(size=(3, d)) + rng.normal(size=(items, d)) for d in (features, dimensions))
    return x.T @ x, y.T @ y, x.T @ y


@pytest.mark.parametrize(("features", "dimensions"), [(9, 5), (5, 9), (6, 6)])
def test_pairs_solve_the_generalised_eigenproblem(features: int, dimensions: int) -> None:
    """Cxy Cyy⁻¹ Cyx wx = λ Cxx wx and wy = Cyy⁻¹ Cyx wx / √λ, whichever side is larger; λ as in SciPy."""
    cxx, cyy, cxy = covariances(features, dimensions)
    ridge, count = 0.1, 5
    found = correlation.pairs(cxx, cyy, cxy, count, ridge=ridge)
    cxx, cyy = cxx + ridge * np.eye(features), cyy + ridge * np.eye(dimensions)
    a = cxy @ np.linalg.solve(cyy, cxy.T)
    np.testing.assert_allclose(a @ found.wx_FK, cxx @ found.wx_FK * found.strength_K, atol=1e-8)
    np.testing.assert_allclose(
        np.linalg.solve(cyy, cxy.T @ found.wx_FK) / np.sqrt(found.strength_K), found.wy_DK, atol=1e-8
    )
    wanted = linalg.eigh(a, cxx, eigvals_only=True)[::-1][:count]
    np.testing.assert_allclose(found.strength_K, wanted, atol=1e-9)


@pytest.mark.parametrize("size", [8, 80])
def test_the_leading_pair_is_the_first_of_all(size: int) -> None:
    """Dense or iterative, by size: the same pair up to its sign."""
    cxx, cyy, cxy = covariances(size + 5, size)
    whitening = correlation.whiten(cxx, cyy, 0.1)
    one = correlation.leading_pair(whitening, whitening.cross(cxy))
    first = correlation.pairs(cxx, cyy, cxy, 1, ridge=0.1)
    np.testing.assert_allclose(one.strength_K, first.strength_K)
    np.testing.assert_allclose(one.wx_FK @ one.wy_DK.T, first.wx_FK @ first.wy_DK.T, atol=1e-9)


def test_more_pairs_than_features_are_refused() -> None:
    """The message tells the most that can be had."""
    with pytest.raises(ValueError, match="at most 9"):
        correlation.pairs(*covariances(5, 9), 10, ridge=0.1)


def test_a_singular_covariance_is_refused() -> None:
    """Two equal features without a ridge: the message says to raise it."""
    x = np.random.default_rng(0).normal(size=(50, 3))
    x = np.hstack([x, x[:, :1]])
    with pytest.raises(ValueError, match="raise the ridge"):
        correlation.whiten(x.T @ x - 1e-9 * np.eye(4), np.eye(2), ridge=0.0)
