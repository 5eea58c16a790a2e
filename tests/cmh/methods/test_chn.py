"""CHN's loss terms against slow loops written from their formulas, in float64, to 1e-10."""

import math

import pytest
import torch

from cmh import methods
from cmh.methods.chn import cosine_margin, cosine_quantisation
from tests.cmh.methods.pairs import B, K, batch, build, cosine, memory, relevant


@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_terms_equal_the_loops(weight: float) -> None:
    """A hinge for every image-text pair of the batch, weighed, and one for every code of both towers."""
    method, codes = build("chn", hidden=16, margin=0.3, lambda_=0.7, relevant_weight=weight), memory()
    items = batch(codes)
    terms = method("pairs", items, codes)
    u_BK, v_BK = method.encode_image(items.image), method.encode_text(items.text_BD)
    inter = 0.0
    for u_K, u_L in zip(u_BK, items.labels_BL, strict=True):
        for v_K, v_L in zip(v_BK, items.labels_BL, strict=True):
            s, w = (1, weight) if relevant(u_L, v_L) else (-1, 1)
            inter += w * max(0.0, 0.3 - s * cosine(u_K, v_K)) ** 2 / B**2
    corner_K = torch.ones(K)
    quantisation = sum(max(0.0, 0.3 - cosine(f_K.abs(), corner_K)) ** 2 / B for f_K in [*u_BK, *v_BK])
    expected = {"inter": inter, "quantisation": 0.7 * quantisation}
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-10)


def test_pairs_beyond_the_margin_do_not_count() -> None:
    """The hinge is taken before the square: equal codes of relevant items cost nothing."""
    u_BK = torch.eye(2, 4, dtype=torch.float64)
    assert cosine_margin(u_BK, u_BK, torch.eye(2), margin=0.0).item() == 0
    assert cosine_margin(u_BK, -u_BK, torch.eye(2), margin=0.5).item() == pytest.approx(
        (2 * 1.5**2 + 2 * 0.5**2) / 4
    )


def test_quantisation_is_zero_at_the_corners() -> None:
    """Codes of equal absolute values have cosine 1 with (1, ..., 1); one-hot ones 1 / sqrt(K)."""
    assert cosine_quantisation(torch.tensor([[0.2, -0.2, 0.2]]), margin=1.0).item() == pytest.approx(
        0, abs=1e-12
    )
    assert cosine_quantisation(torch.tensor([[0.0, 0.0, 0.9]]), margin=1.0).item() == pytest.approx(
        (1 - 1 / math.sqrt(3)) ** 2
    )


@pytest.mark.parametrize("field", ["hidden", "lr"])
def test_settings_that_cannot_work_are_refused(field: str) -> None:
    """The message names the setting."""
    with pytest.raises(ValueError, match=f"{field} must be positive, got 0"):
        methods.config("chn", **{field: 0})
