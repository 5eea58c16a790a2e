"""TDH's loss terms against slow loops written from their formulas, in float64, to 1e-10."""

import pytest
import torch
from torch import Tensor

from cmh import methods
from cmh.methods.tdh import triplet_nll
from tests.cmh.methods.pairs import B, K, batch, build, dot, log_sigmoid, memory, relevant


def slow_triplets(u_BK: Tensor, v_BK: Tensor, labels_BL: Tensor, margin: float) -> float:
    total, triplets = 0.0, 0
    for i, u_K in enumerate(u_BK):
        for j, v_K in enumerate(v_BK):
            for k, w_K in enumerate(v_BK):
                positive = relevant(labels_BL[i], labels_BL[j])
                if positive and not relevant(labels_BL[i], labels_BL[k]):
                    total -= log_sigmoid(dot(u_K, v_K) / 2 - dot(u_K, w_K) / 2 - margin)
                    triplets += 1
    return total / triplets


def test_terms_equal_the_loops() -> None:
    """All triplets of the batch, across and within modalities; distances to the consensus; the graph."""
    method, codes = build("tdh", hidden=16, margin=0.25, gamma=0.3, eta=0.7), memory()
    items = batch(codes)
    terms = method("pairs", items, codes)
    y_BL = items.labels_BL
    u_BK, v_BK = method.image_tower(items.image), method.text_tower(items.text_BD)
    quantisation = graph = 0.0
    for i in range(B):
        for k in range(K):
            b = codes.consensus_NK[items.index_B[i], k].item()
            quantisation += sum((b - f_BK[i, k].item()) ** 2 for f_BK in (u_BK, v_BK)) / B / K
        for j in range(B):
            difference_K = (u_BK[i] + v_BK[i] - u_BK[j] - v_BK[j]) / 2
            graph += relevant(y_BL[i], y_BL[j]) * dot(difference_K, difference_K) / 2 / B**2 / K
    expected = {
        "inter": slow_triplets(u_BK, v_BK, y_BL, K / 4) + slow_triplets(v_BK, u_BK, y_BL, K / 4),
        "intra": slow_triplets(u_BK, u_BK, y_BL, K / 4) + slow_triplets(v_BK, v_BK, y_BL, K / 4),
        "quantisation": 0.3 * quantisation,
        "graph": 0.7 * graph,
    }
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-10)


def test_a_batch_without_triplets_costs_nothing() -> None:
    """Where all items are relevant to each other there is nothing to order; the gradient is zero."""
    u_BK = torch.rand(3, 4, requires_grad=True)
    loss = triplet_nll(u_BK, u_BK, torch.ones(3, 3), 2.0)
    loss.backward()
    assert loss.item() == 0
    assert not u_BK.grad.any()


@pytest.mark.parametrize("field", ["margin", "eta"])
def test_settings_that_cannot_work_are_refused(field: str) -> None:
    """The message names the setting."""
    with pytest.raises(ValueError, match=f"{field} must not be negative, got -1"):
        methods.config("tdh", **{field: -1})
