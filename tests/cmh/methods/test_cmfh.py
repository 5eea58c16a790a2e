"""CMFH's alternation against its objective, and on Wiki both ways of coding the database."""

import numpy as np
import pytest

from cmh.hashing.projections import Matrix
from cmh.methods import cmfh
from tests.cmh.methods import shallow


def objective(views: list[Matrix], v: Matrix, u: list[Matrix], w: list[Matrix], c: cmfh.Config) -> float:
    """The printed objective, term by term."""
    total = 0.0
    for x, u_t, w_t, alpha in zip(views, u, w, (c.image_weight, 1 - c.image_weight), strict=True):
        total += alpha * (((x - v @ u_t) ** 2).sum() + c.mu * ((v - x @ w_t) ** 2).sum())
        total += alpha * c.gamma * ((v**2).sum() + (u_t**2).sum() + (w_t**2).sum())
    return float(total)


def test_each_step_minimises_over_its_factor() -> None:
    """From any U and W, `shared_factor` cannot be improved by moving a single entry of V either way."""
    rng, config = np.random.default_rng(0), cmfh.Config(bits=4, mu=3.0, gamma=0.5, image_weight=0.3)
    views = [rng.normal(size=(12, d)) for d in (5, 3)]
    u, w = [rng.normal(size=(4, d)) for d in (5, 3)], [rng.normal(size=(d, 4)) for d in (5, 3)]
    v = cmfh.shared_factor(tuple(zip(views, (0.3, 0.7), strict=True)), u, w, config)
    best = objective(views, v, u, w, config)
    for entry in np.ndindex(v.shape):
        for change in (-1e-3, 1e-3):
            moved = v.copy()
            moved[entry] += change
            assert objective(views, moved, u, w, config) > best


def test_projections_are_the_ridge_regression_onto_the_factor() -> None:
    """W solves (μ XᵀX + γ I) W = μ Xᵀ V for the V that is returned."""
    image, text, _ = shallow.matrices(shallow.pairs(50))
    config = cmfh.Config(bits=6, steps=3)
    v, *w = cmfh.factorise(image, text, config, seed=0)
    for x, w_t in zip((image, text), w, strict=True):
        left = config.mu * x.T @ x @ w_t + config.gamma * w_t
        np.testing.assert_allclose(left, config.mu * x.T @ v, rtol=1e-7, atol=1e-7)


def test_bits_differ_where_features_are_many() -> None:
    """More features than items: no two bits agree on nearly all items, as they do from a positive start."""
    rng = np.random.default_rng(0)
    image, text = rng.random((60, 90)), rng.random((60, 80))
    v, *_ = cmfh.factorise(image - image.mean(0), text - text.mean(0), cmfh.Config(bits=8), seed=0)
    agreement = np.abs(np.corrcoef(v.T) - np.eye(8))
    assert agreement.max() < 0.6


@pytest.mark.parametrize(
    ("bits", "per_modality", "unified"),
    [(16, (0.2137, 0.2003), (0.2032, 0.4737)), (64, (0.2414, 0.2330), (0.2288, 0.5243))],
)
def test_wiki(bits: int, per_modality: tuple[float, float], unified: tuple[float, float]) -> None:
    """Means of three seeds within .02 of another implementation's, for both kinds of database codes."""
    runs = [shallow.wiki_maps("cmfh", seed, bits=bits) for seed in range(3)]
    for kind, measured in (("per modality", per_modality), ("unified", unified)):
        np.testing.assert_allclose(np.mean([run[kind] for run in runs], axis=0), measured, atol=0.02)
