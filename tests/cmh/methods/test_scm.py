"""SCM against its published figures to the fourth digit, its algorithm against a slow form that builds S."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import linalg

from cmh.hashing.projections import Matrix, signs
from cmh.methods import scm
from tests.cmh.methods import shallow
from tests.cmh.methods.shallow import Maps

# Zhang and Li, as the SePH paper (CVPR 2015, Wiki) tabulates it: MAP of all ranks, ties in database order.
PUBLISHED = {16: (0.2210, 0.2134), 32: (0.2337, 0.2366), 64: (0.2442, 0.2479), 128: (0.2596, 0.2573)}


@pytest.mark.parametrize("bits", PUBLISHED)
def test_published_figures_on_wiki(bits: int) -> None:
    """All digits that are printed, both directions."""
    maps = shallow.wiki_maps("scm", bits=bits)["per modality"]
    assert tuple(round(value, 4) for value in maps) == PUBLISHED[bits]


@pytest.mark.parametrize(("bits", "measured"), [(16, (0.1535, 0.1538)), (64, (0.1378, 0.1292))])
def test_orthogonal_solver_on_wiki(bits: int, measured: Maps) -> None:
    """Within .01 of another implementation's: text has ten dimensions, so most bits are rounding noise."""
    maps = shallow.wiki_maps("scm", bits=bits, solver="orth")["per modality"]
    np.testing.assert_allclose(maps, measured, atol=0.01)


def slow_sequential(x: Matrix, y: Matrix, s: Matrix, bits: int, ridge: float) -> tuple[Matrix, Matrix]:
    """Algorithm 1 as printed: S at full size, a full eigenproblem per bit."""
    cxx, cyy = x.T @ x + ridge * np.eye(x.shape[1]), y.T @ y + ridge * np.eye(y.shape[1])
    cxy = bits * x.T @ s @ y
    columns = []
    for _ in range(bits):
        _, vectors = linalg.eigh(cxy @ np.linalg.solve(cyy, cxy.T), cxx)
        wx = vectors[:, -1]
        wy = np.linalg.solve(cyy, cxy.T @ wx)
        columns.append((wx, wy))
        cxy = cxy - np.outer(x.T @ np.sign(x @ wx), y.T @ np.sign(y @ wy))
    wx, wy = (np.array(side).T for side in zip(*columns, strict=True))
    return wx, wy


def test_fast_form_gives_the_codes_of_the_slow_one() -> None:
    """Products of both modalities' bits (an eigenvector's sign is free) are equal item by item."""
    image, text, labels = shallow.matrices(shallow.pairs(60))
    labels[:, 0] |= labels[:, 1]
    labels[5] = False
    x, y = image - image.mean(0), text - text.mean(0)
    unit = labels / np.maximum(np.sqrt(labels.sum(1, keepdims=True)), 1)
    s = 2 * unit @ unit.T - 1
    wanted = scm.semantic_correlation(x, y, labels)
    np.testing.assert_allclose(wanted, x.T @ s @ y, atol=1e-9)
    fast = scm.sequential(x, y, wanted, scm.Config(bits=8))
    slow = slow_sequential(x, y, s, 8, 1e-6)
    for k in range(8):
        codes = [np.outer(signs(x @ wx[:, k]), signs(y @ wy[:, k])) for wx, wy in (fast, slow)]
        assert np.array_equal(*codes)


def test_the_authors_stop_takes_the_rest_from_cca() -> None:
    """Where a bit agrees better than the one before it: same bits up to there, CCA's reversed from there."""
    image, text, labels = shallow.matrices(shallow.wiki()[0])
    x, y = image - image.mean(0), text - text.mean(0)
    wanted = scm.semantic_correlation(x, y, labels)
    config = scm.Config(bits=16)
    going_on, _ = scm.sequential(x, y, wanted, config)
    stopped, _ = scm.sequential(x, y, wanted, replace(config, exhausted="cca"))
    same = (going_on == stopped).all(axis=0)
    assert same.tolist() == [True] * 13 + [False] * 3
    maps = shallow.wiki_maps("scm", bits=16, exhausted="cca")["per modality"]
    np.testing.assert_allclose(maps, (0.2341, 0.2257), atol=5e-4)
