"""All methods without phases side by side: MAP both ways, minutes and peak memory; growth of time with N.

    python -m tests.bench.shallow wiki                     # needs CMH_SHARED_DATA, as the tests
    python -m tests.bench.shallow emoji                    # needs dataset and features artifacts in CMH_STORE
    python -m tests.bench.shallow growth                   # synthetic, 2,000 to 200,000 items

Each run has a process of its own (for its peak memory) and one thread.  Ties by expectation.  Means of three
seeds; methods that draw nothing run once.  Prints a Markdown table.
"""

import json
import os
import resource
import subprocess
import sys
import time
from typing import Any

import numpy as np

THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
RANDOM = ("cmfh", "cmssh", "dch", "gsph", "seph", "stmh")
CASES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("cca", {}), ("cvh", {}), ("cmssh", {}), ("scm", {}), ("scm", {"solver": "orth"}), ("cmfh", {}),
    ("stmh", {}), ("gsph", {}), ("dch", {}), ("seph", {"bases_from": "random"}),
    ("seph", {"bases_from": "kmeans"}),
)  # fmt: skip
SIZES = (2_000, 6_000, 20_000, 60_000, 200_000)
LONG = 20.0  # seconds after which growth tries no larger size
QUADRATIC_LIMIT = 6_000  # of items for SePH, whose descent is quadratic: its papers stop at 5,000 too


def one(data: str, name: str, bits: int, seed: int, settings: dict[str, Any]) -> dict[str, float]:
    """Train once and evaluate; runs in a process of its own."""
    from tests.cmh.methods import shallow

    train, database, query = read(data)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    method = shallow.build(name, train, bits=bits, **settings)
    from cmh.training import solver

    began = time.perf_counter()
    unified_NK = solver.fit(method, train, seed)
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = {"seconds": seconds, "MiB": peak / 1024, "MiB before": before / 1024}
    return found | maps(method, train, database, query, unified_NK) if query is not None else found


def maps(method: Any, train: Any, database: Any, query: Any, unified_NK: Any) -> dict[str, float]:
    """MAP, ties by expectation, against codes per modality, and against unified codes if any."""
    from cmh.codes import hamming
    from cmh.evaluation import metrics
    from cmh.hashing import encoding

    asked = {s: hamming.pack(encoding.relaxed_codes(method, query, s)) for s in ("image", "text")}
    codes = {s: hamming.pack(encoding.relaxed_codes(method, database, s)) for s in ("image", "text")}
    held = [("I→T", "image", codes["text"], database), ("T→I", "text", codes["image"], database)]
    if unified_NK is not None:
        unified = hamming.pack(unified_NK)
        held += [("I→U", "image", unified, train), ("T→U", "text", unified, train)]
    return {
        what: metrics.evaluate(asked[side], packed, query.label, items.label, method.bits, threads=1).map
        for what, side, packed, items in held
    }


def read(data: str) -> tuple[Any, Any, Any]:
    """Training items, database and queries; for growth, synthetic training items only."""
    from tests.cmh.methods import shallow

    if data == "wiki":
        train, query = shallow.wiki()
        return train, train, query
    if data.startswith("n="):
        items = synthetic(int(data[2:]))
        return items, None, None
    import zarr

    from cmh.data.items import read_items
    from infra.artifacts import list_artifacts, open_artifact
    from infra.stores import open_store

    store = open_store()
    dataset, features = (
        # the largest of each kind: smaller ones are trial runs
        max((m for m in list_artifacts(store, kind) if m.name.startswith(data)), key=lambda m: m.size).ref
        for kind in ("dataset", "features")
    )
    groups = [
        zarr.open_group(open_artifact(store, ref).zarr(f"{ref.kind}.zarr"), mode="r")
        for ref in (dataset, features)
    ]
    train, database, query = (read_items(*groups, split) for split in ("train", "database", "query"))
    return train, database, query


def synthetic(count: int) -> Any:
    """128 image features, 100 text dimensions, 10 labels: the shape of the classical benchmarks."""
    from cmh.data.items import Items

    rng = np.random.default_rng(0)
    label = np.eye(10, dtype=np.uint8)[rng.integers(10, size=count)]
    image, text = (label @ rng.normal(size=(10, d)) + rng.normal(size=(count, d)) for d in (128, 100))
    return Items(
        (image.astype(np.float32)[:, :, None, None],), text.astype(np.float32), label, np.arange(count)
    )


def run(data: str, name: str, bits: int, seed: int, settings: dict[str, Any]) -> dict[str, float]:
    """`one` in a fresh process."""
    asked = json.dumps([data, name, bits, seed, settings])
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.shallow", "one", asked],
        env=os.environ | THREADS, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{asked} failed:\n{done.stderr}")
    result: dict[str, float] = json.loads(done.stdout)
    return result


def table(data: str, bits: tuple[int, ...]) -> None:
    """One line per method and length."""
    columns = ("I→T", "T→I", "I→U", "T→U")
    print(f"| method | bits | {' | '.join(columns)} | minutes | peak MiB |\n|{'--|' * 8}")
    for name, settings in CASES:
        for length in bits:
            runs = [run(data, name, length, s, settings) for s in range(3 if name in RANDOM else 1)]
            mean = {key: np.mean([r[key] for r in runs]) for key in runs[0]}
            figures = " | ".join(f"{mean[c]:.4f}" if c in mean else "" for c in columns)
            shown = " ".join([name, *map(str, settings.values())])
            print(
                f"| {shown} | {length} | {figures} | {mean['seconds'] / 60:.2f} | {mean['MiB']:.0f} |",
                flush=True,
            )


def growth() -> None:
    """Seconds of training at 32 bits by N, and the exponent between the last two sizes."""
    heads = ["method", *(f"{n:,}" for n in SIZES), "exponent", "peak MiB"]
    print(f"| {' | '.join(heads)} |\n|{'--|' * len(heads)}")
    for name, settings in CASES:
        sizes = [n for n in SIZES if name != "seph" or n <= QUADRATIC_LIMIT]
        runs: list[dict[str, float]] = []
        for n in sizes:
            if not runs or runs[-1]["seconds"] < LONG:
                runs.append(run(f"n={n}", name, 32, 0, settings))
        sizes = sizes[: len(runs)]
        seconds = [r["seconds"] for r in runs]
        exponent = np.log(seconds[-1] / seconds[-2]) / np.log(sizes[-1] / sizes[-2])
        cells = [f"{s:.2f}" for s in seconds] + [""] * (len(SIZES) - len(sizes))
        shown = " ".join([name, *map(str, settings.values())])
        print(f"| {shown} | {' | '.join(cells)} | {exponent:.2f} | {runs[-1]['MiB']:.0f} |", flush=True)


if __name__ == "__main__":
    what = sys.argv[1]
    if what == "one":
        print(json.dumps(one(*json.loads(sys.argv[2]))))
    elif what == "growth":
        growth()
    else:
        table(what, (16, 32, 64, 128) if what == "wiki" else (16, 32, 64))
