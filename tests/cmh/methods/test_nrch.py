"""NRCH against the authors' number and against slow loops written from its equations, float64."""

import math

import numpy as np
import pytest
import torch

from cmh.methods import nrch
from tests.cmh.methods import pairs, vectors
from tests.cmh.methods.pairs import dot, relevant
from tests.cmh.methods.vectors import CODES, K


def test_the_authors_number() -> None:
    """Pairs and quantisation on the shared vector, with the code's doubled direction."""
    method = vectors.build("nrch", hidden=4, as_published=True)
    terms = method.loss("pairs", CODES, vectors.batch(), vectors.memory())
    assert (terms["pairs"] + terms["quantisation"]).item() == pytest.approx(1.82315343, abs=1e-6)


@pytest.mark.parametrize("as_published", [False, True])
@pytest.mark.parametrize("chosen", [None, (0, 1, 4, 5)])
def test_terms_equal_the_loops(as_published: bool, chosen: tuple[int, ...] | None) -> None:
    """Over all items of a batch, and over those that count."""
    settings = {"lambda_": 0.3, "margin": 0.1, "shift": 0.4, "as_published": as_published}
    method, codes = pairs.build("nrch", hidden=16, **settings), pairs.memory()
    items = pairs.batch(codes)
    rows = range(pairs.B) if chosen is None else chosen
    if chosen is not None:
        method.selected_N = torch.zeros(pairs.N, dtype=torch.bool)
        method.selected_N[items.index_B[list(rows)]] = True
    terms = method("pairs", items, codes)
    u_BK, v_BK = method.code_of("image", items).detach(), method.code_of("text", items).detach()
    w_CK = method.classes.weight.detach().tanh()
    expected = dict.fromkeys(("pairs", "quantisation", "classes"), 0.0)
    for i in rows:
        own = dot(u_BK[i].tanh(), v_BK[i].tanh())
        for way in range(2):
            total = 0.0
            for j in rows:
                a, b = (j, i) if way and not as_published else (i, j)
                s = dot(u_BK[a].tanh(), v_BK[b].tanh())
                s = s if s >= own - 0.1 else s - 0.4
                if i == j:
                    total += math.exp(max(s, 0))
                else:
                    total += math.exp(0 if relevant(items.labels_BL[i], items.labels_BL[j]) else s)
            expected["pairs"] += 0.3 * (0.1 - own + math.log(total)) / len(rows)
        for x_K in (u_BK[i], v_BK[i]):
            off = [(abs(x) - 1 / math.sqrt(K)) ** 2 for x in x_K.tanh().tolist()]
            expected["quantisation"] += 0.7 * sum(off) / K / len(rows)
            for c in range(pairs.L):
                y = 1 if items.labels_BL[i, c] else -1
                expected["classes"] += (y - dot(x_K, w_CK[c])) ** 2 / pairs.L / len(rows)
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-9)


def test_only_the_classes_learn_from_the_labels_of_an_item() -> None:
    """The classes' term has a gradient in their matrix and in no tower."""
    method, codes = pairs.build("nrch", hidden=16), pairs.memory()
    method("pairs", pairs.batch(codes), codes)["classes"].backward()
    assert method.classes.weight.grad.any()
    assert all(p.grad is None for p in method.image_tower.parameters())


def test_items_with_wrong_labels_are_left_out() -> None:
    """Codes that point to their classes, with a quarter of the labels wrong: those are not selected."""
    rng = np.random.default_rng(0)
    classes = rng.integers(4, size=200)
    wrong = np.arange(200) < 50
    labelled = np.where(wrong, (classes + 1) % 4, classes)
    codes = pairs.CodeMemory(torch.from_numpy(np.eye(4)[labelled]).float(), 16, seed=0)
    method = vectors.build("nrch", labels=4, hidden=4, select_from=3).float()
    method.classes = torch.nn.Linear(16, 4, bias=False)
    torch.nn.init.orthogonal_(method.classes.weight)
    clean = method.classes.weight.detach()[classes]
    for side in (codes.image_NK, codes.text_NK):
        noisy = clean + 0.05 * torch.from_numpy(rng.normal(size=clean.shape))
        side.copy_(torch.nn.functional.normalize(noisy.float()))
    method.begin_epoch(2, None, codes)
    assert method.selected_N is None
    method.begin_epoch(3, None, codes)
    assert np.array_equal(method.selected_N.numpy(), ~wrong)


def test_a_batch_of_which_nothing_counts_is_worth_nothing() -> None:
    """Terms of 0 that can be differentiated; equal errors select all items."""
    method, codes = pairs.build("nrch", hidden=16), pairs.memory()
    method.selected_N = torch.zeros(pairs.N, dtype=torch.bool)
    terms = method("pairs", pairs.batch(codes), codes)
    torch.stack(list(terms.values())).sum().backward()
    assert {term.item() for term in terms.values()} == {0}
    assert nrch.trusted(np.full(7, 0.5), 0.3).all()
