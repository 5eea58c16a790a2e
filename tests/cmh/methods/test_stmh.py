"""STMH's steps against one item at a time, and the halves that its codes are."""

import numpy as np
import pytest
import torch

from cmh.hashing import encoding
from cmh.methods import stmh
from cmh.training import solver
from tests.cmh.methods import shallow


def test_loadings_solve_each_items_system() -> None:
    """g (d r1 F1ᵀF1 + λ R Rᵀ + γ I) = d r1 x F1 + λ g2 Rᵀ, item by item."""
    rng, config = np.random.default_rng(0), stmh.Config(bits=4)
    x, f1, r = rng.normal(size=(9, 5)), rng.normal(size=(5, 4)), rng.normal(size=(4, 4))
    g2, d = stmh.largest_half(rng.random((9, 4))), rng.random((9, 1)) + 0.1
    found = stmh.loadings(x, g2, f1, r, d, config)
    for n in range(9):
        left = d[n] * 0.5 * f1.T @ f1 + 0.5 * r @ r.T + config.gamma * np.eye(4)
        right = d[n] * 0.5 * x[n] @ f1 + 0.5 * g2[n] @ r.T
        np.testing.assert_allclose(found[n], np.linalg.solve(left.T, right), atol=1e-8)


@pytest.mark.parametrize("bits", [8, 9])
def test_half_of_the_bits_are_set(bits: int) -> None:
    """Every image and every text has K / 2 positive bits, rounded down."""
    items = shallow.pairs(60)
    method = shallow.build("stmh", items, bits=bits)
    solver.fit(method, items, seed=0)
    for side in ("image", "text"):
        assert ((encoding.relaxed_codes(method, items, side) > 0).sum(axis=1) == bits // 2).all()


def test_the_set_bits_are_the_largest_scores() -> None:
    """Of scores 5, 1, 4, 2 the first and the third."""
    assert (stmh.above_half(torch.tensor([[5.0, 1.0, 4.0, 2.0]])) > 0).tolist() == [
        [True, False, True, False]
    ]


def test_wiki_needs_a_weight_of_the_features_scale() -> None:
    """At the demo's λ hardly more than chance (.11); at λ = 0.005 clearly more: features there are small."""
    default, scaled = (shallow.wiki_maps("stmh", bits=64, lambda_=v)["per modality"] for v in (0.5, 0.005))
    assert min(scaled) > 0.14
    assert sum(scaled) > sum(default) + 0.05
