"""SePH's divergence against loops and finite differences, its unification by hand, and on Wiki."""

import numpy as np
import pytest
from scipy.special import expit, logit

from cmh.hashing.projections import unit_rows
from cmh.methods import seph
from tests.cmh.methods import shallow


def slow_divergence(h: np.ndarray, unit: np.ndarray) -> float:
    """KL(P || Q) + entropy of P, pair by pair."""
    n = len(h)
    off = [(i, j) for i in range(n) for j in range(n) if i != j]
    p = {(i, j): unit[i] @ unit[j] for i, j in off}
    q = {(i, j): 1 / (1 + ((h[i] - h[j]) ** 2).sum() / 4) for i, j in off}
    p_sum, q_sum = sum(p.values()), sum(q.values())
    return float(sum(-p[ij] / p_sum * np.log(q[ij] / q_sum) for ij in off))


def test_divergence_and_its_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    """By loops over pairs, and by central differences of them; in blocks of five rows."""
    monkeypatch.setattr(seph, "ROWS", 5)
    rng = np.random.default_rng(0)
    h, unit = rng.normal(size=(12, 3)), unit_rows((rng.random((12, 4)) < 0.5).astype(float))
    loss, gradient = seph.divergence(h, unit)
    assert loss == pytest.approx(slow_divergence(h, unit))
    for entry in np.ndindex(h.shape):
        step = np.zeros(h.shape)
        step[entry] = 1e-5
        slope = (slow_divergence(h + step, unit) - slow_divergence(h - step, unit)) / 2e-5
        assert gradient[entry] == pytest.approx(slope, abs=1e-8)


def test_codes_follow_the_labels() -> None:
    """Of four classes, items of one class get one code, and classes get different ones."""
    label = np.repeat(np.eye(4), 10, axis=0)
    codes = seph.semantic_codes(label, seph.Config(bits=8), seed=0) >= 0
    assert len(np.unique(codes, axis=0)) == 4
    assert all(len(np.unique(codes[start : start + 10], axis=0)) == 1 for start in range(0, 40, 10))


def test_a_rare_bit_needs_less_evidence() -> None:
    """The product of both probabilities over the prior; constant bits stay finite."""
    image, text = np.array([[0.3, 0.3, 0.9], [0.2, 0.6, 0.4]]), np.array([0.6, 0.5, 0.2])
    prior = np.array([0.1, 0.5, 1.0])
    plus = image * text / np.array([0.1, 0.5, 0.5])
    minus = (1 - image) * (1 - text) / np.array([0.9, 0.5, 0.5])
    margin = logit(image) + logit(text) - seph.prior_logit(prior)
    np.testing.assert_allclose(expit(margin), plus / (plus + minus))


@pytest.mark.slow
def test_wiki() -> None:
    """16 bits within .02 of another implementation's, both kinds of database codes, or above it."""
    maps = shallow.wiki_maps("seph", bits=16, bases_from="random")
    np.testing.assert_allclose(maps["per modality"], (0.2624, 0.3542), atol=0.02)
    np.testing.assert_allclose(maps["unified"], (0.2731, 0.6126), atol=0.02)
