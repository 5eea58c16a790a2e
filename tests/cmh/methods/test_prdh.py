"""PRDH's loss terms against slow loops written from their sums, in float64, to 1e-10."""

import pytest
import torch
from torch import Tensor

from cmh import methods
from cmh.methods.prdh import decorrelation
from tests.cmh.methods.pairs import B, K, N, batch, build, memory, nll, squares


def slow_decorrelation(f_BK: Tensor) -> float:
    f, rows, bits = f_BK.tolist(), len(f_BK), f_BK.shape[1]
    mean = [sum(row[k] for row in f) / rows for k in range(bits)]
    total = 0.0
    for k in range(bits):
        for m in range(bits):
            if k != m:
                total += (sum((row[k] - mean[k]) * (row[m] - mean[m]) for row in f) / rows) ** 2
    return total / 2


@pytest.mark.parametrize(("phase", "weight"), [("image", 1.0), ("text", 1.0), ("text", 3.0)])
def test_terms_equal_the_loops(phase: str, weight: float) -> None:
    """Inter against the other memory, intra against the own one with this step's codes in it."""
    method, codes = build("prdh", hidden=16, lambda_=0.3, gamma=0.7, relevant_weight=weight), memory()
    items = batch(codes)
    terms = method(phase, items, codes)
    f_BK = method.image_tower(items.image) if phase == "image" else method.text_tower(items.text_BD)
    own, other = (codes.image_NK, codes.text_NK) if phase == "image" else (codes.text_NK, codes.image_NK)
    distance = squares(codes.consensus_NK[items.index_B], f_BK)
    mean = [sum(f_BK[i, k].item() for i in range(B)) / B for k in range(K)]
    expected = {
        "inter": nll(f_BK, other, items.labels_BL, codes.labels_NL, weight=weight) / (B * N),
        "intra": nll(f_BK, own, items.labels_BL, codes.labels_NL, weight=weight) / (B * N),
        "decorrelation": 0.3 * slow_decorrelation(f_BK) / (K * (K - 1)),
        "quantisation": 0.7 * distance / (B * N),
        "balance": 0.7 * sum(x * x for x in mean),
    }
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-10)


def test_decorrelation_sees_correlated_bits() -> None:
    """Zero for bits that vary independently of each other, whatever their means; positive for equal bits."""
    two = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64)
    assert decorrelation(two + 3).item() == pytest.approx(0, abs=1e-15)
    assert decorrelation(two[:, [0, 0]]).item() == pytest.approx(0.5)  # C is all ones: (4 - 2) / 2 / 2


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [("bits", 1, "bits must be at least 2"), ("lambda_", -1, "lambda_ must not be negative, got -1")],
)
def test_settings_that_cannot_work_are_refused(field: str, value: float, message: str) -> None:
    """The message names the setting and what is allowed."""
    with pytest.raises(ValueError, match=message):
        methods.config("prdh", **{field: value})
