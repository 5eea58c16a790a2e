"""Measure how time and memory of each stage grow with the number of items: `python -m tests.bench.growth`.

Photos of 32 pixels with a text of 8 words and 1 to 3 labels each are made once per number of items, in a
folder with a table.  Each stage runs in a process of its own, as `cmh run` runs it but without Prefect; its
workers are processes.  1,000 items are trained on whatever the number, so the model does not grow.

Memory is the largest resident set: of the driver as the kernel counts it, of a worker as it is sampled.
"""

import argparse
import csv
import itertools
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import yaml
from PIL import Image

from flows import engines, pipeline, preflight, sources
from flows.experiment import BackboneSettings, EvaluationSettings, Experiment
from flows.resources import Resources
from flows.run import Run, resolve
from flows.stages import dataset, encode, features, images, train
from infra import artifacts, stores

ENTRY = "growth.yaml"  # describes the set in a folder
STAGES = ("preflight", "images", "dataset", "features", "model", "codes")
SIDE, WORDS, VOCABULARY, LABELS, TRAINED = 32, 8, 5000, 24, 1000


def generate(folder: Path, count: int) -> None:
    """Write `count` photos, their table, and the catalog entry that trains on 1,000 of them."""
    rng = np.random.default_rng(count)
    share_V = 1 / np.arange(1, VOCABULARY + 1)
    with (folder / "items.csv").open("w", newline="") as out:
        table = csv.writer(out)
        table.writerow(["image", "text", "labels"])
        for number in range(count):
            name = f"{number // 1000:04}/{number:07}.jpg"
            path = folder / "photos" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(path, quality=85)
            words = rng.choice(VOCABULARY, WORDS, p=share_V / share_V.sum())
            labels = rng.choice(LABELS, rng.integers(1, 4), replace=False)
            row = [name, " ".join(f"word{word}" for word in words), "|".join(f"label{n}" for n in labels)]
            table.writerow(row)
    sources = {"images": folder / "photos", "items": folder / "items.csv"}
    entry = {
        "name": "growth", "title": f"{count} generated pairs", "reader": "folder",
        "sources": {name: {"kind": "path", "path": str(path)} for name, path in sources.items()},
        "images": {"size": SIDE}, "split": {"query": 0.01, "validation": 0.01, "train": TRAINED},
    }  # fmt: skip
    (folder / ENTRY).write_text(yaml.safe_dump(entry))


def experiment(folder: Path) -> Experiment:
    """Return what is measured: EfficientNet-lite0 on photos of 32 pixels, CCA-ITQ on its features."""
    return Experiment(
        dataset=str(folder / ENTRY), method="cca_itq", bits=32,
        backbone=BackboneSettings(image_size=SIDE), evaluation=EvaluationSettings(bits=(32,)),
    )  # fmt: skip


def run_stage(name: str, folder: Path, threads: int) -> None:
    """Run one stage in this process; the time of what comes before it is not counted."""
    store, resources = stores.open_store(), Resources(threads=threads, ray=None, dask=None)
    if name == "preflight":
        _say("begin")
        run = resolve(experiment(folder))
        preflight.check_settings(run)
        sources.checksums(run.entry)
    else:
        engines.prepare(resources)
        run = resolve(experiment(folder))
        place, refs = pipeline.Place(store, resources), {}
        for stage in pipeline.stages(run, name):
            target = stage.target(run, refs)
            found = artifacts.lookup(store, target)
            if stage.kind == name:
                _say("begin")
                _make(place, name, run, refs, target)
            elif found is None:
                raise ValueError(f"{stage.kind} is not there; run the stages in order")
            else:
                refs[stage.kind] = found
    _say("end", peak=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10)


def _make(place: pipeline.Place, name: str, run: Run, refs: pipeline.Refs, target: artifacts.Target) -> None:
    at, limit = place.resources, run.experiment.limit
    match name:
        case "images":
            images.make.compute(place.store, target, run.entry, limit, at)
        case "dataset":
            dataset.make.compute(place.store, target, refs["images"], run.entry, limit)
        case "features":
            features.make.compute(place.store, target, refs["images"], run.experiment.backbone, at)
        case "model":
            train.make.compute(place.store, target, run, refs["dataset"], refs["features"], at)
        case "codes":
            given = refs["model"], refs["dataset"], refs["images"], refs["features"]
            encode.make.compute(place.store, target, *given, at)


def _say(what: str, **facts: int) -> None:
    print(json.dumps({"said": what, "at": time.time(), **facts}), flush=True)


def measure(name: str, folder: Path, threads: int) -> dict[str, float]:
    """Run one stage in a process of its own; return seconds and peaks in bytes."""
    command = [sys.executable, "-m", "tests.bench.growth", "--stage", name, "--folder", str(folder)]
    environment = os.environ | {"CMH_HOME": str(folder / "home"), "OMP_NUM_THREADS": "1"}
    for address in ("CMH_STORE", "RAY_ADDRESS", "DASK_SCHEDULER_ADDRESS"):
        environment.pop(address, None)
    worker = 0
    with (folder / f"{name}.log").open("w+") as log:
        process = subprocess.Popen(
            [*command, "--threads", str(threads)], stdout=log, stderr=subprocess.STDOUT, env=environment
        )
        while process.poll() is None:
            worker = max([worker, *_resident(process.pid)])
            time.sleep(0.1)
        log.seek(0)
        text = log.read()
    lines = [json.loads(line) for line in text.splitlines() if line.startswith('{"said"')]
    said = {line["said"]: line for line in lines}
    if process.returncode or "end" not in said:
        raise RuntimeError(f"{name} of {folder} failed:\n{text[-3000:]}")
    seconds = said["end"]["at"] - said["begin"]["at"]
    return {"seconds": seconds, "driver": said["end"]["peak"], "worker": worker}


def _resident(pid: int) -> list[int]:
    """Return the memory of each process that makes parts."""
    found = []
    try:
        for child in psutil.Process(pid).children(recursive=True):
            try:
                found.append(child.memory_info().rss)
            except psutil.Error:  # it ended
                continue
    except psutil.Error:
        pass
    return found


def main(place: Path, counts: list[int], threads: int, wanted: list[str]) -> None:
    """Print seconds and memory for each stage and number of items, and what an item adds."""
    for count in counts:
        if not (place / str(count) / ENTRY).exists():
            (place / str(count)).mkdir(parents=True, exist_ok=True)
            generate(place / str(count), count)
    print("| stage | items | seconds | driver, MiB | a worker, MiB |\n| --- | --- | --- | --- | --- |")
    found: dict[tuple[str, int], dict[str, float]] = {}
    for name, count in itertools.product(wanted, counts):
        one = found[name, count] = measure(name, place / str(count), threads)
        print(
            f"| {name} | {count:,} | {one['seconds']:.1f} | {one['driver'] / 2**20:.0f} "
            f"| {one['worker'] / 2**20:.0f} |",
            flush=True,
        )
    if len(counts) < 2:
        return
    few, many = counts[-2], counts[-1]
    print(f"\nAn item more, from {few:,} to {many:,}:\n")
    print("| stage | ms | driver, bytes | a worker, bytes |\n| --- | --- | --- | --- |")
    for name in wanted:
        added = {
            key: (found[name, many][key] - found[name, few][key]) / (many - few)
            for key in ("seconds", "driver", "worker")
        }
        print(f"| {name} | {1000 * added['seconds']:.2f} | {added['driver']:.0f} | {added['worker']:.0f} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/cmh-growth"))
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--stages", nargs="+", default=[*STAGES], choices=STAGES)
    parser.add_argument("--stage", choices=STAGES, help="run this one here, in --folder")
    given = parser.parse_args()
    if given.stage:
        run_stage(given.stage, given.folder, given.threads)
    else:
        main(given.folder, given.counts, given.threads, given.stages)
