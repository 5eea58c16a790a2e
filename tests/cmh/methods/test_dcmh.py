"""DCMH's loss terms against slow loops written from the paper's sums, in float64, to 1e-10."""

import pytest

from cmh import methods
from tests.cmh.methods.pairs import B, K, N, batch, build, memory, nll, squares


@pytest.mark.parametrize(("phase", "weight"), [("image", 1.0), ("text", 1.0), ("text", 3.0)])
def test_terms_equal_the_paper_sums(phase: str, weight: float) -> None:
    """Pairs, weighed, and squares divided by the pairs of the step; the balance of the batch."""
    method, codes = build("dcmh", hidden=16, gamma=0.3, eta=0.7, relevant_weight=weight), memory()
    items = batch(codes)
    terms = method(phase, items, codes)
    f_BK = method.image_tower(items.image) if phase == "image" else method.text_tower(items.text_BD)
    other = codes.text_NK if phase == "image" else codes.image_NK
    distance = squares(codes.consensus_NK[items.index_B], f_BK)
    mean = [sum(f_BK[i, k].item() for i in range(B)) / B for k in range(K)]
    expected = {
        "inter": nll(f_BK, other, items.labels_BL, codes.labels_NL, weight=weight) / (B * N),
        "quantisation": 0.3 * distance / (B * N),
        "balance": 0.7 * sum(x * x for x in mean),
    }
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("field", ["bits", "hidden", "lr"])
def test_settings_that_cannot_work_are_refused(field: str) -> None:
    """The message names the setting."""
    with pytest.raises(ValueError, match=f"{field} must be positive, got 0"):
        methods.config("dcmh", **{field: 0})
