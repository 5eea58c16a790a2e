"""Figures of pairs and groups: what they are taken from, and what they leave out."""

from typing import Any

import numpy as np
import pytest

from cmh.codes import hamming
from cmh.evaluation import instance_recall, pair_metrics, report, report_page
from cmh.evaluation.counts import CodedItems


def queries(count: int, **more: Any) -> CodedItems:
    """Random codes of 16 bits, without labels."""
    rng = np.random.default_rng(0)
    codes = {side: hamming.pack(rng.random((count, 16)) > 0.5) for side in ("image", "text")}
    return CodedItems(codes, np.empty((count, 0), np.uint8), **more)


def value(rows: list[dict[str, Any]], metric: str, direction: str, bits: int) -> float:
    (found,) = [
        row["value"] for row in rows
        if (row["metric"], row["direction"], row["bits"]) == (metric, direction, bits)
    ]  # fmt: skip
    return float(found)


def test_pairs_are_measured_by_length_and_direction() -> None:
    """The prefix of each code, both ways, each query's own pair among them all."""
    items = queries(30)
    rows, pairs = pair_metrics.measure(items, (8, 16))
    for bits in (8, 16):
        image, text = (hamming.prefix(items.codes[side], bits) for side in ("image", "text"))
        for direction, sides in (("image_to_text", (image, text)), ("text_to_image", (text, image))):
            found = instance_recall.of_pairs(*sides, (1, 5, 10))
            for k, hits in zip((1, 5, 10), found.hit_AJ.T, strict=True):
                assert value(rows, f"instance_recall_at_{k}", direction, bits) == pytest.approx(hits.mean())
            mrr = found.reciprocal_rank_A.mean()
            assert value(rows, "instance_mrr", direction, bits) == pytest.approx(mrr)
            assert value(rows, "instance_median_rank", direction, bits) == np.median(found.rank_A)
            kept = [r for r in pairs.to_pylist() if (r["direction"], r["bits"]) == (direction, bits)]
            assert [r["query"] for r in kept] == [r["group"] for r in kept] == [str(n) for n in range(30)]
            np.testing.assert_allclose([r["recall_at_10"] for r in kept], found.hit_AJ[:, 2], rtol=1e-6)
            np.testing.assert_allclose(
                [r["reciprocal_rank"] for r in kept], found.reciprocal_rank_A, rtol=1e-6
            )
    assert not any(row["metric"].startswith("group") for row in rows)


def test_groups_are_measured_where_they_have_several_images() -> None:
    """Only queries whose group has another image count."""
    group = np.array(["a", "a", "b", "c", *"defghijk"])
    items = queries(12, group_N=group, image_N=np.arange(12))
    rows, _ = pair_metrics.measure(items, (16,))
    hits = instance_recall.group_recall(items.codes["text"], items.codes["image"], group, np.arange(12), (1,))
    assert value(rows, "group_recall_at_1", "text_to_image", 16) == pytest.approx(hits[:2].mean())


def test_no_more_ranks_than_queries() -> None:
    """Of four queries the first only; of one, nothing."""
    metrics = {row["metric"] for row in pair_metrics.measure(queries(4), (16,))[0]}
    assert metrics == {"instance_recall_at_1", "instance_mrr", "instance_median_rank"}
    rows, pairs = pair_metrics.measure(queries(1), (16,))
    assert (rows, pairs.num_rows) == ([], 0)


def test_a_page_without_labels_has_no_map() -> None:
    """It says why, and shows pairs and groups."""
    group, image = np.array([*"aabbccddeeff"]), np.arange(12)
    measured = pair_metrics.measure(queries(12, group_N=group, image_N=image), (8, 16))
    metrics = report.with_pairs(None, *measured).metrics
    facts = {"bits": 16, "model": "model/x/1", "dataset": "dataset/x/1", "method": "joint"}
    page = report_page.report_page("x", "codes/x/1", facts, metrics, [])
    assert "The dataset has no labels" in page
    assert "MAP over the whole ranking" not in page
    assert page.count("| image → text | 16 |") == 2  # of pairs, of groups
    assert [row["direction"] for row in report_page.pair_table(metrics, "group")] == ["image → text"] * 2 + [
        "text → image"
    ] * 2
