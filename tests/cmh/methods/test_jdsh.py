"""JDSH against the authors' numbers and against slow loops written from the code's rules, float64."""

import math

import pytest
import torch

from cmh.methods import jdsh
from tests import synthetic
from tests.cmh.methods import pairs, vectors
from tests.cmh.methods.pairs import cosine


def test_the_authors_numbers() -> None:
    """S and loss on the shared vector, with the constants for MIRFlickr."""
    method = vectors.build("jdsh", hidden=4, statistics="mirflickr")
    at = jdsh.PUBLISHED["mirflickr"]
    s_BB = method.joint(*method.affinities(method.features(vectors.batch())))
    s_BB = 1.4 * jdsh.stretched(s_BB, at, 2, 4, 0.1, 0.2)
    assert s_BB[0].tolist() == pytest.approx([1.755094, 1.225879, 1.607864, 1.366956], abs=1e-6)
    terms = method.loss("pairs", vectors.CODES, vectors.batch(), vectors.memory())
    assert vectors.total(terms) == pytest.approx(5.57169150, abs=1e-6)


def test_terms_equal_the_loops() -> None:
    """Both rules, and pairs between them, occur."""
    method, items = pairs.build("jdsh", hidden=8, rho=0.3, mu=1.1), pairs.batch()
    at = jdsh.Statistics(-0.3, 0.05, 0.05, -0.8, 1.0)
    method.statistics_5.copy_(torch.tensor(at, dtype=torch.float64))
    u_BK, v_BK = method.codes("pairs", items, codes := pairs.memory())
    terms = method("pairs", items, codes)
    rows = range(pairs.B)
    x_BF, y_BD = items.image[-1].mean((2, 3)), items.text_BD
    image, text = ([[2 * cosine(z[i], z[j]) - 1 for j in rows] for i in rows] for z in (x_BF, y_BD))

    def row_cosine(a: list[float], b: list[float]) -> float:
        return sum(p * q for p, q in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)

    expected, ruled = dict.fromkeys(("between", "images", "texts"), 0.0), set()
    for i in rows:
        for j in rows:
            both = (row_cosine(image[i], text[j]) + row_cosine(image[j], text[i])) / 2
            s = 0.5 * image[i][j] + 0.1 * text[i][j] + 0.4 * both
            ruled.add((s < -0.4) - (s > -0.1))
            if s < -0.4:
                s *= 1 + 0.1 * math.exp(-(s + 0.8))
            elif s > -0.1:
                s *= 1 + 0.2 * math.exp(s - 1)
            between = (cosine(u_BK[i], v_BK[j]) - 1.1 * s) ** 2 + (cosine(v_BK[i], u_BK[j]) - 1.1 * s) ** 2
            expected["between"] += between / pairs.B**2
            expected["images"] += 0.3 * (cosine(u_BK[i], u_BK[j]) - 1.1 * s) ** 2 / pairs.B**2
            expected["texts"] += 0.3 * (cosine(v_BK[i], v_BK[j]) - 1.1 * s) ** 2 / pairs.B**2
    expected["paired"] = -sum(cosine(u_BK[i], v_BK[i]) for i in rows) / pairs.B
    assert ruled == {-1, 0, 1}
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-10)


def test_statistics_are_those_of_the_training_set() -> None:
    """Before the first epoch only, once for all workers; the published constants stay."""
    items = synthetic.linear(60, 0, labels=3, image=5, text=6)
    method, given = vectors.build("jdsh", hidden=4), vectors.build("jdsh", hidden=4, statistics="nuswide")
    for built in (method, given):
        built.float().begin_epoch(0, items, vectors.memory())
    assert method.statistics_5.tolist() != list(jdsh.PUBLISHED["mirflickr"])
    assert given.statistics_5.tolist() == pytest.approx(jdsh.PUBLISHED["nuswide"])
    kept = method.statistics_5.clone()
    method.begin_epoch(1, synthetic.linear(60, 1, labels=3, image=5, text=6), vectors.memory())
    assert torch.equal(method.statistics_5, kept)


def test_mode_and_spreads_of_a_skewed_distribution() -> None:
    """Two half normals with spreads of 1 and 2 meet in the mode."""
    torch.manual_seed(0)
    left, right = -torch.randn(100_000).abs() * 0.1, torch.randn(200_000).abs() * 0.2
    found = jdsh.measure(torch.cat([left, right]) - 0.4)
    assert found.mode == pytest.approx(-0.4, abs=0.05)
    assert (found.left, found.right) == pytest.approx((0.1, 0.2), abs=0.03)
    assert found.low < -0.7
    assert jdsh.measure(torch.full((5,), 0.25)) == (0.25, 0, 0, 0.25, 0.25)
