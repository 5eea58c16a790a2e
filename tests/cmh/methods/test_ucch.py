"""UCCH against the authors' numbers and against slow loops written from the paper, float64."""

import math

import pytest
import torch
from torch import Tensor

from cmh.methods import ucch
from tests.cmh.methods import pairs, vectors
from tests.cmh.methods.pairs import dot
from tests.cmh.methods.vectors import CODES, K, U, V, grid, unit

ROWS = torch.tensor([[0, 3, 5], [1, 0, 4], [2, 2, 3], [3, 1, 5]])
MEMORY = unit(grid(6, K, 2, 1, 0.3).sin().sign())


def test_the_authors_numbers() -> None:
    """Ranking, contrast, the memory's new row, and the contrast of the warm-up, on the shared vector."""
    s_BB = unit(U) @ unit(V).T
    assert ucch.ranked(s_BB, 0.2, 0.1).item() == pytest.approx(3.16348879, abs=1e-6)
    assert ucch.ranked(s_BB, 0.2, 1).item() == pytest.approx(2.94084389, abs=1e-6)
    keys = MEMORY.sign() / math.sqrt(K)
    contrast = sum(ucch.contrastive(unit(x), keys, ROWS, 0.9) for x in CODES)
    assert contrast.item() == pytest.approx(3.34247330, abs=1e-6)
    codes = torch.nn.functional.normalize(CODES, dim=2)
    renewed = ucch.renewed(MEMORY[:4], codes, 0.4)
    assert renewed[0, :3].tolist() == pytest.approx([0.450301, 0.118389, -0.247709], abs=1e-6)
    method = vectors.build("ucch", hidden=4, alpha=1.0)
    warm = method.loss("pairs", codes, vectors.batch(), vectors.memory())
    assert warm["contrast"].item() == pytest.approx(1.89646742, abs=1e-6)


def slow_contrast(u_BK: Tensor, keys: list[Tensor], rows: list[list[int]], tau: float) -> float:
    """Mean over the rows of minus the logarithm of the first one's share."""
    total = 0.0
    for u_K, own in zip(u_BK, rows, strict=True):
        scores = [math.exp(dot(u_K, keys[r]) / tau) for r in own]
        total -= math.log(scores[0] / sum(scores))
    return total / len(rows)


@pytest.mark.parametrize("warm", [True, False])
def test_terms_equal_the_loops(warm: bool) -> None:
    """With keys of the batch in the warm-up, and afterwards of the drawn items at the epoch's beginning."""
    settings = {"alpha": 0.6, "tau": 0.5, "negatives": 9, "margin": 0.1, "shift": 0.4}
    method, codes = pairs.build("ucch", hidden=16, **settings), pairs.memory()
    items, keys_NK = pairs.batch(codes), codes.consensus_NK.clone()
    method.begin_epoch(0 if warm else 1, None, codes)
    torch.manual_seed(4)
    terms = method("pairs", items, codes)
    torch.manual_seed(4)
    drawn = torch.randint(pairs.N, (pairs.B, 9)).tolist()
    u_BK, v_BK = method.code_of("image", items), method.code_of("text", items)
    rows, index = range(pairs.B), items.index_B.tolist()
    if warm:
        keys = [torch.where(u_BK[i] + v_BK[i] >= 0, 1, -1) / math.sqrt(K) for i in rows]
        lists = [[i, *(j for j in rows if j != i)] for i in rows]
    else:
        keys = list(keys_NK / math.sqrt(K))
        lists = [[own, *others] for own, others in zip(index, drawn, strict=True)]
    ranking = 0.0
    for i in rows:
        for s, own in (
            ([dot(u_BK[i], v_BK[j]) for j in rows], dot(u_BK[i], v_BK[i])),
            ([dot(u_BK[j], v_BK[i]) for j in rows], dot(u_BK[i], v_BK[i])),
        ):
            pushed = [x if x >= own - 0.1 else x - 0.4 for x in s]
            ranking += (0.1 - own + math.log(sum(math.exp(x) for x in pushed))) / pairs.B
    expected = {
        "contrast": 0.6 * sum(slow_contrast(x, keys, lists, 0.5) for x in (u_BK, v_BK)),
        "ranking": 0.4 * ranking,
    }
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-9)


def test_the_memory_moves_by_its_momentum() -> None:
    """To the mean code in the warm-up, a part of the way afterwards; both sides hold the same row."""
    method, codes = pairs.build("ucch", hidden=16), pairs.memory()
    items = pairs.batch(codes)
    for epoch, momentum in ((0, 0.0), (1, 0.4)):
        method.begin_epoch(epoch, None, codes)
        old = (codes.image_NK + codes.text_NK)[items.index_B] / 2
        u_BK, v_BK = method.codes("pairs", items, codes)
        expected = unit(momentum * old + (1 - momentum) * unit(u_BK + v_BK))
        for side in (codes.image_NK, codes.text_NK):
            assert torch.allclose(side[items.index_B], expected)


def test_settings_that_cannot_work_are_refused() -> None:
    """The message names setting and range."""
    with pytest.raises(ValueError, match="momentum must lie between 0 and 1, got 2"):
        ucch.Config(momentum=2)
