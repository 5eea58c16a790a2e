"""Seconds of an epoch of training on frozen features: drawn items, in numbers and sizes those of emoji.

    python -m tests.bench.bench_training --threads 2
    python -m tests.bench.bench_training joint --profile     # which operations take them

The items say nothing, so figures of retrieval are those of chance; times depend on their sizes only.  To
compare two commits, run both by turns on the same threads and read the processor time: other programs on the
machine disturb it least.
"""

import argparse
import time

import numpy as np
import torch

from cmh import methods
from cmh.data.items import Items
from cmh.hashing.method import Inputs, Method
from cmh.networks import backbones
from cmh.training import trainer
from cmh.training.trainer import Config
from tests.bench.timing import machine

CHANNELS = (24, 40, 112, 1280)  # stages of EfficientNet-lite0
WORDS, TEXT, LABELS = 2000, 384, 44  # words of the vocabulary, numbers of a text by MiniLM
METHODS = ("joint", "scahn", "dspah", "mlsph", "ucch")
GRID = 4  # of maps, for the methods that read them


def items(count: int, *, words_only: bool, grid: int) -> Items:
    """Return items without any meaning: a dozen words and one or two labels each."""
    rng = np.random.default_rng(0)
    bag = (rng.random((count, WORDS)) < 12 / WORDS).astype(np.uint8)
    text = bag if words_only else np.hstack([rng.standard_normal((count, TEXT)), bag]).astype(np.float32)
    label = (rng.random((count, LABELS)) < 0.5 / LABELS).astype(np.uint8)
    label[np.arange(count), rng.integers(LABELS, size=count)] = 1
    image = tuple(rng.standard_normal((count, size, grid, grid), np.float32) for size in CHANNELS)
    return Items(image, text, label, np.arange(count))


def build(name: str) -> Method:
    """Return the method by its recipe for few epochs on frozen features."""
    torch.manual_seed(0)
    method = methods.load(name)
    text = TEXT + WORDS if method.texts else WORDS
    config = methods.config(name, **method.SHORT)
    return method(
        config, Inputs(image_channels=CHANNELS, text_dim=text, labels=LABELS), backbones.Frozen(CHANNELS)
    )


def epoch(name: str, count: int, profile: bool) -> tuple[float, float, float]:
    """Return wall and processor seconds of the second epoch, with validation, and the median of a step.

    A step is measured by the processor time of its thread, from one forward pass to the next.
    """
    method = build(name)
    grid = GRID if method.reads_maps(method.config) else 1
    drawn = items(count + count // 8, words_only=not method.texts, grid=grid)
    train, validation = drawn.take(np.arange(count)), drawn.take(np.arange(count, len(drawn)))
    ends: list[tuple[float, float]] = []
    steps: list[float] = []
    method.register_forward_pre_hook(lambda *_: steps.append(time.thread_time()))
    config = Config(epochs=2, batch_size=128 if name == "joint" else 64)

    def fit() -> None:
        trainer.fit(
            method, train, validation, config,
            on_epoch=lambda *_: ends.append((time.perf_counter(), time.process_time())),
        )  # fmt: skip

    if profile:
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
            fit()
        print(
            seen.key_averages().table(sort_by="self_cpu_time_total", row_limit=25, max_name_column_width=40)
        )
    else:
        fit()
    (wall, processor), (later, more) = ends
    return later - wall, more - processor, float(np.median(np.diff(steps)))


def main(given: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--items", type=int, default=6000)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("names", nargs="*", default=METHODS)
    chosen = parser.parse_args(given)
    torch.set_num_threads(chosen.threads)
    print(f"\n## Training, {chosen.items} items, frozen features\n\n{machine(chosen.threads)}\n")
    print(f"| method | s an epoch, {chosen.threads} threads | processor s | ms a step of it |")
    print("| --- | ---: | ---: | ---: |")
    for name in chosen.names:
        wall, processor, step = epoch(name, chosen.items, chosen.profile)
        print(f"| {name} | {wall:.2f} | {processor:.2f} | {step * 1e3:.1f} |", flush=True)


if __name__ == "__main__":
    main()
