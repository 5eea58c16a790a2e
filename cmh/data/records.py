"""What readers give: records of images and texts, or a table of features that the dataset brings.

Shape suffixes: N = items, F = image features, D = text features, L = labels.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

REVISION = 1  # raise it when datasets that bring features come out otherwise: readers, published splits
_LISTED = 3  # bad items named in an error


@dataclass(frozen=True)
class FeatureTable:
    """All items, in the publisher's order.

    Raises:
        ValueError: lengths that differ, numbers that are not finite, items without labels, an id twice.
    """

    id: tuple[str, ...]
    image: NDArray[np.float32]  # (N, F)
    text: NDArray[np.float32]  # (N, D)
    label: NDArray[np.uint8]  # (N, L) multi-hot
    labels: tuple[str, ...]  # names of the L labels
    query: NDArray[np.bool_]  # (N,) the publisher's test items

    def __post_init__(self) -> None:
        lengths = {name: len(getattr(self, name)) for name in ("id", "image", "text", "label", "query")}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"the items do not match: {', '.join(f'{v} {k}' for k, v in lengths.items())}")
        if self.label.shape[1] != len(self.labels):
            raise ValueError(f"{self.label.shape[1]} columns of labels have {len(self.labels)} names")
        if len(set(self.id)) != len(self.id):
            raise ValueError("the ids of two items are the same; each item needs its own")
        for what, good_N in (
            ("image features that are not finite", np.isfinite(self.image).all(axis=1)),
            ("text features that are not finite", np.isfinite(self.text).all(axis=1)),
            ("no label", self.label.any(axis=1)),
        ):
            bad = np.flatnonzero(~good_N)
            if len(bad):
                named = ", ".join(self.id[row] for row in bad[:_LISTED])
                raise ValueError(f"{len(bad)} items have {what}, such as {named}; mend or remove them")
        if self.query.all() or not self.query.any():
            raise ValueError("the publisher's split has no queries, or no others; look at the source files")


@dataclass(frozen=True)
class Record:
    """One image–text pair as its publisher has it.

    `group`: records of one group never come on different sides of a split.
    `traits`: what label rules look at, e.g. {"subgroups": ("food-fruit",), "tags": ("red", "sweet")}; labels
    that the publisher gives are the trait "labels".
    `image`: gives the encoded bytes; may raise OSError or ValueError, which rejects this record only.
    """

    id: str
    source: str
    group: str
    text: str
    media_type: str
    image: Callable[[], bytes] = field(repr=False)
    traits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
