"""CMHH's loss terms against slow loops written from their formulas, in float64, to 1e-10."""

import math

import pytest
import torch

from cmh import methods
from cmh.methods.cmhh import focal, hamming
from tests.cmh.methods.pairs import B, K, batch, build, cosine, memory, relevant


def test_terms_equal_the_loops() -> None:
    """The focal term of every image-text pair of the batch, the distance to the corner of every code."""
    method = build("cmhh", hidden=16, beta=0.2, gamma=1.5, balance=0.3, lambda_=0.7)
    codes = memory()
    items = batch(codes)
    terms = method("pairs", items, codes)
    u_BK, v_BK = method.encode_image(items.image), method.encode_text(items.text_BD)
    inter = 0.0
    for u_K, u_L in zip(u_BK, items.labels_BL, strict=True):
        for v_K, v_L in zip(v_BK, items.labels_BL, strict=True):
            p = math.exp(-0.2 * K / 2 * (1 - cosine(u_K, v_K)))
            if relevant(u_L, v_L):
                inter -= 0.3 * (1 - p) ** 1.5 * math.log(p) / B**2
            else:
                inter -= 0.7 * p**1.5 * math.log(1 - p) / B**2
    corner_K = torch.ones(K)
    quantisation = sum(K / 2 * (1 - cosine(f_K.abs(), corner_K)) / B for f_K in [*u_BK, *v_BK])
    expected = {"inter": inter, "quantisation": 0.7 * quantisation}
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-10)


def test_the_distance_is_hamming_of_signs() -> None:
    """Number of bits that differ."""
    signs = torch.tensor([[1.0, 1, -1, -1], [1, -1, -1, 1]], dtype=torch.float64)
    torch.testing.assert_close(hamming(signs, signs), torch.tensor([[0.0, 2], [2, 0]], dtype=torch.float64))


@pytest.mark.parametrize("s", [0.0, 1.0])
def test_equal_and_opposite_codes_give_finite_gradients(s: float) -> None:
    """At distance 0, where an irrelevant pair costs infinitely much, and at K."""
    d_BN = torch.tensor([[0.0, 64.0]], requires_grad=True)
    loss = focal(d_BN, torch.full((1, 2), s), 0.5, 2.0, 0.5)
    loss.backward()
    assert loss.isfinite()
    assert d_BN.grad.isfinite().all()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [("balance", 1, "balance must be between 0 and 1, got 1"), ("beta", 0, "beta must be positive, got 0")],
)
def test_settings_that_cannot_work_are_refused(field: str, value: float, message: str) -> None:
    """The message names the setting and what is allowed."""
    with pytest.raises(ValueError, match=message):
        methods.config("cmhh", **{field: value})
