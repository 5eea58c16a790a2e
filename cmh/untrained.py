"""A model without training: two networks that share a space, and codes by ITQ of one's own images.

    model = untrained.learn("clip_vit_b32", backbone, text_network, image_NF, bits=64)

The codes are learnt from images alone (`cmh.methods.itq`).  Images and texts of CLIP lie in separate regions
of their space, so a text is centred by a mean of texts: of captions of such images, or, where there are none,
of `NEUTRAL`, a few plain sentences.  `docs/collections.md` says what other means give.

Shape suffixes: N = images, F = features, M = neutral texts.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from cmh import model as models
from cmh.hashing.method import Method
from cmh.methods.itq import ITQ
from cmh.model import Model
from cmh.networks import clip
from cmh.networks.backbones import Backbone
from cmh.networks.frozen_text import TextEncoder

PAIRS: Mapping[str, int] = {"clip_vit_b32": clip.SIZE}
"""Names that an image and a text network share because they share a space → side of the images in pixels."""

_THINGS = (
    "a dog", "a cat", "a horse", "a bird", "a flower", "a tree", "a forest", "a mountain", "the sea",
    "a beach", "a river", "the sky", "a street", "a city at night", "a house", "a church", "a bridge",
    "a room", "a kitchen", "a meal", "fruit", "a cup of coffee", "a birthday cake", "a baby",
    "a child playing", "a woman", "a man", "an old couple", "a family", "friends laughing", "a crowd",
    "a wedding", "a concert", "a football match", "someone running", "someone reading", "a bicycle",
    "a car", "a train", "a ship", "an aeroplane", "a machine", "a computer", "a book", "a painting",
    "a drawing", "a map", "a sign with words", "clothes", "shoes", "snow", "rain", "a fire", "a garden",
    "a field", "a cow", "a fish", "an insect", "a toy", "a guitar", "something red", "something blue",
    "a black and white photo", "an empty place",
)  # fmt: skip
NEUTRAL: tuple[str, ...] = (*(f"a photo of {thing}" for thing in _THINGS), *_THINGS)
"""Texts of many kinds, of which only the mean counts."""

ENOUGH = 32  # captions whose mean is better than that of `NEUTRAL`


def check(name: str, bits: int) -> None:
    """Refuse what no model can be learnt of, before anything is fetched.

    Raises:
        ValueError: an unknown name, or a length that codes cannot have.
    """
    if name not in PAIRS:
        raise ValueError(f"no pair of networks is called {name!r}; available: {', '.join(PAIRS)}")
    if not 8 <= bits <= 512 or bits % 8:
        raise ValueError(f"codes learnt from a collection have 8 to 512 bits, a multiple of 8, got {bits}")


def check_images(different: int, bits: int) -> None:
    """Refuse to learn codes from too few images: each bit takes a direction in which they differ.

    Raises:
        ValueError: saying what can be done.
    """
    if different <= bits:
        fewer = (different - 1) // 8 * 8
        remedy = f"or ask for --bits {fewer}" if fewer > 0 else "at least nine, for 8 bits"
        raise ValueError(
            f"codes of {bits} bits are learnt from more than {bits} different images, and {different} can be "
            f"read; add images, {remedy}"
        )


def learn(
    name: str,
    backbone: Backbone,
    text_network: TextEncoder,
    image_NF: NDArray[np.float32],
    bits: int,
    *,
    texts: Sequence[str] = (),
    seed: int = 0,
) -> Model:
    """Return a model whose codes are learnt from the embeddings of images.

    Args:
        name: one of `PAIRS`.
        backbone: its image network, in evaluation mode.
        text_network: its text network.
        image_NF: averages of the image network's last stage over positions, (N, F).
        bits: length of the codes.
        texts: captions of such images, by whose mean texts are centred; fewer than `ENOUGH` do not count, and
            `NEUTRAL` stands in for them.
        seed: seed of the first rotation.

    Raises:
        ValueError: if there are too few different images for so many bits.
    """
    check(name, bits)
    check_images(len(np.unique(image_NF, axis=0)), bits)
    neutral_MF = text_network.features(texts if len(texts) >= ENOUGH else NEUTRAL)
    settings = {"bits": bits}
    method: Method = models.build(
        "itq", settings, backbone, frozen=True, text_dim=neutral_MF.shape[1], labels=0
    )
    assert isinstance(method, ITQ)
    method.solve_from_images(image_NF.astype(np.float64), neutral_MF.astype(np.float64), seed)
    size = PAIRS[name]
    facts = models.facts(
        "itq", method, settings, name, backbone.pretrained, grid=1, stored_size=size, image_size=size,
        text_dim=neutral_MF.shape[1], labels=0, text=name,
    )  # fmt: skip
    return Model(method.eval(), backbone.eval(), facts, (), (), text_network)
