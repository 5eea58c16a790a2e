"""DGCPN against the authors' numbers and against slow loops written from the code's rules, float64."""

import pytest
import torch
from torch import Tensor

from cmh.data.items import Items
from cmh.methods import dgcpn
from tests import synthetic
from tests.cmh.methods import pairs, vectors
from tests.cmh.methods.pairs import cosine
from tests.cmh.methods.vectors import U, V, grid, unit

X, Y = grid(6, 5, 5, 1, 1).sin().abs(), grid(6, 6, 3, 1).cos().abs()
LABELS = torch.ones(6, 3, dtype=torch.float64)


def items_of(x_NF: Tensor, y_ND: Tensor) -> Items:
    rows = torch.arange(len(x_NF)).numpy()
    return Items((x_NF[:, :, None, None].numpy(),), y_ND.numpy(), LABELS.byte().numpy(), rows)


def test_the_authors_numbers() -> None:
    """S of six items, four nearest including the item itself, c = 4; the loss of the first four."""
    method = vectors.build("dgcpn", hidden=4, neighbours=4 / 6, scale=1.0)
    method.train_features = dgcpn.Features(unit(X), unit(Y))
    s_BB = method.coherence(torch.arange(6))
    expected = [1.205319, 0.834707, 0.602900, 0.430399, 0.199260, 0.884036]
    assert s_BB[0].tolist() == pytest.approx(expected, abs=1e-6)
    loss = sum(dgcpn.terms(unit(U), unit(V), s_BB[:4, :4], 1.5)).item()
    assert loss == pytest.approx(9.18180862, abs=1e-6)


def test_rows_of_a_batch_are_those_of_the_whole_matrix() -> None:
    """In any order; also where an item has a duplicate, which is a neighbour and not the item."""
    method = vectors.build("dgcpn", hidden=4)
    x_NF, y_ND = X.clone(), Y.clone()
    x_NF[3], y_ND[3] = x_NF[0], y_ND[0]
    method.begin_epoch(0, items_of(x_NF, y_ND), vectors.memory(LABELS))
    whole, rows = method.coherence(torch.arange(6)), torch.tensor([4, 0, 3])
    assert torch.allclose(method.coherence(rows), whole[rows][:, rows])
    p_NN = torch.ones(2, 2, dtype=torch.float64)
    q_NN = dgcpn.neighbour_shares(p_NN, torch.arange(2), 1)
    assert q_NN.tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize("phase", ["pairs", "images", "texts"])
def test_terms_equal_the_loops(phase: str) -> None:
    """Of each of the three steps; the other tower's codes are signs where it stands still."""
    method = pairs.build("dgcpn", hidden=8, neighbours=0.5, kappa=1.2, d=0.3, w=0.7, dropout=0.0)
    codes = pairs.memory()
    train = synthetic.random_batch(
        pairs.N, pairs.N, words=pairs.D, channels=pairs.CHANNELS, labels=pairs.L, memory=codes
    )
    order = train.index_B.argsort()  # rows of the training set in order
    x_NF, y_ND = train.image[-1].mean((2, 3))[order], train.text_BD[order]
    method.train_features = dgcpn.Features(unit(x_NF), unit(y_ND))
    items = pairs.batch(codes)._replace(index_B=torch.randperm(pairs.N)[: pairs.B])
    rows, index = range(pairs.B), items.index_B.tolist()
    u_BK, v_BK = method.codes("pairs", items, codes)
    if phase == "images":
        v_BK = torch.where(v_BK >= 0, 1.0, -1.0)
    if phase == "texts":
        u_BK = torch.where(u_BK >= 0, 1.0, -1.0)

    def near(i: int, j: int) -> float:
        return 0.01 * word_cosine(y_ND[i], y_ND[j]) + 0.99 * cosine(x_NF[i], x_NF[j])

    shares = []
    for i in index:
        nearest = sorted((j for j in range(pairs.N) if j != i), key=lambda j: -near(i, j))[:6]
        total = sum(near(i, j) for j in nearest)
        shares.append({j: near(i, j) / total for j in nearest})
    expected = dict.fromkeys(("paired", "coherence", "between"), 0.0)
    for a in rows:
        expected["paired"] += (cosine(u_BK[a], v_BK[a]) - 1.2) ** 2 / pairs.B
        for b in rows:
            common = sum(share * shares[b].get(j, 0) for j, share in shares[a].items())
            s = 2 * (0.7 * near(index[a], index[b]) + 0.3 * 14 * common) - 1
            uu, vv = cosine(u_BK[a], u_BK[b]), cosine(v_BK[a], v_BK[b])
            uv, vu = cosine(u_BK[a], v_BK[b]), cosine(v_BK[a], u_BK[b])
            if a != b:
                expected["coherence"] += 0.3 * sum((x - s) ** 2 for x in (uu, vv, uv)) / pairs.B**2
            between = (uv - uu) ** 2 + (uv - vv) ** 2 + (uu - vv) ** 2 + (uv - vu) ** 2
            expected["between"] += 0.7 * between / pairs.B**2
    terms = method(phase, items, codes)
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-9)


def word_cosine(a: Tensor, b: Tensor) -> float:
    return cosine(a, b) if a.any() and b.any() else 0.0


def test_settings_that_cannot_work_are_refused() -> None:
    """The message names setting and range."""
    with pytest.raises(ValueError, match=r"neighbours must lie between 0 and 1, got 1\.5"):
        dgcpn.Config(neighbours=1.5)
    with pytest.raises(ValueError, match=r"dropout must be at least 0 and below 1, got 1"):
        dgcpn.Config(dropout=1.0)
