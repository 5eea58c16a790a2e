"""Exact and approximate search among random codes, ours beside FAISS (and usearch where it is installed).

python -m tests.bench.bench_search --sizes 1M 10M --threads 2
"""

import importlib.util
import time
from collections.abc import Sequence

import faiss
import numpy as np

from cmh.codes import hamming
from cmh.codes.approximate import ApproximateIndex
from cmh.codes.search import Index
from tests.bench.timing import Row, arguments, best_of_threads, machine, measure, table

SIZES = {"100k": 100_000, "1M": 1_000_000, "10M": 10_000_000}
QUERIES, K = 256, 10


def main(given: Sequence[str] | None = None) -> None:
    options = arguments(__doc__, list(SIZES), given, default=["1M", "10M"])
    print(f"\n## Search, {K} nearest, milliseconds per query\n\n{machine(options.threads)}")
    for name in options.sizes:
        rng = np.random.default_rng(0)
        for bits in (64, 128) if SIZES[name] <= 1_000_000 else (64,):
            codes_NP = rng.integers(0, 256, (SIZES[name], bits // 8), np.uint8)
            index, query_QP = Index(codes_NP, bits), rng.integers(0, 256, (QUERIES, bits // 8), np.uint8)
            del codes_NP
            show(
                f"{name} × {bits} bits, batch of {QUERIES}",
                hamming_rows(index, query_QP, options.threads),
                QUERIES,
            )
            show(f"{name} × {bits} bits, single query", hamming_rows(index, query_QP[:1], options.threads), 1)
            if bits == 128:
                show(
                    f"{name}, prefix of 64 of 128 bits",
                    prefix_rows(index, query_QP, options.threads),
                    QUERIES,
                )
            if (bits, name) == (64, "1M"):
                show(f"{name} × 64 bits, weighted", weighted_rows(index, options.threads), QUERIES)
                show(f"{name} × 64 bits, approximate", approximate_rows(options.threads), QUERIES)


def show(title: str, rows: list[Row], queries: int) -> None:
    print(table(title, rows, unit="ms/query", scale=1e3 / queries), flush=True)


def hamming_rows(index: Index, query_QP: np.ndarray, threads: int) -> list[Row]:
    flat = faiss.IndexBinaryFlat(index.bits)
    codes_NP = index.codes()
    flat.add(codes_NP)
    theirs = flat.search(query_QP[:20], K)[0]
    ours = index.search(query_QP[:20], K, threads=threads)
    all_QN = hamming.distances(query_QP[:3], codes_NP)
    same_ids = (np.argsort(all_QN, axis=1, kind="stable")[:, :K] == ours.row[:3]).all()
    equal = (
        f"distances equal FAISS's: {(theirs == ours.distance).all()}, ids those of a stable sort: {same_ids}"
    )
    rows = [
        measure("**ours**", lambda: index.search(query_QP, K, threads=threads), result=lambda _: equal),
        best_of_threads("faiss IndexBinaryFlat", lambda: flat.search(query_QP, K), threads),
    ]
    if importlib.util.find_spec("usearch"):
        rows.append(usearch_row(codes_NP, query_QP, threads))
    return rows


def usearch_row(codes_NP: np.ndarray, query_QP: np.ndarray, threads: int) -> Row:
    from usearch.index import search

    some = query_QP[:4]

    def work() -> object:
        return search(codes_NP, some, K, "hamming", exact=True, threads=threads)

    return measure("usearch exact", work, share=len(some) / len(query_QP), seconds=0)


def prefix_rows(index: Index, query_QP: np.ndarray, threads: int) -> list[Row]:
    short = Index(hamming.prefix(index.codes(), 64), 64)
    short_QP = hamming.prefix(query_QP, 64)
    return [
        measure(
            "**ours: first 64 of 128 bits**", lambda: index.search(query_QP, K, prefix=64, threads=threads)
        ),
        measure("ours: codes of 64 bits", lambda: short.search(short_QP, K, threads=threads)),
        measure("ours: all 128 bits", lambda: index.search(query_QP, K, threads=threads)),
        measure(
            "ours: 200 best of 64 bits, reranked",
            lambda: index.search(query_QP, K, prefix=64, rerank=200, threads=threads),
        ),
    ]


def weighted_rows(index: Index, threads: int) -> list[Row]:
    """Real-valued queries: ours is exact; FAISS's fast scan, then refined, has the recall that is shown."""
    u_QK = np.random.default_rng(1).standard_normal((QUERIES, index.bits)).astype(np.float32)
    query_QP, weight_QK = hamming.pack(u_QK), np.abs(u_QK)
    database_NK = hamming.unpack(index.codes(), index.bits).astype(np.float32)
    fast, exact = product_quantiser(faiss.IndexPQFastScan, 4), product_quantiser(faiss.IndexPQ, 8)
    refined = faiss.IndexRefine(fast, exact)
    refined.k_factor = 2
    refined.add(database_NK)
    del database_NK
    ours = index.search_weighted(query_QP, weight_QK, K, threads=threads)
    inner_QN = u_QK[:3] @ hamming.unpack(index.codes(), index.bits).T.astype(np.float32)
    is_exact = (np.argsort(-inner_QN, axis=1, kind="stable")[:, :K] == ours.row[:3]).all()

    def recall(found: tuple[np.ndarray, np.ndarray]) -> str:
        shared = [len(np.intersect1d(a, b)) for a, b in zip(found[1], ours.row, strict=True)]
        return f"recall {sum(shared) / ours.row.size:.4f}"

    return [
        measure(
            "**ours**",
            lambda: index.search_weighted(query_QP, weight_QK, K, threads=threads),
            result=lambda _: f"rows those of sorted inner products: {is_exact}",
        ),
        best_of_threads("faiss PQFastScan + refine", lambda: refined.search(u_QK, K), threads, result=recall),
        best_of_threads(
            "faiss PQ", lambda: exact.search(u_QK[:32], K), threads, share=32 / QUERIES, seconds=0
        ),
    ]


def product_quantiser(kind: type, bits_each: int) -> faiss.Index:
    """A FAISS product quantiser of 64 dimensions whose centroids are all ±1 patterns: nothing is lost."""
    index = kind(64, 64 // bits_each, bits_each, faiss.METRIC_INNER_PRODUCT)
    pattern_XB = (np.arange(2**bits_each)[:, None] >> np.arange(bits_each) & 1) * 2.0 - 1
    centroids = np.tile(pattern_XB.astype(np.float32), (64 // bits_each, 1, 1))
    faiss.copy_array_to_vector(centroids.ravel(), index.pq.centroids)
    index.is_trained = True
    return index


def approximate_rows(threads: int) -> list[Row]:
    """On clustered codes, as learnt ones are, with queries from the same clusters."""
    rng = np.random.default_rng(2)
    centre_CK = rng.random((2000, 64)) < 0.5
    code_NK = centre_CK[rng.integers(2000, size=1_000_000 + QUERIES)] ^ (
        rng.random((1_000_000 + QUERIES, 64)) < 0.15
    )
    codes_NP = hamming.pack(code_NK)
    index, query_QP = Index(codes_NP[QUERIES:], 64), codes_NP[:QUERIES]
    faiss.omp_set_num_threads(threads)
    start = time.perf_counter()
    lists = ApproximateIndex(index)
    built = time.perf_counter() - start
    rows = [measure("**ours, exact**", lambda: index.search(query_QP, K, threads=threads))]
    for probes in (1, 4, 16, 64):
        recall = f"recall {lists.recall(query_QP, K, probes=probes):.3f}, built in {built:.0f} s"

        def work(probes: int = probes) -> object:
            return lists.search(query_QP, K, probes=probes)

        rows.append(measure(f"Approximate, 1,024 lists, {probes} probed", work, result=lambda _, r=recall: r))
    return rows


if __name__ == "__main__":
    main()
