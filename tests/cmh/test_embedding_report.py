"""The report of real-valued embeddings against a slow ranking by cosine, of embeddings with a signal."""

import numpy as np
import pytest

from cmh import embedding_report, report


def slow(query_QK: np.ndarray, database_NK: np.ndarray, relevant_QN: np.ndarray) -> tuple[float, float]:
    """MAP and precision@1."""
    scores, first = [], []
    for query_K, relevant_N in zip(query_QK, relevant_QN, strict=True):
        cosine_N = [d @ query_K / np.linalg.norm(d) / np.linalg.norm(query_K) for d in database_NK]
        hits, total = 0, 0.0
        ranked = np.argsort(np.negative(cosine_N), kind="stable")
        first.append(relevant_N[ranked[0]])
        for rank, n in enumerate(ranked, start=1):
            if relevant_N[n]:
                hits += 1
                total += hits / rank
        scores.append(total / hits)
    return float(np.mean(scores)), float(np.mean(first))


def test_figures_are_those_of_a_ranking_by_cosine() -> None:
    """MAP in its interval and precision@1 in all directions; no figure of codes; the curve ends at chance."""
    rng = np.random.default_rng(0)
    classes = rng.integers(3, size=50)
    centres_CK = rng.standard_normal((3, 6))
    embedding = {
        side: (centres_CK[classes] + rng.standard_normal((50, 6))).astype(np.float32)
        for side in ("image", "text")
    }
    query, database, label_NL = np.arange(10), np.arange(10, 50), np.eye(3, dtype=np.uint8)[classes]
    metrics, curves = embedding_report.measure(embedding, label_NL, query, database)
    relevant_QN = classes[:10, None] == classes[10:]
    for direction, (asking, asked) in report.DIRECTIONS.items():
        expected, first = slow(embedding[asking][:10], embedding[asked][10:], relevant_QN)
        assert report.value(metrics, "map", direction, 6) == pytest.approx(expected)
        assert report.value(metrics, "precision_at_1", direction, 6) == pytest.approx(first)
        (row,) = (r for r in report.select(metrics, "map") if r["direction"] == direction)
        assert row["low"] < expected < row["high"]
    chance = report.value(metrics, "chance", "image_to_text", 6)
    assert chance == pytest.approx(relevant_QN.mean())
    assert set(metrics["ranking"].to_pylist()) == {report.COSINE}
    assert not any("lookup" in name or "ties" in name for name in metrics["metric"].to_pylist())
    last = [r for r in curves.to_pylist() if r["direction"] == "image_to_text"][-1]
    assert (last["x"], last["y"]) == (40, pytest.approx(chance))
