"""Nearest items against a slow loop over relaxed codes: one part, several, prefixes, orders, pages."""

from dataclasses import replace

import numpy as np
import pytest

from cmh import engine
from cmh.codes import hamming
from cmh.codes.hits import Order
from cmh.service import queries
from cmh.service.queries import Nearest, Query, Refused, UnknownItem
from cmh.service.snapshots import Snapshot, Snapshots
from tests.cmh.service.conftest import BITS, COUNT, SIZE


@pytest.fixture(scope="module")
def snapshot(snapshots: Snapshots) -> Snapshot:
    return snapshots.current


@pytest.fixture(scope="module")
def with_embeddings(described_snapshots: Snapshots) -> Snapshot:
    return described_snapshots.current


def slow(snapshot: Snapshot, parts: list[np.ndarray], bits: int, left_out: set[int]) -> list[int]:
    """Every item's row in the best order that the snapshot has, nearest first."""
    query = sum(part.astype(np.float64) / np.linalg.norm(part) for part in parts) / len(parts)
    assert isinstance(query, np.ndarray)
    found = []
    for row in range(len(snapshot)):
        if snapshot.engine.embeddings is not None:
            item = snapshot.engine.relaxed(row).astype(np.float64)[:bits]
            far = -item @ query[:bits] / np.linalg.norm(item)
        else:
            code = hamming.unpack(snapshot.engine.index.codes(slice(row, row + 1)), BITS)[0]
            differs = (code[:bits] > 0) != (query[:bits] >= 0)
            far = np.abs(query[:bits])[differs].sum()
        found += [] if row in left_out else [(round(float(far), 6), row)]
    return [row for _, row in sorted(found)]


def answered(snapshot: Snapshot, query: Query) -> Nearest:
    (result,) = queries.answer(snapshot, [query])
    assert isinstance(result, Nearest), result
    return result


@pytest.mark.parametrize("kept", ["none", "int8"])
@pytest.mark.parametrize("bits", [None, 32, 5])
@pytest.mark.parametrize("parts", ["t", "i", "l", "tt", "til", "ttill"])
def test_hits_are_those_of_a_loop_over_the_mean_direction(
    snapshot: Snapshot, with_embeddings: Snapshot, parts: str, bits: int | None, kept: str
) -> None:
    """Of any number of texts, images and items; items of the query are left out, and ties come by row."""
    searched = snapshot if kept == "none" else with_embeddings
    model, texts = searched.engine.model, ["red circle", "blue"][: parts.count("t")]
    images = [searched.engine.image(4)] * parts.count("i")
    rows = [7, 12][: parts.count("l")]
    query = Query(tuple(texts), tuple(images), tuple(searched.item(r) for r in rows), k=COUNT, bits=bits)
    relaxed = [model.relax_images([image])[0] for image in images]
    relaxed += [model.relax_texts([text])[0] for text in texts]
    relaxed += [searched.engine.relaxed(r) for r in rows]
    found = answered(searched, query)
    assert found.rows == slow(searched, relaxed, bits or BITS, set(rows))
    assert (found.similarities is None) == (kept == "none")


@pytest.mark.parametrize("order", [None, "embeddings", "weighted", "hamming"])
@pytest.mark.parametrize("where", [None, "year == 2020"])
def test_a_text_finds_what_the_search_command_finds(
    with_embeddings: Snapshot, order: Order | None, where: str | None
) -> None:
    """In every order, with a condition or without."""
    hits = with_embeddings.engine.for_words("red circle", COUNT, order=order, where=where)
    found = answered(with_embeddings, Query(("red circle",), k=COUNT, order=order, where=where))
    assert found.rows == [hit.row for hit in hits]
    assert found.distances == [hit.distance for hit in hits]
    assert found.matching == len(hits) == (COUNT if where is None else COUNT // 3)
    assert found.order == (order or "embeddings")


@pytest.mark.parametrize("candidates", [400, 4])
@pytest.mark.parametrize("order", ["embeddings", "weighted", "hamming"])
@pytest.mark.parametrize("where", [None, "year > 2020"])
def test_pages_follow_each_other_without_gap_or_repetition(
    with_embeddings: Snapshot,
    order: Order,
    where: str | None,
    candidates: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Pages of seven are the whole list, cut, also beyond the candidates; only the last has no next one."""
    monkeypatch.setattr(engine, "CANDIDATES", candidates)
    red = Query(("red",), likes=(with_embeddings.item(3),), order=order, where=where)
    whole = answered(with_embeddings, replace(red, k=COUNT))
    pages = [answered(with_embeddings, replace(red, k=7, offset=start)) for start in range(0, 42, 7)]
    assert [row for page in pages for row in page.rows] == whole.rows
    expected = COUNT - 1 if where is None else 2 * COUNT // 3  # item 3 is of 2020
    assert len(whole.rows) == len(set(whole.rows)) == expected
    assert [page.more for page in pages] == [7 * (n + 1) < expected for n in range(6)]
    assert not whole.more


def test_queries_that_are_answered_together_get_what_each_gets_alone(
    snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of different kinds and lengths in one batch, with one call of the model for all texts."""
    batch = [
        Query(("red",)),
        Query(("blue", "red"), k=3),
        Query(likes=(snapshot.item(1),), bits=16),
        Query(("green circle",), k=5, offset=2),
    ]
    calls, relax = [], snapshot.engine.model.relax_texts
    monkeypatch.setattr(
        snapshot.engine.model, "relax_texts", lambda texts: calls.append(texts) or relax(texts)
    )
    together = queries.answer(snapshot, batch)
    assert calls == [["red", "blue", "green circle"]]
    for query, result in zip(batch, together, strict=True):
        alone = answered(snapshot, query)
        assert isinstance(result, Nearest)
        assert (result.rows, result.distances) == (alone.rows, alone.distances)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (Query(("red",), order="embeddings"), "choose one of weighted, hamming; this collection keeps no"),
        (Query(("red",), where="year > 2000"), "the items have no columns"),
    ],
)
def test_what_a_collection_does_not_have_is_refused(snapshot: Snapshot, asked: Query, said: str) -> None:
    """With what it does have."""
    (refused,) = queries.answer(snapshot, [asked])
    assert isinstance(refused, Refused)
    assert said in str(refused)


def test_a_query_that_cannot_be_answered_does_not_keep_the_others(snapshot: Snapshot) -> None:
    """Unknown words, an item that is not there, and an image of a wrong type."""
    bad = np.zeros((SIZE, SIZE), np.uint8)
    batch = [
        Query(("zzz",)),
        Query(("red",)),
        Query(likes=("0" * 16,)),
        Query(images=(bad,)),
        Query(("blue",)),
    ]
    unknown, red, gone, wrong, blue = queries.answer(snapshot, batch)
    assert isinstance(unknown, Refused)
    assert "knows no word of 'zzz'" in str(unknown)
    assert isinstance(gone, UnknownItem)
    assert isinstance(wrong, ValueError)
    assert isinstance(red, Nearest)
    assert isinstance(blue, Nearest)
