"""GSPH's factors against the N × N problem they avoid, and on Wiki."""

import numpy as np
import pytest

from cmh.hashing.projections import unit_rows
from cmh.methods import gsph
from tests.cmh.methods import shallow

RNG = np.random.default_rng(0)
UNIT = unit_rows((RNG.random((15, 4)) < 0.5).astype(float))


def test_residual_is_that_of_the_full_matrix() -> None:
    """‖K S - A Bᵀ‖² with S at full size."""
    a, b = RNG.uniform(-1, 1, size=(2, 15, 3))
    full = ((3 * UNIT @ UNIT.T - a @ b.T) ** 2).sum()
    assert gsph.residual(a, b, UNIT) == pytest.approx(full)


def test_columns_are_the_clipped_least_squares_solutions() -> None:
    """A column by column against R b / bᵀb with R formed: the update as printed."""
    a, b = RNG.uniform(-1, 1, size=(2, 15, 3))
    expected = a.copy()
    for k in range(3):
        others = [j for j in range(3) if j != k]
        r = 3 * UNIT @ UNIT.T - expected[:, others] @ b[:, others].T
        expected[:, k] = np.clip(r @ b[:, k] / (b[:, k] @ b[:, k]), -1, 1)
    gsph.improve(a, b, UNIT)
    np.testing.assert_allclose(a, expected, atol=1e-12)


def test_inner_products_of_the_codes_follow_similarity() -> None:
    """Items of one class agree in more bits than items of two, in the signs of A and B."""
    unit = np.repeat(np.eye(4), 10, axis=0)
    a, b = gsph.factors(unit, gsph.Config(bits=16), seed=0)
    product = np.sign(a) @ np.sign(b).T
    same = unit @ unit.T > 0
    assert product[same].min() > product[~same].max()


def test_wiki() -> None:
    """16 bits: with 50 bases as the authors' log (.203, .573 unified), and better with the default 500."""
    few = shallow.wiki_maps("gsph", bits=16, bases=50)["unified"]
    many = shallow.wiki_maps("gsph", bits=16)["unified"]
    np.testing.assert_allclose(few, (0.23, 0.57), atol=0.05)
    assert many.image_to_text > 0.24
    assert many.text_to_image > 0.59
