"""What one step of training or encoding reads: tensors of one modality or both, on a device.

Shape suffixes: B = batch, D = text dimensions, T = words of a sequence, L = labels, C, H, W = image or stage
map.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cmh.data.ahead import ahead
from cmh.data.items import Items

Stages = tuple[Tensor, ...]
"""What an image tower reads: either one uint8 image batch (B, 3, H, W), which a trainable backbone turns
into stage maps, or the maps (B, C_s, H_s, W_s) of a frozen one, float32 (H_s = W_s = 1 where pooled)."""


class Batch(NamedTuple):
    """One worker's slice of a global batch.  A modality that the phase does not read is None."""

    index_B: Tensor  # int64, row in the training split (not in the dataset)
    image: Stages | None
    text_BD: Tensor | None  # float32 bag of words; of methods with `sequences`, int32 word numbers (B, T)
    labels_BL: Tensor  # float32 multi-hot


Reads = Literal["image", "text", "both", "labels"]


class Slice(NamedTuple):
    """What one step reads: rows of the `Items` in hand, and which modality of them."""

    rows: NDArray[np.int64]
    reads: Reads


def to_batch(items: Items, part: Slice, device: torch.device) -> Batch:
    """Return the tensors of one step on `device`; `index_B` are the rows of `part`."""
    rows = part.rows
    return Batch(
        index_B=_move(rows, device),
        image=to_stages(tuple(a[rows] for a in items.image), device)
        if part.reads in ("image", "both")
        else None,
        text_BD=to_text(items.text[rows], device) if part.reads in ("text", "both") else None,
        labels_BL=_move(items.label[rows], device).float(),
    )


def to_stages(image: tuple[NDArray[Any], ...], device: torch.device) -> Stages:
    """Return what an image tower reads, of arrays as in `Items.image`.

    That is uint8 (B, 3, H, W), or float32 stage maps.
    """
    if image[0].dtype == np.uint8:
        return (_move(image[0], device).permute(0, 3, 1, 2),)
    return tuple(_move(stage, device).float() for stage in image)


def to_text(text: NDArray[Any], device: torch.device) -> Tensor:
    """Return what a text tower reads, of an array as in `Items.text`.

    Word numbers stay as they are; all else becomes float32.
    """
    return _move(text, device) if text.dtype == np.int32 else _move(text, device).float()


def batches(items: Items, parts: Iterable[Slice], device: torch.device) -> Iterator[Batch]:
    """Yield `to_batch` of each part, in order.

    A thread prepares the next batches while the caller computes on one.
    """
    yield from ahead(lambda part: to_batch(items, part, device), parts)


def _move(array: NDArray[Any], device: torch.device) -> Tensor:
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
