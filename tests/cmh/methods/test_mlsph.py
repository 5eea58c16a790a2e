"""MLSPH's loss terms against slow loops written from their formulas, in float64, to 1e-10."""

import pytest
import torch
from torch import Tensor

from cmh import methods
from cmh.methods.mlsph import shared_labels
from tests.cmh.methods.pairs import B, K, N, batch, build, cosine, labels, memory


def share(a_L: Tensor, b_L: Tensor) -> float:
    a, b = set(a_L.nonzero().flatten().tolist()), set(b_L.nonzero().flatten().tolist())
    return len(a & b) / len(a | b) if a | b else 0.0


@pytest.mark.parametrize("phase", ["image", "text"])
def test_terms_equal_the_loops(phase: str) -> None:
    """Squared errors of the cosines with every code of both memories, the own one holding this step's."""
    method = build("mlsph", hidden=16, features=12, alpha=0.3, beta=0.7, gamma=0.2)
    codes = memory()
    items = batch(codes)
    terms = method(phase, items, codes)
    u_BK = method.image_tower(items.image) if phase == "image" else method.text_tower(items.text_BD)
    own, other = (codes.image_NK, codes.text_NK) if phase == "image" else (codes.text_NK, codes.image_NK)
    torch.testing.assert_close(own[items.index_B], u_BK.detach(), rtol=0, atol=1e-12)
    inter = intra = quantisation = 0.0
    for i in range(B):
        for j in range(N):
            s = 2 * share(items.labels_BL[i], codes.labels_NL[j])
            inter += (s - cosine(u_BK[i], other[j])) ** 2 / B / N
            intra += (s - cosine(u_BK[i], own[j])) ** 2 / B / N
        for k in range(K):
            b = codes.consensus_NK[items.index_B[i], k].item()
            quantisation += (b - u_BK[i, k].item()) ** 2 / B / K
    expected = {"inter": 3 * inter, "intra": 7 * intra, "quantisation": 2 * quantisation}
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-9)


def test_similarity_is_the_share_of_common_labels() -> None:
    """Over all labels of both; nothing in common where neither has any."""
    a_BL, b_NL = labels(5), labels(7)
    s_BN = shared_labels(a_BL, b_NL)
    assert all(
        s_BN[i, j].item() == pytest.approx(share(a_BL[i], b_NL[j])) for i in range(5) for j in range(7)
    )
    assert s_BN[2, 2] == 0


@pytest.mark.parametrize("field", ["features", "lr"])
def test_settings_that_cannot_work_are_refused(field: str) -> None:
    """The message names the setting."""
    with pytest.raises(ValueError, match=f"{field} must be positive, got 0"):
        methods.config("mlsph", **{field: 0})
