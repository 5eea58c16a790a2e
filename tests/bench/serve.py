"""Requests per second and latency of `cmh serve` over 1 M × 64 bits, beside bare encoding and scan.

    python -m tests.bench.serve my-photos/model

A collection of random codes with int8 embeddings is made with the model, and served as `cmh serve` does it.
The bare way encodes the same texts in one process, as many at a time as there are clients, and searches by
them: what the model and the engine allow, without HTTP.  Clients send one text after the other over
connections that stay open; they share the machine's cores with the service.

On a machine that others use, windows differ more than the two ways do.  So bare and service take turns in
short slices, the best slice of each counts (of bare, also over one thread and all), and the processor time
for a text stands beside it, which says more there.  A ratio far above 1 says that the slices were not alike:
the service does all that bare does.
"""

import argparse
import asyncio
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import psutil

from cmh import collection
from cmh.codes import embeddings, hamming
from cmh.codes.threads import chosen_threads
from cmh.collection_files import changes, manifest
from cmh.engine import Engine
from cmh.hashing import model_facts
from cmh.hashing.encoder import Encoder
from infra import stores
from tests.bench.timing import machine

ITEMS, K, WORDS = 1_000_000, 10, 8
CLIENTS = (1, 16, 64)


@dataclass(frozen=True)
class Slice:
    """What one way did for a while."""

    per_second: float
    processor_ms: float  # for a text
    latency_ms: np.ndarray
    wrong: int = 0


def texts(trained: Encoder, count: int) -> list[str]:
    """Texts of words that the model knows, all different."""
    rng = random.Random(0)
    return [" ".join(rng.choices(trained.vocabulary, k=WORDS)) for _ in range(count)]


def bare(engine: Engine, asked: list[str], together: int, seconds: float, threads: int) -> Slice:
    """Encode `together` texts at a time, and search."""
    done, began, processor = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - began < seconds:
        some = [asked[(done + i) % len(asked)] for i in range(together)]
        for query_K in engine.model.relax_texts(some):
            engine.nearest(query_K, K, threads=threads)
        done += together
    wall = time.perf_counter() - began
    return Slice(done / wall, (time.process_time() - processor) / done * 1e3, np.empty(0))


def load(served: subprocess.Popen[str], port: int, asked: list[str], clients: int, seconds: float) -> Slice:
    """Ask by so many clients for a while; a wrong answer is any but 200 with K hits."""
    process = psutil.Process(served.pid)
    before, began = sum(process.cpu_times()[:2]), time.perf_counter()
    latency, wrong = asyncio.run(_ask(port, asked, clients, began + seconds))
    wall, processor = time.perf_counter() - began, sum(process.cpu_times()[:2]) - before
    return Slice(len(latency) / wall, processor / len(latency) * 1e3, np.array(latency) * 1e3, wrong)


async def _ask(port: int, asked: list[str], clients: int, until: float) -> tuple[list[float], int]:
    """Return the seconds of each request, and how many were answered wrongly."""
    latency, wrong = [], 0

    async def client(number: int) -> None:
        nonlocal wrong
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        turn = number
        while time.perf_counter() < until:
            path = "/search?" + urlencode({"text": asked[turn % len(asked)], "k": K})
            began = time.perf_counter()
            writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = re.search(r"content-length: (\d+)", head)
            body = await reader.readexactly(int(length.group(1)) if length else 0)
            latency.append(time.perf_counter() - began)
            wrong += " 200 " not in head.splitlines()[0] or len(json.loads(body)["hits"]) != K
            turn += clients
        writer.close()

    await asyncio.gather(*(client(number) for number in range(clients)))
    return latency, wrong


def serve(folder: Path, threads: int) -> tuple[subprocess.Popen[str], int]:
    """A running service, and its port."""
    command = [sys.executable, "-c", "from flows.cli import main; main()", "serve", str(folder)]
    served = subprocess.Popen(
        [*command, "--threads", str(threads)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
    )
    assert served.stdout is not None
    for line in served.stdout:
        if found := re.search(r"http://\S+:(\d+)/", line):
            return served, int(found.group(1))
    raise SystemExit("the service did not start")


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="folder of a model, such as that of a collection")
    parser.add_argument("--items", type=int, default=ITEMS)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each slice")
    parser.add_argument("--rounds", type=int, default=4, help="slices of each way")
    options = parser.parse_args()
    threads = chosen_threads(None)
    bits = model_facts.read(options.model)[0].bits
    relaxed_NK = np.random.default_rng(0).standard_normal((options.items, bits), np.float32)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "collection"
        changes.create(place, options.model, "text", "model/bench/0", embeddings="int8")
        with changes.lock(place):
            names = [f"text {n}" for n in range(options.items)]
            changes.add_part(
                place,
                manifest.read(place),
                hamming.pack(relaxed_NK >= 0),
                names,
                embeddings_NK=embeddings.shrink(relaxed_NK, "int8"),
            )
        engines = {
            used: collection.open_collection(place, threads=used, cache=stores.graphs())
            for used in sorted({1, threads})
        }
        asked = texts(engines[1].model, 20_000)
        began = time.perf_counter()
        served, port = serve(place, threads)
        opened = time.perf_counter() - began
        what = f"{options.items:,} items × {bits} bits, texts of {WORDS} words, k = {K}"
        print(f"{what}; {machine(threads)}")
        print(
            f"The service answered {opened:.1f} s after its start; load average {os.getloadavg()[0]:.1f}.\n"
        )
        print(
            "| clients | requests/s | p50 ms | p99 ms | bare texts/s | ratio | CPU ms | bare CPU ms | wrong |"
        )
        print("|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
        try:
            for clients in CLIENTS:
                load(served, port, asked, clients, 1.0)
                alone, through = [], []
                for _ in range(options.rounds):
                    for used, engine in engines.items():
                        alone.append(bare(engine, asked, clients, options.seconds, used))
                    through.append(load(served, port, asked, clients, options.seconds))
                best, most = (max(s.per_second for s in slices) for slices in (through, alone))
                p50, p99 = np.percentile(np.concatenate([s.latency_ms for s in through]), [50, 99])
                cpu, bare_cpu = (min(s.processor_ms for s in slices) for slices in (through, alone))
                wrong = sum(s.wrong for s in through)
                print(
                    f"| {clients} | {best:.0f} | {p50:.1f} | {p99:.1f} | {most:.0f} | {best / most:.2f} | "
                    f"{cpu:.1f} | {bare_cpu:.1f} | {wrong} |",
                    flush=True,
                )
            print(f"\nload average at the end {os.getloadavg()[0]:.1f}")
        finally:
            served.send_signal(signal.SIGINT)
            served.wait(30)


if __name__ == "__main__":
    main()
