"""The tables of a report against the metrics they are taken from, on random codes with a planted signal."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from cmh.codes import hamming
from cmh.evaluation import counts, figures, metrics, ndcg, paired_tests, report

BITS = 16


@pytest.fixture(scope="module")
def items():
    """Sixty items whose codes carry their class in the last eight bits, and noise in the first eight."""
    rng = np.random.default_rng(0)
    classes = rng.integers(4, size=60)
    centres = rng.choice([-1.0, 1.0], (4, 8))
    real = {
        side: np.hstack([rng.standard_normal((60, 8)), centres[classes] + 0.3 * rng.standard_normal((60, 8))])
        for side in ("image", "text")
    }
    codes = {side: hamming.pack(u > 0) for side, u in real.items()}
    return codes, np.eye(4, dtype=np.uint8)[classes]


def measured(codes, label, queries: int, lengths, orders) -> tuple:
    """The tables of the first items as queries, the others as database."""
    sides = [
        counts.CodedItems({side: packed[rows] for side, packed in codes.items()}, label[rows])
        for rows in (slice(queries), slice(queries, None))
    ]
    rankings = report.rankings(report.DIRECTIONS, lengths, orders)
    counted = counts.count_rankings(sides[0], sides[1:], rankings, orders, ndcg.grades(label[:queries]))
    return report.measure_codes(counted, sides[0], 2)


@pytest.fixture(scope="module")
def tables(items):
    orders = {"signal first": np.r_[8:16, 0:8], "noise first": np.arange(16)}
    return measured(*items, 20, (8, 16), orders)


def test_map_of_every_direction_is_that_of_the_metrics_module(items, tables):
    """A report's MAP is `metrics.evaluate` on the sides that its direction names."""
    codes, label = items
    for direction, (query, database) in report.DIRECTIONS.items():
        direct = metrics.evaluate(codes[query][:20], codes[database][20:], label[:20], label[20:], BITS).map
        assert report.value(tables[0], "map", direction, 16) == pytest.approx(direct)


def test_orders_of_bits_are_told_apart(tables):
    """Eight bits of signal beat eight bits of noise; all sixteen are the same in any order."""
    signal, noise = (
        report.value(tables[0], "map", "image_to_text", 8, order) for order in ("signal first", "noise first")
    )
    assert signal > noise + 0.2
    assert report.value(tables[0], "map", "image_to_text", 8) == pytest.approx(noise)
    full = {
        r["value"] for r in report.select(tables[0], "map") if r["bits"] == 16 and "first" in r["ranking"]
    }
    assert len(full) == 2  # one per direction


def test_intervals_hold_their_value(tables):
    """Every MAP lies in its interval."""
    for row in report.select(tables[0], "map"):
        assert row["low"] <= row["value"] <= row["high"]


@pytest.mark.slow
def test_the_floor_is_what_random_rankings_have_on_average(items, tables):
    """The mean MAP of a thousand shuffled databases, within four of its standard errors."""
    rng = np.random.default_rng(1)
    _, label = items
    relevant_QN = label[:20] @ label[20:].T > 0
    shuffled = [
        np.mean([average_precision_score(r, rng.random(40)) for r in relevant_QN]) for _ in range(1000)
    ]
    error = np.std(shuffled) / np.sqrt(1000)
    for bits in (8, 16):
        floor = report.value(tables[0], "map", "image_to_text", bits, report.RANDOM)
        assert floor == pytest.approx(np.mean(shuffled), abs=4 * error)


def test_every_map_across_modalities_is_the_mean_of_its_queries(items, tables) -> None:
    """Each ranking has a row per query, by position where it has no id; the mean is the report's MAP."""
    metrics_, _, queries, _ = tables
    rows = queries.to_pylist()
    kept = [r for r in report.select(metrics_, "map") if r["direction"] in report.CROSS_MODAL]
    kept = [r for r in kept if r["ranking"] != report.RANDOM]
    assert len(rows) == 20 * len(kept)
    for row in kept:
        place = {key: row[key] for key in ("direction", "bits", "ranking")}
        mine = [r for r in rows if place.items() <= r.items()]
        assert np.mean([r["average_precision"] for r in mine]) == pytest.approx(row["value"], abs=1e-6)
        assert [r["query"] for r in mine] == [r["group"] for r in mine] == [str(n) for n in range(20)]


def test_curves_fall_from_the_first_rank_and_end_at_chance(tables):
    """precision@N of a useful code starts high; at the whole database it is the share of relevant items."""
    curve = figures.panels(tables[1], "precision_at", ["image_to_text"])["image_to_text"]["16 bits"]
    assert curve[0][-1] == 40
    assert curve[1][-1] == pytest.approx(report.value(tables[0], "chance", "image_to_text", 16))
    assert curve[1][0] > 0.6
    numbers = figures.panels(tables[1], "precision_at", ["image_to_text"], "numbers")["image_to_text"]
    assert list(numbers) == ["8 numbers", "16 numbers"]


def test_a_figure_that_is_not_there_is_an_error(tables):
    """Asking for a length that was not measured says so."""
    with pytest.raises(ValueError, match="no map of image_to_text at 32 bits"):
        report.value(tables[0], "map", "image_to_text", 32)


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
    group_Q, id_Q = np.arange(10) // 2, np.array([f"item {row}" for row in query])
    metrics, curves, queries, _ = report.measure_embeddings(
        embedding, label_NL, query, database, group_Q, id_Q
    )
    relevant_QN = classes[:10, None] == classes[10:]
    for direction, (asking, asked) in report.DIRECTIONS.items():
        expected, first = slow(embedding[asking][:10], embedding[asked][10:], relevant_QN)
        assert report.value(metrics, "map", direction, 6) == pytest.approx(expected)
        assert report.value(metrics, "precision_at_1", direction, 6) == pytest.approx(first)
        (row,) = (r for r in report.select(metrics, "map") if r["direction"] == direction)
        assert row["low"] < expected < row["high"]
    for direction in report.CROSS_MODAL:
        one = paired_tests.scored_queries(queries, "toy", "acmr", 6, direction)
        assert one.query_Q.tolist() == id_Q.tolist()
        assert one.group_Q.tolist() == ["0", "0", "1", "1", "2", "2", "3", "3", "4", "4"]
        assert one.score_Q.mean() == pytest.approx(report.value(metrics, "map", direction, 6), abs=1e-6)
    chance = report.value(metrics, "chance", "image_to_text", 6)
    assert chance == pytest.approx(relevant_QN.mean())
    assert set(metrics["ranking"].to_pylist()) == {report.COSINE}
    assert not any("lookup" in name or "ties" in name for name in metrics["metric"].to_pylist())
    last = [r for r in curves.to_pylist() if r["direction"] == "image_to_text"][-1]
    assert (last["x"], last["y"]) == (40, pytest.approx(chance))
