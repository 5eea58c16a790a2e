"""Items of a dataset in memory, and batches of them on a device.

Only the rows that are asked for are read: a training run never touches the queries.

Shape suffixes: n = items read, B = batch, D = text dimensions, T = words of a sequence, L = labels,
C, H, W = image or stage map.
"""

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import psutil
import zarr
from numpy.typing import NDArray

from cmh.data.images import resize

SPARE = 0.8  # of the free memory that items may fill; the rest is for the network


@dataclass(frozen=True)
class Items:
    """Items of a dataset, row by row."""

    image: tuple[NDArray[Any], ...]  # one uint8 (n, H, W, 3), or one float (n, C, H, W) per stage
    text: NDArray[Any]  # (n, D) bag of words, uint8; or text features, float32; or (n, T) words, int32
    label: NDArray[np.uint8]  # (n, L) multi-hot
    row: NDArray[np.int64]  # (n,) row of the item in the dataset
    group: NDArray[np.int64] | None = None  # (n,) number of the item's group; None: each has its own
    image_row: NDArray[np.int64] | None = None  # (n,) number of its image; None: each has its own

    def __len__(self) -> int:
        return len(self.row)

    def every(self, step: int, start: int = 0) -> "Items":
        """Return rows start, start + step, ...; nothing is copied."""
        return self._part(slice(start, None, step))

    def take(self, rows: NDArray[np.int64]) -> "Items":
        """Return a copy of these rows."""
        return self._part(rows)

    @property
    def groups(self) -> NDArray[np.int64]:
        """The number of each item's group, int64 (n,)."""
        return self.row if self.group is None else self.group

    @property
    def images(self) -> NDArray[np.int64]:
        """The number of each item's image, int64 (n,): several items may share one."""
        return self.row if self.image_row is None else self.image_row

    def _part(self, rows: slice | NDArray[np.int64]) -> "Items":
        return Items(
            tuple(a[rows] for a in self.image), self.text[rows], self.label[rows], self.row[rows],
            self.groups[rows], self.images[rows],
        )  # fmt: skip

    @property
    def image_channels(self) -> tuple[int, ...]:
        """Channels of each image array: (3,) for images, one per stage for features."""
        if self.image[0].dtype == np.uint8:
            return (self.image[0].shape[-1],)
        return tuple(stage.shape[1] for stage in self.image)


def read_items(
    dataset: zarr.Group,
    images: zarr.Group,
    rows: str | NDArray[np.int64],
    *,
    maps: bool = False,
    sequences: bool = False,
    image_size: int | None = None,
    labels: str = "label",
) -> Items:
    """Read rows of `dataset` together with their images, or with the features of a frozen backbone.

    images: the group of an images artifact (`image`) or of a features artifact (`pooled/stage1`, ...).
    rows: the name of a split (`train`, ...), or rows of the dataset.
    maps: of features, the stage maps (`maps/stage1`, ...; float16, as stored) in place of the pooled vectors.
    sequences: the words in their order (`tokens`) in place of the bag of words.
    image_size: of images, the side in pixels that the network reads; None: as stored.
    labels: the array that holds them.

    Raises:
        ValueError: no such split, no maps in the features, no sequences in the dataset, or more data than
            fits into free memory.
    """
    row_n = _split(dataset, rows) if isinstance(rows, str) else rows
    sources = _image_arrays(images, maps)
    text = _text_array(dataset, sequences)
    label = array(dataset, labels)
    _check_memory([*sources, text, label], len(row_n))
    image_row_n = _take(array(dataset, "image_row"), row_n)
    loaded = tuple(_take(source, image_row_n) for source in sources)
    if image_size is not None and loaded[0].dtype == np.uint8:
        loaded = (np.stack([resize(image, image_size) for image in loaded[0]]),)
    return Items(
        image=tuple(a[:, :, None, None] if a.ndim == 2 else a for a in loaded),
        text=_take(text, row_n),
        label=_take(label, row_n),
        row=row_n,
        group=_take(array(dataset, "group"), row_n) if "group" in dataset else image_row_n,
        image_row=image_row_n,
    )


def array(group: zarr.Group, name: str) -> Any:
    """Return an array of the group, as Any: zarr types an item as array, group or scalar."""
    return group[name]


def _split(dataset: zarr.Group, name: str) -> NDArray[np.int64]:
    splits = sorted(array(dataset, "split").keys())
    if name not in splits:
        raise ValueError(f"split {name!r} unknown; this dataset has: {', '.join(splits)}")
    rows: NDArray[np.int64] = array(dataset, f"split/{name}")[:]
    return rows


def _image_arrays(images: zarr.Group, maps: bool) -> list[Any]:
    """Return the arrays that make up one image: itself, or the stages of its features in order."""
    if "image" in images:
        return [array(images, "image")]
    kind = "maps" if maps else "pooled"
    if kind not in images:
        raise ValueError(f"the features hold no {kind}; they hold: {', '.join(sorted(images.keys()))}")
    stages = len(list(array(images, kind).keys()))
    return [array(images, f"{kind}/stage{number}") for number in range(1, stages + 1)]


def _text_array(dataset: zarr.Group, sequences: bool) -> Any:
    """Return the bag of words or features, or the words in their order."""
    if sequences and "tokens" not in dataset:
        raise ValueError(
            "the dataset holds no sequences of words, which this method reads; preprocess it again, or "
            "choose a method that reads bags of words"
        )
    return array(dataset, "tokens" if sequences else "text")


def _take(array: Any, rows: NDArray[np.int64]) -> NDArray[Any]:
    """Return rows in any order, read shard by shard: each shard that holds a wanted row is decoded once."""
    step = (array.shards or array.chunks)[0]
    taken = np.empty((len(rows), *array.shape[1:]), array.dtype)
    shard = rows // step
    for number in np.unique(shard):
        here = shard == number
        start = int(number) * step
        taken[here] = array[start : start + step][rows[here] - start]
    return taken


def _check_memory(arrays: list[Any], items: int) -> None:
    needed = sum(items * prod(a.shape[1:]) * a.dtype.itemsize for a in arrays)
    free = psutil.virtual_memory().available
    if needed > SPARE * free:
        raise ValueError(
            f"{items} items need {needed / 2**30:.1f} GiB and {free / 2**30:.1f} GiB of memory are free; "
            "use pooled features in place of maps or images, smaller images, or a machine with more memory"
        )
