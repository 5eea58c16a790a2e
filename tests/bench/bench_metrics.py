"""Retrieval metrics over whole databases, ours beside what the field and its libraries do.

python -m tests.bench.bench_metrics --sizes nuswide --threads 2
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import faiss
import numpy as np
import torch
from sklearn.metrics import average_precision_score
from torchmetrics.functional.retrieval import retrieval_average_precision

from cmh.codes import hamming
from cmh.evaluation import histograms, metrics
from tests.bench.data import SIZES, Problem, problem
from tests.bench.timing import Row, arguments, best_of_threads, clock_ghz, machine, measure, table

BITS = 64
RANKS = (100, 500, 1000)


def main(given: Sequence[str] | None = None) -> None:
    options = arguments(__doc__, list(SIZES), given)
    print(f"\n## Metrics\n\n{machine(options.threads)}")
    for name in options.sizes:
        size = SIZES[name]
        title = f"{name}: {size.queries:,} queries × {size.items:,} items, {BITS} bits"
        print(table(title, rows(problem(name, BITS), options.threads)), flush=True)
    print(
        table(
            f"Growth: 256 queries, {BITS} bits, database in blocks",
            growth(BITS, options.threads),
        )
    )


def rows(p: Problem, threads: int) -> list[Row]:
    """Ours first; slow peers on some of the queries."""
    queries = len(p.query_QP)

    def peer(way: str, work: Callable[[Problem], float], number: int) -> Row:
        some = p.some_queries(number)
        expected = metrics.evaluate(*some).map

        def beside_ours(found: float) -> str:
            return f"{found:.4f}, expected over ties {expected:.4f}"

        return best_of_threads(
            way, lambda: work(some), threads, share=number / queries, seconds=0, result=beside_ours
        )

    increments = queries * len(p.database_NP) / (clock_ghz() * 1e9)
    found = [
        measure("**ours: MAP + PR + precision@N**", lambda: report(p, threads), result=map_of),
        measure("ours: MAP", lambda: our_map(p, threads), result=map_of),
        measure(
            "ours: histograms",
            lambda: counts(p, threads),
            result=lambda _: same_counts(p, threads),
        ),
        Row("limit: one increment per cycle and core", increments / threads, increments),
        peer("torchcmh-style MAP + PR + precision@N", torchcmh_report, 6),
        peer("torchcmh-style MAP", torchcmh_map, 20),
        peer("NumPy argsort loop, MAP", argsort_map, 40),
        peer("NumPy histograms, one thread", numpy_counts, 60),
        peer("faiss.hammings + bincount", faiss_counts, 200),
        peer("faiss IndexBinaryFlat, k = N, MAP", faiss_flat_map, 40),
        peer("scikit-learn, MAP", sklearn_map, 20),
        peer("torchmetrics, MAP", torchmetrics_map, 20),
    ]
    return found


def growth(bits: int, threads: int) -> list[Row]:
    """Databases too large to be worth holding: drawn block by block while they are counted."""
    rng = np.random.default_rng(0)
    block = hamming.pack(rng.random((100_000, bits)) < 0.5), rng.random((100_000, 21)) < 0.1
    query_QP, query_labels_QL = block[0][:256], block[1][:256]

    def count(items: int) -> str:
        blocks = (block for _ in range(items // 100_000))
        found = histograms.stream_histograms(query_QP, query_labels_QL, blocks, bits, threads=threads)
        return f"{found.all_QD.sum():,} pairs"

    return [
        measure(f"{items:,} items", partial(count, items), result=str)
        for items in (100_000, 1_000_000, 10_000_000)
    ]


def map_of(found: float) -> str:
    return f"{found:.4f}"


def counts(p: Problem, threads: int) -> histograms.Histograms:
    return histograms.distance_histograms(*p, threads=threads)


def same_counts(p: Problem, threads: int) -> str:
    """Whether every count of a part of the queries is NumPy's."""
    some = p.some_queries(100)
    ours, theirs = counts(some, threads), histograms.numpy_histograms(*some)
    same = (ours.all_QD == theirs.all_QD).all() and (ours.relevant_QD == theirs.relevant_QD).all()
    return "equal to NumPy's" if same else "DIFFERENT from NumPy's"


def our_map(p: Problem, threads: int) -> float:
    return metrics.evaluate(*p, threads=threads).map


def report(p: Problem, threads: int) -> float:
    retrieval = metrics.evaluate(*p, threads=threads)
    found = [retrieval.map, *retrieval.pr_curve, *(retrieval.precision_at(k) for k in RANKS)]
    return found[0]


def torchcmh_ranking(p: Problem) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Float codes, one matrix product and one sort per query: distances, relevance, and its sorted order."""
    query_QK, database_NK = (torch.from_numpy(hamming.unpack(c, p.bits)).float() for c in p[:2])
    query_labels_QL, labels_NL = (torch.from_numpy(x).float() for x in p[2:4])
    for code_K, label_L in zip(query_QK, query_labels_QL, strict=True):
        relevant_N = (label_L[None] @ labels_NL.T > 0).float().squeeze(0)
        distance_N = 0.5 * (p.bits - code_K[None] @ database_NK.T).squeeze(0)
        yield distance_N, relevant_N, torch.sort(distance_N).indices


def torchcmh_map(p: Problem) -> float:
    total = 0.0
    for _, relevant_N, order_N in torchcmh_ranking(p):
        rank_R = torch.nonzero(relevant_N[order_N]).squeeze(1).float() + 1
        if len(rank_R):
            total += float((torch.arange(1, len(rank_R) + 1) / rank_R).mean())
    return total / len(p.query_QP)


def torchcmh_report(p: Problem) -> float:
    """Each metric ranks anew, and the PR curve compares every item with every radius."""
    found = torchcmh_map(p)
    for _, relevant_N, order_N in torchcmh_ranking(p):
        [float(relevant_N[order_N][:k].mean()) for k in RANKS]
    for distance_N, relevant_N, _ in torchcmh_ranking(p):
        within_DN = (distance_N <= torch.arange(p.bits + 1)[:, None]).float()
        (within_DN * relevant_N).sum(1) / within_DN.sum(1).clamp(min=1), (within_DN * relevant_N).sum(1)
    return found


def argsort_map(p: Problem) -> float:
    found = [average_precision(r[np.argsort(d, kind="stable")]) for d, r in scored(p)]
    return float(np.mean(found))


def faiss_flat_map(p: Problem) -> float:
    index = faiss.IndexBinaryFlat(p.database_NP.shape[1] * 8)
    index.add(p.database_NP)
    _, row_QN = index.search(p.query_QP, len(p.database_NP))
    relevant = zip(row_QN, relevance(p), strict=True)
    return float(np.mean([average_precision(relevant_N[row_N]) for row_N, relevant_N in relevant]))


def average_precision(relevant_N: np.ndarray) -> float:
    rank_R = np.flatnonzero(relevant_N) + 1
    return float((np.arange(1, len(rank_R) + 1) / rank_R).mean()) if len(rank_R) else 0.0


def numpy_counts(p: Problem) -> float:
    return from_counts(p, scored(p))


def faiss_counts(p: Problem) -> float:
    """All distances by FAISS in blocks of queries, counted by NumPy."""

    def distances() -> Iterator[np.ndarray]:
        for first in range(0, len(p.query_QP), 16):
            query_QP = np.ascontiguousarray(p.query_QP[first : first + 16])
            distance_QN = np.empty((len(query_QP), len(p.database_NP)), np.int32)
            sides = faiss.swig_ptr(query_QP), faiss.swig_ptr(p.database_NP)
            shape = len(query_QP), len(p.database_NP), query_QP.shape[1]
            faiss.hammings(*sides, *shape, faiss.swig_ptr(distance_QN))
            yield from distance_QN

    return from_counts(p, zip(distances(), relevance(p), strict=True))


def from_counts(p: Problem, scored_queries: Iterable[tuple[np.ndarray, np.ndarray]]) -> float:
    """MAP from NumPy's histograms, one `bincount` per query."""
    width = p.bits + 1
    counts_Q2D = [np.bincount(d + width * r, minlength=2 * width).reshape(2, -1) for d, r in scored_queries]
    counts_2QD = np.stack(counts_Q2D, axis=1)
    return metrics.RetrievalScores(histograms.Histograms(counts_2QD.sum(axis=0), counts_2QD[1])).map


def scored(p: Problem) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Distances and relevance, one query at a time."""
    for code_P, relevant_N in zip(p.query_QP, relevance(p), strict=True):
        yield hamming.distances(code_P[None], p.database_NP)[0], relevant_N


def relevance(p: Problem) -> Iterator[np.ndarray]:
    """Which items share a label with each query, by words of 64 labels."""
    labels_XN = np.ascontiguousarray(hamming.words(histograms.pack_labels(p.database_labels_NL)).T)
    for label_X in hamming.words(histograms.pack_labels(p.query_labels_QL)):
        relevant_N = labels_XN[0] & label_X[0] != 0
        for word_N, word in zip(labels_XN[1:], label_X[1:], strict=True):
            relevant_N |= word_N & word != 0
        yield relevant_N


def sklearn_map(p: Problem) -> float:
    return float(np.mean([average_precision_score(r, -d.astype(float)) for d, r in scored(p)]))


def torchmetrics_map(p: Problem) -> float:
    found = [
        float(retrieval_average_precision(torch.from_numpy(p.bits + 1.0 - d), torch.from_numpy(r)))
        for d, r in scored(p)
    ]
    return float(np.mean(found))


if __name__ == "__main__":
    start = time.perf_counter()
    main()
    print(f"\n{time.perf_counter() - start:.0f} s in all")
