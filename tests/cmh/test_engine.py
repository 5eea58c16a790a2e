"""Orders, conditions and columns of a search, against slow loops over all items."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from cmh.codes import embeddings, hamming
from cmh.codes.captions import Captions
from cmh.codes.embeddings import Embeddings
from cmh.codes.search import Index
from cmh.engine import CANDIDATES, Engine

BITS, ITEMS = 16, 900
RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(ITEMS, BITS)).astype(np.float32)
QUERY = RNG.normal(size=BITS).astype(np.float32)
YEARS = RNG.integers(1990, 2025, ITEMS)


def engine(kind: embeddings.Kind = "float16", parts: int = 3, columns: pa.Table | None = None) -> Engine:
    model: Any = SimpleNamespace(pack=lambda u: hamming.pack(u >= 0), bits=BITS)
    kept = embeddings.shrink(IMAGES, kind)
    return Engine(
        model,
        Index(hamming.pack(IMAGES >= 0), BITS),
        "image",
        lambda row: (f"{row}.jpg", ""),
        lambda row: np.zeros((8, 8, 3), np.uint8),
        None if kept is None else Embeddings(np.array_split(kept, parts)),
        columns,
    )


def cosines(u_NK: np.ndarray, bits: int = BITS) -> np.ndarray:
    u_NK, query = u_NK[:, :bits].astype(np.float64), QUERY[:bits].astype(np.float64)
    return u_NK @ query / np.linalg.norm(u_NK, axis=1) / np.linalg.norm(query)


@pytest.mark.parametrize("bits", [None, 11])
def test_candidates_by_distance_are_ordered_by_cosine(bits: int | None) -> None:
    """The best of the CANDIDATES nearest items, ties by row; cosines and distances are those of the items."""
    hits = engine().for_relaxed(QUERY, 20, bits)
    length = bits or BITS
    distance_N = np.sum((IMAGES[:, :length] >= 0) != (QUERY[:length] >= 0), axis=1)
    near = sorted(range(ITEMS), key=lambda row: (distance_N[row], row))[:CANDIDATES]
    kept = embeddings.shrink(IMAGES, "float16")
    assert kept is not None
    cosine_N = cosines(kept, length)
    expected = sorted(near, key=lambda row: (-cosine_N[row], row))[:20]
    assert [hit.row for hit in hits] == expected
    assert [hit.rank for hit in hits] == list(range(1, 21))
    assert [hit.distance for hit in hits] == distance_N[expected].tolist()
    np.testing.assert_allclose([hit.similarity for hit in hits], cosine_N[expected], atol=1e-4)


def test_a_longer_list_begins_with_the_shorter_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also beyond the candidates, so that pages fit together; in the end every item is there once."""
    monkeypatch.setattr("cmh.engine.CANDIDATES", 10)
    whole = engine().nearest(QUERY, ITEMS + 1).row.tolist()
    assert sorted(whole) == list(range(ITEMS))
    for top in (1, 10, 11, 40, 41, 300):
        assert engine().nearest(QUERY, top).row.tolist() == whole[:top]


def test_int8_gives_nearly_the_cosines_of_the_numbers() -> None:
    """Whatever the lengths of the vectors; an item of zeros is no division by zero."""
    scaled = IMAGES * np.geomspace(1e-3, 1e3, ITEMS, dtype=np.float32)[:, None]
    scaled[7] = 0
    kept = embeddings.shrink(scaled, "int8")
    assert kept is not None
    assert (kept.dtype, kept[7].any()) == (np.int8, False)
    rows, found = Embeddings([kept]).nearest(QUERY, np.arange(ITEMS))
    there = rows != 7
    np.testing.assert_allclose(found[there], cosines(IMAGES)[rows[there]], atol=0.01)
    assert found[~there] == 0


def test_a_weighted_order_counts_bits_by_the_query() -> None:
    """All items by the sum of |u| over the bits that differ; of the first bits, those alone."""
    for bits in (BITS, 5):
        differs = (IMAGES[:, :bits] >= 0) != (QUERY[:bits] >= 0)
        weighted = differs @ np.abs(QUERY[:bits]).astype(np.float64)
        hits = engine("none").for_relaxed(QUERY, 30, bits)
        assert [hit.row for hit in hits] == sorted(range(ITEMS), key=lambda r: (weighted[r], r))[:30]
        assert [hit.distance for hit in hits] == differs.sum(1)[[hit.row for hit in hits]].tolist()
        assert hits[0].similarity is None
        assert "similarity" not in hits[0].shown()


def test_orders_that_are_there() -> None:
    """Embeddings are the default where they are kept, and refused where they are not."""
    assert engine().orders == ("embeddings", "weighted", "hamming")
    assert engine("none").orders == ("weighted", "hamming")
    with pytest.raises(ValueError, match="choose one of weighted, hamming; this collection keeps no embedd"):
        engine("none").for_relaxed(QUERY, order="embeddings")
    plain = engine().for_relaxed(QUERY, ITEMS + 5, order="hamming")
    assert [hit.row for hit in plain] == sorted(range(ITEMS), key=lambda r: (plain_distance(r), r))


@pytest.mark.parametrize("order", ["embeddings", "weighted", "hamming"])
@pytest.mark.parametrize(("top", "bits"), [(0, None), (-1, None), (3, 0), (3, BITS + 1)])
def test_numbers_of_items_and_bits_that_cannot_be_are_refused(order: Any, top: int, bits: int | None) -> None:
    """In every order, also where no item fulfils the condition."""
    for where in (None, "year < 0"):
        with pytest.raises(ValueError, match=f"1 to {BITS} bits; {top} items by"):
            engine(columns=pa.table({"year": YEARS})).nearest(QUERY, top, bits, order=order, where=where)


def test_words_for_an_image_have_the_order_of_items() -> None:
    """By cosine unless another order is asked for, whatever the items keep."""
    words = tuple(f"word{number}" for number in range(40))
    searched = engine("none")
    searched.model.vocabulary = words
    searched.model.relax_vocabulary = lambda: IMAGES[:40]
    searched.model.relax_images = lambda images: QUERY[None]
    cosine_N, distance_N = cosines(IMAGES[:40]), [plain_distance(row) for row in range(40)]
    drawing = np.zeros((8, 8, 3), np.uint8)
    hits = searched.words_for(drawing, 5)
    nearest = sorted(range(40), key=lambda row: -cosine_N[row])[:5]
    assert [(hit.what, hit.id, hit.text, hit.row) for hit in hits] == [
        ("word", words[row], "", None) for row in nearest
    ]
    np.testing.assert_allclose([hit.similarity for hit in hits], cosine_N[nearest], atol=1e-4)
    assert [hit.distance for hit in hits] == [distance_N[row] for row in nearest]
    by_bits = searched.words_for(drawing, 40, order="hamming")
    assert [hit.id for hit in by_bits] == [
        words[r] for r in sorted(range(40), key=lambda r: (distance_N[r], r))
    ]


def plain_distance(row: int) -> int:
    return int(np.sum((IMAGES[row] >= 0) != (QUERY >= 0)))


@pytest.mark.parametrize("order", ["embeddings", "weighted", "hamming"])
def test_conditions_are_evaluated_before_the_search(order: Any) -> None:
    """As many hits as fulfil it, the best of them, with their columns; none is an empty list."""
    searched = engine(columns=pa.table({"year": YEARS}))
    allowed = np.flatnonzero(YEARS >= 2022)
    hits = searched.for_relaxed(QUERY, 500, order=order, where="year >= 2022")
    assert sorted(hit.row for hit in hits if hit.row is not None) == allowed.tolist()
    assert all(hit.columns == {"year": YEARS[hit.row]} for hit in hits)
    assert hits[0].shown()["year"] >= 2022
    few = searched.for_relaxed(QUERY, 3, order=order, where="year >= 2022")
    assert [hit.row for hit in few] == [hit.row for hit in hits[:3]]
    assert searched.for_relaxed(QUERY, where="year < 0") == []
    with pytest.raises(ValueError, match="the items have no columns"):
        engine().for_relaxed(QUERY, where="year > 0")


def test_more_like_an_item() -> None:
    """An item's own embedding, or its code, finds it first."""
    for kind in ("int8", "none"):
        searched = engine(kind)  # type: ignore[arg-type]
        for row in (0, 299, 300, 899):
            assert searched.for_relaxed(searched.relaxed(row), 3)[0].row == row


def test_damaged_embeddings_are_refused(tmp_path: Any) -> None:
    """A file of another size or type, or none at all."""
    np.save(tmp_path / "e.npy", np.zeros((4, 16), np.int8))
    assert embeddings.load(tmp_path / "e.npy", "int8", 4, 16).shape == (4, 16)
    for kind, items in (("int8", 5), ("float16", 4)):
        with pytest.raises(ValueError, match="is damaged: it holds"):
            embeddings.load(tmp_path / "e.npy", kind, items, 16)  # type: ignore[arg-type]
    (tmp_path / "e.npy").write_bytes(b"\x93NUMPY\x01\x00\x05\x00{'a'")
    with pytest.raises(ValueError, match="is damaged"):
        embeddings.load(tmp_path / "e.npy", "int8", 4, 16)


def test_words_for_an_image_are_those_of_the_nearest_captions() -> None:
    """Where there are captions the vocabulary is not asked."""
    texts = [f"word{row}" for row in range(40)]
    captions = Captions(Index(hamming.pack(IMAGES[:40] >= 0), BITS), texts)
    searched = replace(engine("none"), captions=captions)
    searched.model.encode_images = lambda images: hamming.pack(QUERY[None] >= 0)
    hits = searched.words_for(np.zeros((8, 8, 3), np.uint8), 3)
    nearest = sorted(range(40), key=lambda row: (plain_distance(row), texts[row]))[:3]
    assert [(hit.what, hit.rank, hit.id, hit.distance) for hit in hits] == [
        ("word", rank, texts[row], plain_distance(row)) for rank, row in enumerate(nearest, 1)
    ]
