"""DCHMT against the authors' number and against slow loops written from its equations, float64."""

import math

import pytest
import torch

from cmh.methods import dchmt
from tests.cmh.methods import pairs, vectors
from tests.cmh.methods.pairs import relevant
from tests.cmh.methods.vectors import LABELS, K, grid


def test_the_authors_number() -> None:
    """Outputs of both modalities through ReLU and softmax by pairs, ϑ = .75, on the shared vector."""
    outputs = 3 * grid(4, 2 * K, 3, 1, 1).sin(), 3 * grid(4, 2 * K, 2, 1, 2).cos()
    codes = torch.stack([dchmt.Choices()(x) for x in outputs])
    terms = vectors.build("dchmt").loss("pairs", codes, vectors.batch(), vectors.memory(LABELS))
    assert vectors.total(terms) == pytest.approx(11.72748613, abs=1e-6)


def test_terms_equal_the_loops() -> None:
    """Written with z, the shares of both outputs of each bit."""
    method, codes = pairs.build("dchmt", width=16, threshold=0.1, quantisation=0.3), pairs.memory()
    items, rows = pairs.batch(codes), range(pairs.B)
    u = method.codes("pairs", items, codes)
    terms = method("pairs", items, codes)
    image, text = ([[(1 + s * x) / 2 for x in row for s in (-1, 1)] for row in side.tolist()] for side in u)
    margin = math.sqrt(2 * K * 0.1)

    def pair(a: list[list[float]], b: list[list[float]]) -> float:
        total = 0.0
        for i in rows:
            for j in rows:
                distance = math.dist(a[i], b[j])
                near = relevant(items.labels_BL[i], items.labels_BL[j])
                total += distance**2 if near else max(0, margin - distance) ** 2
        return total / pairs.B**2

    def sureness(z: list[list[float]]) -> float:
        return sum((2 * x - 1) ** 2 for row in z for x in row) / (pairs.B * 2 * K)

    expected = {
        "between": pair(image, text),
        "within": pair(image, image) + pair(text, text),
        "quantisation": 0.3 / 2 * sum(1 - sureness(z) for z in (image, text)),
    }
    # codes that are the same count as 1e-6 apart
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-6)


def test_codes_that_are_the_same_have_a_finite_gradient() -> None:
    """The root of a distance of nothing, in relevant pairs and others."""
    u_BK = torch.zeros(3, K, dtype=torch.float64, requires_grad=True)
    dchmt.pair(u_BK, u_BK, torch.eye(3, dtype=torch.float64), 2.0).backward()
    assert u_BK.grad.isfinite().all()


def test_a_bit_is_the_larger_of_two_outputs() -> None:
    """+1 where the second is larger, -1 where the first is, and 0 where neither is above 0."""
    u_BK = dchmt.Choices()(torch.tensor([[0.1, 3.0, 3.0, -1.0, -2.0, -1.0]]))
    assert u_BK.sign().tolist() == [[1, -1, 0]]
