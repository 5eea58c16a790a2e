"""Time the listing of a store with many artifacts, in a folder and on S3 (SeaweedFS, started here).

    python -m tests.bench.bench_store --artifacts 10000

"before" is the way of asking for one file after the other, on as many artifacts as 30 s allow, scaled up.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from infra import artifacts, lineage
from infra import manifest as manifests
from infra.manifest import MANIFEST, File, Manifest, Target
from infra.storage import Store
from infra.stores import open_store
from tests import s3_server

KINDS = ("images", "dataset", "features", "model", "codes", "report")
FILES = 20  # of an artifact, named in its manifest


def fill(store: Store, count: int) -> None:
    """Publish the manifests, without the files that they name, of `count` artifacts in chains of six."""

    def publish(chain: int) -> None:
        content = ""
        for kind in KINDS[: min(len(KINDS), count - chain * len(KINDS))]:
            inputs = {"input": content} if content else {}
            target = Target(kind, f"set-{chain % 20}", {"kind": kind, "number": chain}, inputs)
            sha256 = manifests.hashlib.sha256(f"{kind} {chain}".encode()).hexdigest()
            files = {f"{kind}.zarr/c/{n}": File(size=1 << 20, sha256=sha256) for n in range(FILES)}
            made = Manifest(
                kind=kind, name=target.name, identity=target.identity, content=manifests.content(files),
                config=dict(target.config), inputs=inputs, revision=1, data="data-0", files=files,
                run={"seconds": 1.5, "threads": 2, "began": "2026-01-01T00:00:00+00:00"},
            )  # fmt: skip
            store.create_exclusive(f"{target.address}/{MANIFEST}", made.render())
            content = made.content

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(publish, range(-(-count // len(KINDS)))))


def one_by_one(store: Store) -> float:
    """Seconds per artifact of asking whether each is there, then reading its manifest."""
    addresses = artifacts.addresses(store)
    began, done = time.perf_counter(), 0
    for address in addresses:
        if store.exists(f"{address}/{MANIFEST}"):
            manifests.read(store, address)
        done += 1
        if time.perf_counter() - began > 30:
            break
    return (time.perf_counter() - began) / done


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    """Print a table row for each store."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--artifacts", type=int, default=10_000)
    count = parser.parse_args().artifacts
    print("| store | artifacts | before, s | ls, s | lineage of the last, s |\n|-|-|-|-|-|")
    with tempfile.TemporaryDirectory() as folder:
        server = s3_server.start(Path(folder))
        try:
            os.environ |= server.environment
            for url in (f"{folder}/store", f"s3://{s3_server.BUCKET}/store"):
                store = open_store(url)
                fill(store, count)
                listing = _timed(lambda store=store: artifacts.manifests(store))
                known = lineage.read(store)
                chain = _timed(lambda known=known: known.chain(list(known.manifests.values())[-1]))
                before = one_by_one(store) * count
                kind = "S3" if url.startswith("s3") else "folder"
                print(
                    f"| {kind} | {len(known.manifests)} | {before:.1f} | {listing:.1f} | {chain:.3f} |",
                    flush=True,
                )
        finally:
            server.kill()


if __name__ == "__main__":
    main()
