"""Measure what ordering candidates by relaxed embeddings gains, on the items of a run in the store.

    CMH_HOME=... python -m tests.bench.bench_ranking codes/joint-emoji/0123456789abcdef features/emoji-…/…

Every query text of the run searches all images.  R@10: the query's own image is among the first ten.  P@10:
share of the first ten, without the own image, that have a label in common with the query.  The ceiling is
the exact order of all images by cosine of the relaxed embeddings, of which codes keep the signs only.

Shape suffixes: Q = queries, N = images, K = bits, C = candidates.
"""

import time
from collections.abc import Callable

import cyclopts
import numpy as np
import torch
import zarr
from numpy.typing import NDArray

from cmh import model as models
from cmh.codes import hamming
from cmh.codes.search import Index
from cmh.data import schema
from cmh.data.items import read_items
from cmh.hashing import encoding
from infra import artifacts, stores

CANDIDATES = (50, 100, 200, 400, 1000)
Rows = NDArray[np.int64]


def main(codes_address: str, features_address: str) -> None:
    """Print one table."""
    torch.set_num_threads(1)
    store = stores.open_store()
    codes = artifacts.open_artifact(store, codes_address).read_json("codes.json")
    model = models.load(artifacts.open_artifact(store, codes["model"]).local())
    dataset = zarr.open_group(artifacts.open_artifact(store, codes["dataset"]).zarr("dataset.zarr"), mode="r")
    features = artifacts.open_artifact(store, features_address).zarr("features.zarr")
    total = schema.array(dataset, "text").shape[0]
    items = read_items(dataset, zarr.open_group(features, mode="r"), np.arange(total))
    image_NK, text_NK = (
        encoding.relaxed_codes(model.method, items, side)[:, model.order] for side in ("image", "text")
    )
    query = schema.array(dataset, "split/query")[:]
    text_QK, index = text_NK[query], Index(hamming.pack(image_NK >= 0), model.bits)
    packed_QP = hamming.pack(text_QK >= 0)
    label_NL = items.label.astype(np.float32)

    def gain(found: Callable[[], Rows]) -> str:
        started = time.perf_counter()
        row_Qk = found()
        seconds = time.perf_counter() - started
        recall = float((row_Qk[:, :10] == query[:, None]).any(1).mean())
        if not label_NL.shape[1]:
            return f"{recall:.3f} | – | {1000 * seconds / len(query):.2f}"
        others = [row[row != own][:10] for row, own in zip(row_Qk, query, strict=True)]
        relevant = np.einsum("qkl,ql->qk", label_NL[np.array(others)], label_NL[query]) > 0
        return f"{recall:.3f} | {relevant.mean():.3f} | {1000 * seconds / len(query):.2f}"

    def one_by_one(search: Callable[[int], Rows]) -> Callable[[], Rows]:
        return lambda: np.stack([search(number) for number in range(len(query))])

    def reordered(kept: NDArray[np.float32], candidates: int) -> Callable[[], Rows]:
        def search(number: int) -> Rows:
            row_C = index.search(packed_QP[number], candidates, threads=1).row[0]
            near = kept[row_C].astype(np.float32)
            cosine_C = near @ text_QK[number] / np.linalg.norm(near, axis=1)
            return row_C[np.lexsort((row_C, -cosine_C))[:11]]

        return one_by_one(search)

    def exact(number: int) -> Rows:
        cosine_N = unit_NK @ text_QK[number]
        nearest = np.argpartition(-cosine_N, 11)[:11]
        return nearest[np.argsort(-cosine_N[nearest])]

    unit_NK = image_NK / np.linalg.norm(image_NK, axis=1, keepdims=True)
    largest_N1 = np.abs(image_NK).max(axis=1, keepdims=True)
    stored = {
        "float32": image_NK,
        "float16": image_NK.astype(np.float16),
        "int8": np.round(image_NK / largest_N1 * 127).astype(np.int8),
        "4 bits": np.round(image_NK / largest_N1 * 7).astype(np.int8),
    }
    print(f"{len(query)} queries, {total} images, {model.bits} bits, {model.facts.method}\n")
    print("| order | bytes an image | R@10 | P@10 | ms a query |\n| --- | --- | --- | --- | --- |")
    plain = one_by_one(lambda number: index.search(packed_QP[number], 11, threads=1).row[0])
    weighted = one_by_one(
        lambda number: index.search_weighted(packed_QP[number], abs(text_QK[number]), 11, threads=1).row[0]
    )
    code = model.bits // 8
    plain(), weighted()
    print(f"| Hamming | {code} | {gain(plain)} |")
    print(f"| weighted by the query | {code} | {gain(weighted)} |")
    size = {"float32": 4.0, "float16": 2.0, "int8": 1.0, "4 bits": 0.5}
    for candidates in CANDIDATES:
        for name in stored if candidates == 200 else ("int8",):
            way = gain(reordered(stored[name], candidates))
            print(f"| nearest {candidates} by {name} | {code + size[name] * model.bits:.0f} | {way} |")
    print(f"| all by float32 (ceiling) | {4 * model.bits} | {gain(one_by_one(exact))} |")


if __name__ == "__main__":
    cyclopts.run(main)
