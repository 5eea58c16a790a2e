"""The two results of readers: records of images and texts, or a table of features from the publisher.

Shape suffixes: N = items, F = image features, D = text features, L = labels.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

REVISION = 2  # increase it when a change of a reader or of `splits.published` alters datasets of features
_LISTED = 3  # faulty items whose ids an error shows


@dataclass(frozen=True)
class FeatureTable:
    """Features, labels and publisher's split of all items of a dataset, in the publisher's order.

    Raises:
        ValueError: if lengths differ, features are not finite, an item has no label, an id occurs twice, or
            of a publisher's split all items or none are queries.
    """

    id: tuple[str, ...]
    image: NDArray[np.float32]  # (N, F)
    text: NDArray[np.float32]  # (N, D)
    label: NDArray[np.uint8]  # (N, L) multi-hot
    labels: tuple[str, ...]  # names of the L labels
    query: NDArray[np.bool_] | None  # (N,) True for the publisher's test items; None: the split is drawn

    def __post_init__(self) -> None:
        parts = ("id", "image", "text", "label", *(["query"] if self.query is not None else []))
        lengths = {name: len(getattr(self, name)) for name in parts}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"the items do not match: {', '.join(f'{v} {k}' for k, v in lengths.items())}")
        if self.label.shape[1] != len(self.labels):
            raise ValueError(f"{self.label.shape[1]} columns of labels have {len(self.labels)} names")
        if len(set(self.id)) != len(self.id):
            raise ValueError("the ids of two items are the same; each item needs its own")
        for fault, valid_N in (
            ("image features that are not finite", np.isfinite(self.image).all(axis=1)),
            ("text features that are not finite", np.isfinite(self.text).all(axis=1)),
            ("no label", self.label.any(axis=1)),
        ):
            rows = np.flatnonzero(~valid_N)
            if len(rows):
                examples = ", ".join(self.id[row] for row in rows[:_LISTED])
                raise ValueError(f"{len(rows)} items have {fault}, such as {examples}; mend or remove them")
        if self.query is not None and (self.query.all() or not self.query.any()):
            raise ValueError("the publisher's split has no queries, or no others; look at the source files")


@dataclass(frozen=True, slots=True)
class Record:
    """One image–text pair as published.

    Attributes:
        id: identifier of the pair, unique in the dataset.
        source: origin of the pair within the dataset, such as a vendor or a part of the publisher's files.
        group: records of one group always stay on the same side of a split.
        text: the text, not yet split into words.
        media_type: MIME type of the image, such as "image/svg+xml".
        image: function that returns the encoded bytes, which workers are sent: it can be pickled, and holds
            little; if it raises OSError or ValueError, only this record is rejected.
        traits: properties that label rules test, e.g. {"subgroups": ("food-fruit",), "tags": ("red",
            "sweet")}; the publisher's own labels are the trait "labels".
        image_id: identifier of the image, the same for all records that share it; "": the record's id.
        split: train, query, database or validation, where the source says so; "" where it does not.
    """

    id: str
    source: str
    group: str
    text: str
    media_type: str
    image: Callable[[], bytes] = field(repr=False)
    traits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    image_id: str = ""
    split: str = ""

    @property
    def image_name(self) -> str:
        """Identifier of the image."""
        return self.image_id or self.id
