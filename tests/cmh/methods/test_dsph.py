"""DSPH against the authors' number and against slow loops written from the paper, float64."""

import math

import pytest
import torch

from cmh.hashing import losses
from cmh.methods import dsph
from tests.cmh.methods import pairs, vectors
from tests.cmh.methods.pairs import cosine, relevant
from tests.cmh.methods.vectors import CODES, K, grid


def test_the_authors_number() -> None:
    """Proxies of four classes, ζ = .25, α = .8, on the shared vector."""
    proxies = grid(4, K, 2, 1).cos()
    labels = torch.tensor([[1.0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 1], [0, 1, 0, 0]], dtype=torch.float64)
    method = vectors.build("dsph", labels=4, threshold=0.25)
    method.proxies.weight.data.copy_(proxies)
    terms = method.loss("pairs", CODES, vectors.batch(labels=labels), vectors.memory(labels))
    assert vectors.total(terms) == pytest.approx(2.79647938, abs=1e-6)
    assert dsph.strangers(labels).sum() == 2


def test_terms_equal_the_loops() -> None:
    """Means over labels that items have, over those that they have not, and over strangers."""
    method = pairs.build("dsph", alpha=0.3, threshold=-0.2, dropout=0.0)
    codes = pairs.memory()
    labels_BL = pairs.labels(pairs.B)
    labels_BL[3:6] = torch.tensor([[0, 1, 0], [1, 1, 0], [0, 1, 1]])
    labels_BL = torch.cat([labels_BL, torch.zeros(pairs.B, 0)], 1)
    items = pairs.batch(codes)._replace(labels_BL=labels_BL.double())
    u_BK, v_BK = method.codes("pairs", items, codes)
    terms = method("pairs", items, codes)
    rows, p_CK = range(pairs.B), method.proxies.weight.detach()
    expected = {"proxies": 0.0, "strangers": 0.0}
    for x_BK in (u_BK, v_BK):
        near, far = [], []
        for i in rows:
            for c in range(pairs.L):
                score = cosine(x_BK[i], p_CK[c])
                (near if labels_BL[i, c] else far).append(
                    1 - score if labels_BL[i, c] else max(0, score + 0.2)
                )
        expected["proxies"] += sum(near) / len(near) + sum(far) / len(far)
    for a_BK, b_BK in ((u_BK, u_BK), (v_BK, v_BK), (u_BK, v_BK)):
        over = [
            max(0, cosine(a_BK[i], b_BK[j]) + 0.2)
            for i in rows
            for j in rows
            if labels_BL[i].sum() > 1 < labels_BL[j].sum() and not relevant(labels_BL[i], labels_BL[j])
        ]
        expected["strangers"] += 0.3 * sum(over) / max(1, len(over))
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-9)
    alone = method("proxies", items, codes)
    assert alone["proxies"].item() == pytest.approx(expected["proxies"])
    assert alone.keys() == {"proxies"}


@pytest.mark.parametrize(
    ("bits", "labels", "distance"), [(16, 32, 8), (16, 33, 6), (32, 100, 14), (64, 256, 29), (128, 10, 68)]
)
def test_the_threshold_is_that_of_known_codes(bits: int, labels: int, distance: int) -> None:
    """ζ = 1 - 2 d / K of the best known codes."""
    assert dsph.threshold(bits, labels) == 1 - 2 * distance / bits


def test_other_lengths_take_the_threshold_of_the_nearest() -> None:
    """8 bits that of 16, 48 bits that of 64, and very many labels that of 512."""
    assert dsph.threshold(8, 300) == dsph.threshold(16, 300)
    assert dsph.threshold(48, 300) == dsph.threshold(64, 300)
    assert dsph.threshold(32, 5000) == dsph.threshold(32, 512)
    assert math.isfinite(dsph.threshold(64, 0))


def test_no_strangers_cost_nothing() -> None:
    """Items with one label each: the term is 0, and has a gradient."""
    labels_BL = torch.eye(4, dtype=torch.float64)
    u_BK = CODES[0].clone().requires_grad_()
    term = dsph.over(losses.cosine(u_BK, u_BK), dsph.strangers(labels_BL), 0.0)
    term.backward()
    assert term.item() == 0
    assert not u_BK.grad.any()
