"""Train a method without phases: it learns its hash functions from all training items at once.

The counterpart of `cmh.training.trainer` for methods that implement `solve`.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from cmh.data.batches import to_stages
from cmh.data.items import Items
from cmh.data.sides import Side
from cmh.hashing import projections
from cmh.hashing.encoding import relaxed_codes
from cmh.hashing.method import Method
from cmh.training.failures import CollapsedCodes


def fit(method: Method, train: Items, seed: int) -> NDArray[np.int8] | None:
    """Train the method in place, in float64 on the CPU.

    Args:
        method: a method without phases; its hash functions are stored in its buffers.
        train: the training items, with image features.
        seed: seed of all random numbers.

    Returns:
        The unified codes {-1, +1} of the training items, int8 (n, K), where the method learns any; otherwise
        None.

    Raises:
        ValueError: images in place of features, fewer than two items, or NaN or infinity in the features.
        CollapsedCodes: the hash functions give all training items the same code.
    """
    if train.image[0].dtype == np.uint8:
        raise ValueError(
            f"{type(method).__name__} learns from image features, got images; "
            "compute features with a frozen backbone first"
        )
    if len(train) < 2:
        raise ValueError(f"{type(method).__name__} learns from two items at least, got {len(train)}")
    maps = to_stages(train.image, torch.device("cpu"))
    image_NF = projections.pooled(maps, method.stages).numpy()
    text_ND = train.text.astype(np.float64)
    for side, x in (("image features", image_NF), ("text", text_ND)):
        bad_rows = np.flatnonzero(~np.isfinite(x).all(axis=1))
        if len(bad_rows):
            raise ValueError(
                f"{side} of {len(bad_rows)} items are not finite, the first in row {train.row[bad_rows[0]]} "
                "of the dataset; leave these items out, or look for where the numbers come from"
            )
    unified_NK = method.solve(image_NF, text_ND, train.label > 0, seed)
    sides: tuple[Side, ...] = ("image", "text")
    for side in sides:
        bits_NK = relaxed_codes(method, train, side) >= 0
        if (bits_NK == bits_NK[0]).all():
            raise CollapsedCodes(
                f"all {len(train)} training items have the same {side} code; do their features differ, "
                f"and do the settings of {type(method).__name__} suit them?"
            )
    return unified_NK
