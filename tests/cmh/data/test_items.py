"""Reading items and making batches, against plain indexing of the arrays they come from."""

from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
import zarr

from cmh.data import items as module
from cmh.data.batches import Slice, batches
from cmh.data.items import Items, read_items

N, M, D, L = 50, 60, 7, 3
CPU = torch.device("cpu")


@pytest.fixture
def stored(tmp_path: Path) -> tuple[zarr.Group, zarr.Group, zarr.Group]:
    """A dataset, its images and its features in shards of 16 rows."""
    rng = np.random.default_rng(0)

    def put(group: zarr.Group, name: str, data: np.ndarray) -> None:
        rest = data.shape[1:]
        array = group.create_array(
            name, shape=data.shape, dtype=data.dtype, chunks=(4, *rest), shards=(16, *rest)
        )
        array[:] = data

    dataset, images, features = (zarr.open_group(tmp_path / name, mode="w") for name in "dif")
    put(dataset, "text", rng.integers(3, size=(N, D), dtype=np.uint8))
    put(dataset, "tokens", rng.integers(D + 1, size=(N, 4), dtype=np.int32))
    put(dataset, "label", rng.integers(2, size=(N, L), dtype=np.uint8))
    put(dataset, "image_row", rng.permutation(M)[:N])
    put(dataset, "split/train", np.arange(0, N, 2))
    put(dataset, "split/query", np.arange(1, N, 2))
    put(images, "image", rng.integers(256, size=(M, 6, 6, 3), dtype=np.uint8))
    for stage in range(1, 12):  # eleven: stage10 must come after stage9
        put(features, f"pooled/stage{stage}", rng.normal(size=(M, stage)).astype(np.float32))
        put(features, f"maps/stage{stage}", rng.normal(size=(M, stage, 2, 2)).astype(np.float16))
    return dataset, images, features


def _check_rows(items: Items, dataset: zarr.Group, rows: np.ndarray) -> np.ndarray:
    assert np.array_equal(items.row, rows)
    assert np.array_equal(items.text, dataset["text"][:][rows])
    assert np.array_equal(items.label, dataset["label"][:][rows])
    return dataset["image_row"][:][rows]


def test_reads_a_split_with_its_images(stored):
    """Rows of the split only, each with the image that image_row names."""
    dataset, images, _ = stored
    items = read_items(dataset, images, "train")
    image_row = _check_rows(items, dataset, np.arange(0, N, 2))
    assert np.array_equal(items.image[0], images["image"][:][image_row])
    assert items.image_channels == (3,)


@pytest.mark.parametrize("maps", [False, True])
def test_reads_rows_in_any_order_with_their_features(stored, maps):
    """Stages in numeric order; pooled vectors as maps of one pixel, maps in float16 as stored."""
    dataset, _, features = stored
    rows = np.array([41, 3, 17, 40])
    items = read_items(dataset, features, rows, maps=maps)
    image_row = _check_rows(items, dataset, rows)
    assert items.image_channels == tuple(range(1, 12))
    for stage, found in enumerate(items.image, 1):
        expected = features[f"{'maps' if maps else 'pooled'}/stage{stage}"][:][image_row]
        assert np.array_equal(found, expected if maps else expected[:, :, None, None])
        assert found.dtype == expected.dtype


def test_wrong_split_missing_maps_and_lack_of_memory_are_named(stored, monkeypatch):
    """Each error says what was asked, what there is and what to do."""
    dataset, images, features = stored
    with pytest.raises(ValueError, match="split 'test' unknown; this dataset has: query, train"):
        read_items(dataset, images, "test")
    del features["maps"]
    with pytest.raises(ValueError, match="the features hold no maps; they hold: pooled"):
        read_items(dataset, features, "train", maps=True)
    monkeypatch.setattr(module, "SPARE", 2000 / psutil.virtual_memory().available)
    with pytest.raises(ValueError, match=r"25 items need 0.0 GiB and .* are free; use pooled features"):
        read_items(dataset, images, "train")


def test_batches_hold_what_is_read_in_the_order_asked(stored):
    """uint8 (B, 3, H, W) images or float32 maps; None for what is not read; float32 text."""
    dataset, images, features = stored
    rows = [np.array([4, 0, 9]), np.array([7]), np.array([1, 2]), np.array([3, 5]), np.array([6, 8])]
    sides = ["image", "text", "both", "image", "labels"]
    for source in (images, features):
        items = read_items(dataset, source, "train", maps=source is features)
        found = list(batches(items, map(Slice, rows, sides), CPU))
        assert [batch.index_B.tolist() for batch in found] == [part.tolist() for part in rows]
        assert [batch.image is None for batch in found] == [False, True, False, False, True]
        assert [batch.text_BD is None for batch in found] == [True, False, False, True, True]
        assert np.array_equal(found[4].labels_BL.numpy(), items.label[rows[4]])
        assert found[1].text_BD.dtype == found[1].labels_BL.dtype == torch.float32
        assert np.array_equal(found[1].text_BD.numpy(), items.text[[7]])
        assert np.array_equal(found[0].labels_BL.numpy(), items.label[rows[0]])
        expected = items.image[0][rows[0]]
        expected = expected.transpose(0, 3, 1, 2) if source is images else expected.astype(np.float32)
        assert np.array_equal(found[0].image[0].numpy(), expected)
        assert found[0].image[0].dtype == (torch.uint8 if source is images else torch.float32)


def test_sequences_take_the_place_of_the_bag_of_words(stored):
    """The rows of `tokens`, integers in the batch too; a dataset without them gives bags of words only."""
    dataset, images, _ = stored
    items = read_items(dataset, images, "train", sequences=True)
    assert np.array_equal(items.text, dataset["tokens"][:][::2])
    (batch,) = batches(items, [Slice(np.array([5, 2]), "text")], CPU)
    assert batch.text_BD.dtype == torch.int32
    assert np.array_equal(batch.text_BD.numpy(), items.text[[5, 2]])
    del dataset["tokens"]
    _check_rows(read_items(dataset, images, "train"), dataset, np.arange(0, N, 2))
    with pytest.raises(ValueError, match=r"the dataset holds no sequences of words.*preprocess it again"):
        read_items(dataset, images, "train", sequences=True)


def test_every_takes_rows_without_copying(stored):
    """items.every(3, 1) is rows 1, 4, 7, ... of each array, as views."""
    items = read_items(stored[0], stored[1], "train")
    part = items.every(3, 1)
    assert np.array_equal(part.row, items.row[1::3])
    assert np.shares_memory(part.image[0], items.image[0])
    assert len(part) == 8
