"""Instance recall against the mean over every order of the gallery, small cases by hand, and chance."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmh.codes import hamming
from cmh.evaluation import instance_recall


def every_order(query_QP, gallery_QP, k):
    """The hit of each query among the first k of a stable sort, averaged over all orders of the gallery."""
    distance_QQ = hamming.distances(query_QP, gallery_QP)
    hits = []
    for order in permutations(range(len(gallery_QP))):
        ranked = np.array(order)[np.argsort(distance_QQ[:, order], axis=1, kind="stable")]
        hits.append((ranked[:, :k] == np.arange(len(query_QP))[:, None]).any(axis=1))
    return np.mean(hits, axis=0)


@settings(max_examples=25, deadline=None)
@given(
    pairs=st.integers(1, 5), bits=st.integers(1, 3), k=st.integers(1, 6), seed=st.integers(0, 2**16)
)  # few bits: nearly every distance is tied
def test_it_is_the_mean_over_all_orders(pairs, bits, k, seed):
    """Up to 120 orders of up to five pairs whose distances are tied."""
    rng = np.random.default_rng(seed)
    query, gallery = (hamming.pack(rng.random((pairs, bits)) > 0.5) for _ in range(2))
    found_Q2 = instance_recall.of_pairs(query, gallery, (k, 2)).hit_AJ
    assert found_Q2[:, 0] == pytest.approx(every_order(query, gallery, k))
    assert found_Q2[:, 1] == pytest.approx(every_order(query, gallery, 2))


def test_by_hand():
    """A pair that is alone and nearest, one in a tie of three, and one behind a nearer item."""
    query = hamming.pack(np.array([[1, 1, 1, 1], [0, 0, 0, 0], [0, 0, 1, 1]], bool))
    gallery = hamming.pack(np.array([[1, 1, 1, 1], [0, 0, 1, 1], [1, 0, 0, 1]], bool))
    # distances: (0, 2, 2), (4, 2, 2), (2, 0, 2)
    found_Q3 = instance_recall.of_pairs(query, gallery, (1, 2, 3)).hit_AJ
    assert found_Q3.T.tolist() == [[1, 0.5, 0], [1, 1, 0.5], [1, 1, 1]]


def test_collapsed_codes_have_the_recall_of_chance():
    """All codes equal: k of Q, whatever the order of the gallery; blocks do not show."""
    same = np.zeros((600, 2), np.uint8)
    assert instance_recall.of_pairs(same, same, (5,)).hit_AJ == pytest.approx(np.full((600, 1), 5 / 600))


def test_distances_are_computed_once(monkeypatch):
    """For any number of ks, one pass over the gallery."""
    blocks, distances = [], hamming.distances
    monkeypatch.setattr(hamming, "distances", lambda a, b: blocks.append(len(a)) or distances(a, b))
    instance_recall.of_pairs(np.zeros((300, 2), np.uint8), np.zeros((300, 2), np.uint8), (1, 5, 10))
    assert sum(blocks) == 300


def test_what_cannot_be_paired_is_refused():
    """No ranks, and a gallery of another size."""
    codes = np.zeros((3, 1), np.uint8)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        instance_recall.of_pairs(codes, codes, (5, 0))
    with pytest.raises(ValueError, match=r"same row of the gallery, got codes \(3, 1\) and \(2, 1\)"):
        instance_recall.of_pairs(codes, codes[:2])


@pytest.mark.parametrize("query_is_image", [True, False])
def test_any_caption_of_the_image_is_right(query_is_image: bool) -> None:
    """Over all orders of the ties, counted one by one; each image asks once and is in the gallery once."""
    rng = np.random.default_rng(4)
    image_Q = np.array([0, 0, 1, 2, 2, 2])
    one_per_image = [0, 2, 3]
    image = rng.integers(0, 4, (3, 1), np.uint8)[image_Q]
    text = rng.integers(0, 4, (6, 1), np.uint8)
    query, gallery = (image, text) if query_is_image else (text, image)
    ks = (1, 2, 3)
    found = instance_recall.of_pairs(query, gallery, ks, image_Q=image_Q, query_is_image=query_is_image)
    asking, asked = (one_per_image, range(6)) if query_is_image else (range(6), one_per_image)
    expected = []
    for q in asking:
        hits, ranks = np.zeros(len(ks)), []
        orders = list(permutations(asked))
        for order in orders:
            ranked = sorted(order, key=lambda g: bin(query[q, 0] ^ gallery[g, 0]).count("1"))
            right = [image_Q[g] == image_Q[q] for g in ranked]
            hits += [any(right[:k]) for k in ks]
            ranks.append(right.index(True) + 1)
        expected.append([*(hits / len(orders)), np.mean(1 / np.array(ranks)), np.mean(ranks)])
    measured = np.column_stack([found.hit_AJ, found.reciprocal_rank_A, found.rank_A])
    assert measured == pytest.approx(np.array(expected))


def test_another_item_of_the_group_is_sought() -> None:
    """Over all orders of the ties: the own image is left out, unless the group has no other."""
    rng = np.random.default_rng(5)
    group = np.array(["a", "a", "a", "b", "c", "c"])
    image = np.array([0, 0, 1, 2, 3, 4])
    query, gallery = (rng.integers(0, 4, (6, 1), np.uint8) for _ in range(2))
    ks = (1, 2, 3)
    assert instance_recall.has_others(group, image).tolist() == [True] * 3 + [False] + [True] * 2
    found = instance_recall.group_recall(query, gallery, group, image, ks)
    for q in range(6):
        alone = q == 3
        asked = [g for g in range(6) if alone or image[g] != image[q]]
        hits = np.zeros(len(ks))
        orders = list(permutations(asked))
        for order in orders:
            ranked = sorted(order, key=lambda g: bin(query[q, 0] ^ gallery[g, 0]).count("1"))
            hits += [any(group[g] == group[q] for g in ranked[:k]) for k in ks]
        assert found[q] == pytest.approx(hits / len(orders))
