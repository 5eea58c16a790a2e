"""Exact search without reading all codes, beside the scan and FAISS: what each prunes, takes and finds.

    CMH_HOME=… python -m tests.bench.bench_exact codes/joint-folder/0123456789abcdef --items 10M 100M

Codes are uniform, or grown from those of a trained model in the store: each is drawn bit by bit from an image
and one of its eight nearest, and then one bit on average is flipped.  Queries are codes of the run's texts,
and images grown in the same way.  Times are processor milliseconds of one thread for a query, the best of
two, mean over the queries: other programs on the machine count less in them.  Wall time of the scan on two
threads stands below.  What an index finds is compared with the scan, distance by distance and row by row.

Shape suffixes: N = items, Q = queries, R = nearest items of each, T = items of a tile.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import faiss
import numpy as np
import zarr

from cmh.codes import hamming, multi_index
from cmh.codes.multi_index import MultiIndex
from cmh.codes.numba_kernels import SEARCH_TILE, Words, compiled, popcount
from cmh.codes.search import Index
from infra import artifacts, stores
from tests.bench.timing import machine

BITS, QUERIES, KS = 64, 16, (10, 400)  # 400 are the candidates that embeddings put into order
SIZES = {"100k": 100_000, "1M": 1_000_000, "10M": 10_000_000, "100M": 100_000_000}
BLOCK = 256
FAISS_LARGEST = 10_000_000  # of indexes that take minutes to fill

Found = tuple[np.ndarray, np.ndarray]
Asked = list[tuple[str, int]]


@compiled
def grow(word_N: Words, near_NR: Any, items: int, seed: int) -> Words:
    """Return codes between the codes of images that are near each other, a few bits of them flipped."""
    np.random.seed(seed)
    grown = np.empty(items, np.uint64)
    for n in range(items):
        image = np.random.randint(len(word_N))
        other = word_N[near_NR[image, np.random.randint(near_NR.shape[1])]]
        high, low = np.uint64(np.random.randint(1 << 32)), np.uint64(np.random.randint(1 << 32))
        word = word_N[image] ^ ((word_N[image] ^ other) & ((high << np.uint64(32)) | low))
        for _ in range(np.random.poisson(1.0)):
            word ^= np.uint64(1) << np.uint64(np.random.randint(64))
        grown[n] = word
    return grown


@compiled
def shares_read(word_N: Words, sorted_N: Words, query: Any, distance: int) -> tuple[float, float, float]:
    """Return the shares that must be read even if the k-th distance is known beforehand.

    Of blocks of sorted codes by their AND and OR, by centre (a code of the block) and radius, and of tiles
    in the order of rows by the first half of the bits.
    """
    by_bits, by_centre, by_half, half = 0, 0, 0, np.uint64(0xFFFFFFFF)
    blocks, tiles = len(sorted_N) // BLOCK, len(word_N) // SEARCH_TILE
    for block in range(blocks):
        codes = sorted_N[block * BLOCK : (block + 1) * BLOCK]
        both, either, centre, radius = codes[0], codes[0], codes[BLOCK // 2], 0
        for code in codes:
            both, either, radius = both & code, either | code, max(radius, popcount(code ^ centre))
        by_bits += popcount((query & ~either) | (~query & both)) <= distance
        by_centre += popcount(query ^ centre) - radius <= distance
    for tile in range(tiles):
        least = 64
        for word in word_N[tile * SEARCH_TILE : (tile + 1) * SEARCH_TILE]:
            least = min(least, popcount((word ^ query) & half))
        by_half += least <= distance
    return by_bits / blocks, by_centre / blocks, by_half / tiles


def timed(search: Callable[[int], Any]) -> tuple[float, float, list[Any]]:
    """Return processor ms of a query, mean and worst, and what was found."""
    milliseconds, found = [], []
    for number in range(QUERIES):
        times = []
        for _ in range(2):
            started = time.thread_time()
            result = search(number)
            times.append(1e3 * (time.thread_time() - started))
        milliseconds.append(min(times))
        found.append(result)
    return float(np.mean(milliseconds)), max(milliseconds), found


def row(way: str, queries: str, k: int, took: tuple[float, float, list[Any]], scan: Any, more: str) -> None:
    """Print a line of the table beside the scan."""
    mean, worst, found = took
    exact = all((a[0] == b[0]).all() and (a[1] == b[1]).all() for a, b in zip(found, scan[2], strict=True))
    recall = np.mean([(a[0] <= b[0][-1]).sum() / k for a, b in zip(found, scan[2], strict=True)])
    same = "the same" if exact else f"recall {recall:.3f}"
    faster = f"{mean:.2f} | {scan[0] / mean:.2f} | {scan[0] / worst:.2f}"
    print(f"| {way} | {queries} | {k} | {faster} | {same} | {more} |", flush=True)


def compare(word_N: Words, queries: dict[str, Words], wanted: set[str]) -> None:
    """Print the table of all ways over one database."""
    print("| way | queries | k | ms | times as fast | slowest query | result | memory, build |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    index = Index.over(word_N[None], BITS, None)
    packed = {name: word_Q.view(np.uint8).reshape(-1, 8) for name, word_Q in queries.items()}
    asked = [(name, k) for name in queries for k in KS]
    scans = {}
    for name, k in asked:

        def scan(number: int, name: str = name, k: int = k, threads: int = 1) -> Found:
            hits = index.search(packed[name][number], k, threads=threads)
            return hits.distance[0], hits.row[0]

        scan(0)
        scans[name, k] = timed(scan)
        distances = [int(found[0][-1]) for found in scans[name, k][2]]
        walls = []
        for number in range(QUERIES):
            started = time.perf_counter()
            scan(number, threads=2)
            walls.append(1e3 * (time.perf_counter() - started))
        more = f"8 B; k-th at {min(distances)} to {max(distances)} bits; two threads {min(walls):.1f} ms"
        row("scan", name, k, scans[name, k], scans[name, k], more)
    if "blocks" in wanted:
        sorted_N = np.sort(word_N)
        for name, k in asked:
            shares = [
                shares_read(word_N, sorted_N, query, int(found[0][-1]))
                for query, found in zip(queries[name][:4], scans[name, k][2], strict=False)
            ]
            shown = ", ".join(f"{100 * share:.1f} %" for share in np.mean(shares, axis=0))
            print(
                f"\n{name}, k = {k}: to be read by AND and OR, centre and radius, half of the bits: {shown}"
            )
        del sorted_N
        print()
    if "multi" in wanted:
        multi_index_rows(index, packed, asked, scans)
    if "faiss" in wanted:
        peers(index, packed, asked, scans)


def multi_index_rows(index: Index, packed: dict[str, Any], asked: Asked, scans: Any) -> None:
    """Print lines of multi-index hashing, and of what it does where no query is given up."""
    started = time.thread_time()
    multi = MultiIndex.of(index)
    taken = sum(array.nbytes for array in multi.sorted_codes) / len(index)
    more = f"{taken:.0f} B, {time.thread_time() - started:.0f} s"
    chosen = multi_index._CAP, multi_index._LIMIT
    for name, k in asked:
        for bounds, said in ((chosen, "MultiIndex"), ((np.inf, np.inf), "MultiIndex, never given up")):
            multi_index._CAP, multi_index._LIMIT = bounds

            def search(number: int, name: str = name, k: int = k) -> Found:
                hits = multi.search(packed[name][number], k, threads=1)
                return hits.distance[0], hits.row[0]

            row(said, name, k, timed(search), scans[name, k], more)
    multi_index._CAP, multi_index._LIMIT = chosen


def peers(index: Index, packed: dict[str, Any], asked: Asked, scans: Any) -> None:
    """Print lines of FAISS's indexes."""
    faiss.omp_set_num_threads(1)
    codes_NP, items = index.codes(), len(index)
    ways: dict[str, Callable[[], Any]] = {"FAISS Flat": lambda: faiss.IndexBinaryFlat(BITS)}
    if items <= FAISS_LARGEST:
        ways["FAISS MultiHash 4 × 16, 2 flips"] = lambda: faiss.IndexBinaryMultiHash(BITS, 4, 16)
        ways["FAISS Hash 20, 3 flips"] = lambda: faiss.IndexBinaryHash(BITS, 20)
        ways["FAISS IVF 1024, 16 probes"] = lambda: faiss.IndexBinaryIVF(
            faiss.IndexBinaryFlat(BITS), BITS, 1024
        )
    for way, make in ways.items():
        started = time.process_time()
        peer = make()
        if "IVF" in way:
            peer.train(codes_NP[:: max(1, items // 100_000)])
            peer.nprobe = 16
        peer.add(codes_NP)
        if "Hash" in way:
            peer.nflip = 2 if "Multi" in way else 3
        more = f"{time.process_time() - started:.0f} s"
        for name, k in asked:

            def search(number: int, name: str = name, k: int = k, peer: Any = peer) -> Found:
                distance, found = peer.search(packed[name][number][None], k)
                return np.where(found[0] < 0, 65, distance[0]), found[0]

            row(way, name, k, timed(search), scans[name, k], more)


def main() -> None:
    """Print one table for each kind and number of codes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("codes", help="address of codes of 64 bits, of a trained model, in the store")
    parser.add_argument("--items", nargs="+", choices=SIZES, default=["1M", "10M"])
    parser.add_argument("--kinds", nargs="+", choices=("trained", "uniform"), default=["trained", "uniform"])
    ways = ("multi", "blocks", "faiss")
    parser.add_argument("--ways", nargs="+", choices=ways, default=ways)
    options = parser.parse_args()
    codes = artifacts.open_artifact(stores.open_store(), options.codes)
    group: Any = zarr.open_group(codes.zarr("codes.zarr"), mode="r")
    image_NP, text_NP = group["image"][:], group["text"][:]
    near_NR = Index(image_NP, BITS).search(image_NP, 9, threads=1).row[:, 1:]
    word_N, text_N = (hamming.words(code_NP)[:, 0].copy() for code_NP in (image_NP, text_NP))
    print(machine(1))
    for size in options.items:
        for kind in options.kinds:
            print(f"\n### {size} × {BITS} bits, {kind}\n")
            rng = np.random.default_rng(0)
            if kind == "uniform":
                database_N = rng.integers(0, 2**64, SIZES[size], np.uint64)
                queries = {"uniform": rng.integers(0, 2**64, QUERIES, np.uint64)}
            else:
                database_N = grow(word_N, near_NR, SIZES[size], 0)
                queries = {
                    "texts": text_N[rng.integers(len(text_N), size=QUERIES)],
                    "images": grow(word_N, near_NR, QUERIES, 1),
                }
            compare(database_N, queries, set(options.ways))


if __name__ == "__main__":
    main()
