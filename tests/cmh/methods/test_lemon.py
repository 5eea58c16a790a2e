"""LEMON: constraints and optimality of its updates, sums against all items at once, and Wiki."""

import numpy as np
import pytest
import torch
from torch import nn

from cmh import methods
from cmh.data.items import Items
from cmh.hashing.method import Inputs
from cmh.methods import lemon
from cmh.methods.lemon import Config
from cmh.training import solver
from tests.cmh.methods import shallow


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_v_meets_its_constraints_and_is_the_best(rank: int) -> None:
    """VᵀV = m, Vᵀ1 = 0, also where Z lacks directions; no other such V comes nearer to Z."""
    rng = np.random.default_rng(0)
    z_mK = rng.normal(size=(40, rank)) @ rng.normal(size=(rank, 6))
    v_mK = lemon.orthogonal(z_mK, rng)
    np.testing.assert_allclose(v_mK.T @ v_mK, 40 * np.eye(6), atol=1e-9)
    np.testing.assert_allclose(v_mK.sum(axis=0), 0, atol=1e-9)
    best = np.trace(v_mK.T @ z_mK)
    for _ in range(50):
        other_mK = lemon.orthogonal(z_mK + rng.normal(size=z_mK.shape), rng)
        assert np.trace(other_mK.T @ z_mK) <= best + 1e-9


def test_a_turn_equals_the_equations_with_all_pairs() -> None:
    """The second of two chunks: similarities by sums over past items equal those by the whole S."""
    rng = np.random.default_rng(3)
    config = lemon.Config(bits=4, alpha=2.0, beta=3.0, gamma=0.5, steps=1)
    labels = (rng.random((30, 3)) < 0.5).astype(float)
    phi = [rng.normal(size=(30, 5)), rng.normal(size=(30, 6))]
    learner = lemon.Learner(config, 3, [5, 6])
    first, second = slice(0, 12), slice(12, 30)
    old_b = learner.learn([x[first] for x in phi], labels[first], rng)
    old_v = np.linalg.lstsq(  # of V only the sums are kept: any V with these serves
        np.concatenate([lemon.unit_rows(labels[first]).T, old_b.T, np.ones((1, 12))]),
        np.concatenate([learner.gv_LK, learner.bv_KK, learner.v_K[None]]),
        rcond=None,
    )[0]
    sums = {name: np.copy(value) for name, value in vars(learner).items() if isinstance(value, np.ndarray)}
    state = rng.bit_generator.state
    new_b = learner.learn([x[second] for x in phi], labels[second], rng)
    rng.bit_generator.state = state
    b, v = np.where(rng.standard_normal((18, 4)) >= 0, 1.0, -1.0), rng.standard_normal((18, 4))
    r = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    g = np.array([row / max(np.sqrt(row.sum()), 1) for row in labels])
    s = 2 * g[second] @ g.T - 1  # new × all
    p = np.linalg.inv(sums["vv_KK"] + v.T @ v + 0.5 * np.eye(4)) @ (sums["vl_KL"] + v.T @ labels[second])
    z = b @ r.T + 3 * labels[second] @ p.T + 2 * 4 * s @ np.concatenate([old_b, b])
    v = lemon.orthogonal(z, rng)
    left, _, right = np.linalg.svd(sums["bv_KK"] + b.T @ v)
    score = 2 * 4 * s @ np.concatenate([old_v, v]) + v @ (left @ right).T
    assert np.array_equal(new_b, np.where(score >= 0, 1, -1))
    for side, x in enumerate(phi):
        codes = np.concatenate([old_b, new_b])
        expected = np.linalg.solve(x.T @ x + config.xi * np.eye(x.shape[1]), x.T @ codes)
        np.testing.assert_allclose(learner.weights()[side], expected, rtol=1e-8)


def test_chunks_of_several_runs_are_those_of_one() -> None:
    """A model that goes on from another equals one that saw both chunks, bit for bit; old codes stay.

    A label that only the second chunk has is new to the second model.
    """
    items = shallow.pairs(80)
    image, text, labels = shallow.matrices(items)
    labels = np.hstack([labels, np.arange(80)[:, None] >= 70])
    whole = methods.load("lemon")(Config(bits=8, chunks=2), inputs(items, labels.shape[1]), nn.Identity())
    codes = whole.solve(image, text, labels, 0)
    first = methods.load("lemon")(Config(bits=8), inputs(items, labels.shape[1] - 1), nn.Identity())
    old = first.solve(image[:40], text[:40], labels[:40, :-1], 0)
    second = methods.load("lemon")(Config(bits=8), inputs(items, labels.shape[1]), nn.Identity())
    second.go_on_from(first)
    new = second.solve(image[40:], text[40:], labels[40:], 0)
    assert np.array_equal(np.concatenate([old, new]), codes)
    for name, expected in whole.state_dict().items():
        assert torch.equal(second.state_dict()[name], expected), name


def test_a_model_of_other_features_is_not_gone_on_from() -> None:
    """Before anything is learnt, with what differs."""
    items = shallow.pairs(80)
    before = shallow.build("lemon", items, bits=8, bases=30)
    with pytest.raises(ValueError, match=r"has a image.bases_MF of \(30, .*, and \(500, "):
        shallow.build("lemon", items, bits=8).go_on_from(before)


def inputs(items: Items, labels: int) -> Inputs:
    return Inputs(image_channels=items.image_channels, text_dim=items.text.shape[1], labels=labels)


def test_more_chunks_than_pairs_of_items_are_fewer() -> None:
    """Each chunk has two items at least."""
    items = shallow.pairs(20)
    method = shallow.build("lemon", items, bits=8, chunks=50)
    codes_NK = solver.fit(method, items, seed=0)
    assert codes_NK.shape == (20, 8)


@pytest.mark.parametrize(
    ("settings", "kind", "measured"),
    [
        ({"bits": 16}, "per modality", (0.260, 0.329)),
        ({"bits": 32}, "per modality", (0.283, 0.352)),
        ({"bits": 16}, "unified", (0.342, 0.729)),
        ({"bits": 32}, "unified", (0.381, 0.735)),
        ({"bits": 32, "chunks": 5}, "per modality", (0.285, 0.351)),
        ({"bits": 32, "chunks": 5}, "unified", (0.378, 0.742)),
    ],
)
def test_wiki(settings: dict[str, int], kind: str, measured: tuple[float, float]) -> None:
    """Within .03 of the mean of another implementation over three seeds, also in chunks."""
    np.testing.assert_allclose(shallow.wiki_maps("lemon", **settings)[kind], measured, atol=0.03)
