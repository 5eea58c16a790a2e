"""The peers of the benchmark compute what ours computes; else their times would say nothing.

Counting peers must agree exactly; ranking peers break ties in an order of their own, so they lie between the
worst and the best order.  Scikit-learn treats a tied group as one rank and torchmetrics drops zero scores;
both stay near.
"""

import numpy as np
import pytest

from cmh.evaluation import metrics
from tests.bench import bench_metrics, bench_search, data, timing


@pytest.fixture(scope="module")
def small() -> data.Problem:
    whole = data.problem("mirflickr", 32).some_queries(20)
    return whole._replace(
        database_NP=whole.database_NP[:2000], database_labels_NL=whole.database_labels_NL[:2000]
    )


@pytest.mark.parametrize("peer", [bench_metrics.numpy_counts, bench_metrics.faiss_counts])
def test_counting_peers_agree_exactly(small: data.Problem, peer) -> None:
    """Same histograms, same tie-aware MAP."""
    assert peer(small) == pytest.approx(metrics.evaluate(*small).map, abs=1e-12)


@pytest.mark.parametrize(
    "peer",
    [
        bench_metrics.torchcmh_report,
        bench_metrics.argsort_map,
        bench_metrics.faiss_flat_map,
    ],
)
def test_ranking_peers_lie_between_worst_and_best_order(small: data.Problem, peer) -> None:
    """Whatever order they leave ties in."""
    ours = metrics.evaluate(*small)
    assert ours.map_at(None, "worst") <= peer(small) + 1e-6
    assert peer(small) <= ours.map_at(None, "best") + 1e-6


@pytest.mark.parametrize("peer", [bench_metrics.sklearn_map, bench_metrics.torchmetrics_map])
def test_library_peers_stay_near(small: data.Problem, peer) -> None:
    """Within what their treatment of ties explains."""
    assert peer(small) == pytest.approx(metrics.evaluate(*small).map, abs=0.03)


def test_faiss_centroids_of_all_sign_patterns_lose_nothing() -> None:
    """The product quantiser of the weighted benchmark gives exact inner products."""
    rng = np.random.default_rng(0)
    database_NK = np.where(rng.random((500, 64)) < 0.5, np.float32(-1), np.float32(1))
    query_QK = rng.standard_normal((3, 64)).astype(np.float32)
    index = bench_search.product_quantiser(bench_search.faiss.IndexPQ, 8)
    index.add(database_NK)
    found = index.search(query_QK, 5)[0]
    assert found == pytest.approx(np.sort(query_QK @ database_NK.T, axis=1)[:, ::-1][:, :5], abs=1e-4)


def test_table_shows_ratios_to_the_first_row() -> None:
    """Scaled times are marked."""
    shown = timing.table("t", [timing.Row("ours", 2.0, 4.0), timing.Row("peer", 5.0, 5.0, scaled=True)])
    assert "| peer | 5† | 2.5 | 5† | 1.25 |" in shown
