"""CMSSH's thresholds and weights against loops, its pairs against labels, and on Wiki."""

import numpy as np
import pytest

from cmh.methods import cmssh
from tests.cmh.methods import shallow


def test_thresholds_are_the_best_of_the_grid() -> None:
    """Σ w s sgn(px - a) sgn(qy - b) of the pair found equals the maximum over the grid, by loops."""
    rng = np.random.default_rng(0)
    px, qy, signed = rng.normal(size=(3, 60))

    def score(a: float, b: float) -> float:
        return float((signed * np.where(px >= a, 1, -1) * np.where(qy >= b, 1, -1)).sum())

    grid = np.linspace(0, 1, 7)[1:-1]
    best = max(score(a, b) for a in np.quantile(px, grid) for b in np.quantile(qy, grid))
    assert score(*cmssh.best_thresholds(px, qy, signed, 5)) == pytest.approx(best)


def test_mistakes_weigh_as_much_as_hits_afterwards() -> None:
    """AdaBoost's mark: under the new weights the bit is no better than chance."""
    agree = np.array([1, 1, 1, -1, 1, -1], np.int8)
    weight = cmssh.reweigh(np.array([0.3, 0.1, 0.2, 0.1, 0.2, 0.1]), agree)
    assert weight.sum() == pytest.approx(1)
    assert weight @ agree == pytest.approx(0)


def test_pairs_are_what_their_sign_says_in_equal_number() -> None:
    """s = +1 exactly where a label is shared."""
    labels = np.random.default_rng(0).random((50, 5)) < 0.2
    i, j, s = cmssh.draw_pairs(labels, 200, np.random.default_rng(1))
    assert ((labels[i] & labels[j]).any(axis=1) == (s > 0)).all()
    assert (s > 0).sum() == (s < 0).sum() == 100


def test_one_class_alone_is_refused() -> None:
    """No unrelated pairs: nothing to keep apart."""
    with pytest.raises(ValueError, match="share a label"):
        cmssh.draw_pairs(np.ones((20, 1), bool), 10, np.random.default_rng(0))


def test_wiki() -> None:
    """16 bits: no worse than the figure in tables (.1877, .1630, thresholds unknown), chance is .11."""
    maps = shallow.wiki_maps("cmssh", bits=16)["per modality"]
    assert maps.image_to_text > 0.18
    assert maps.text_to_image > 0.16
