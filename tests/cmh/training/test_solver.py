"""The way into methods without phases: what is handed to them, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest

from cmh.hashing.method import Inputs
from cmh.methods import cca
from cmh.networks.backbones import Frozen
from cmh.training import solver
from tests.cmh.methods import shallow


def test_the_chosen_stages_are_what_the_method_learns_from() -> None:
    """Of two stages with maps, `stages` picks; a map counts by its mean over positions."""
    items = shallow.pairs(50)
    features = items.image[0]
    noise = np.random.default_rng(0).normal(size=(50, 5, 1, 1)).astype(np.float32)
    spread = np.concatenate([features - 1, features + 1], axis=2)
    given = replace(items, image=(spread, noise))
    inputs = Inputs(image_channels=(shallow.F, 5), text_dim=shallow.D, labels=shallow.L)
    two = cca.CCA(cca.Config(stages=(0,)), inputs, Frozen((shallow.F, 5)))
    one = shallow.build("cca", items)
    solver.fit(two, given, seed=0)
    solver.fit(one, items, seed=0)
    np.testing.assert_allclose(two.text.weight_FK, one.text.weight_FK, rtol=1e-3, atol=1e-6)


def test_images_are_refused() -> None:
    """uint8 images have no features yet; the message says how to get them."""
    items = replace(shallow.pairs(4), image=(np.zeros((4, 8, 8, 3), np.uint8),))
    with pytest.raises(ValueError, match="frozen backbone"):
        solver.fit(shallow.build("cca", shallow.pairs(4)), items, seed=0)


def test_a_single_item_is_refused() -> None:
    """Nothing can be learnt from one pair."""
    items = shallow.pairs(1)
    with pytest.raises(ValueError, match="two items at least, got 1"):
        solver.fit(shallow.build("cca", items, bits=4), items, seed=0)


def test_not_a_number_is_refused_with_its_row() -> None:
    """NaN in a text is found before anything is learnt; the message names the row of the dataset."""
    items = replace(shallow.pairs(30), row=np.arange(100, 130))
    items.text[3, 2] = np.nan
    with pytest.raises(ValueError, match="text of 1 items are not finite, the first in row 103"):
        solver.fit(shallow.build("cmfh", items), items, seed=0)
