"""Images and texts per second of frozen networks: torch as it was, torch at its best, and ONNX Runtime.

    OMP_NUM_THREADS=2 python -m tests.bench.bench_encoding --threads 2

Weights are random: they change no speed.  Each figure is the best of three runs, all in one process.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from cmh.networks import backbones, features, minilm
from tests.cmh.networks.test_minilm import tokenizer

SIZES = {"efficientnet_lite0": 128, "efficientnet_lite2": 128, "resnet18": 128, "resnet34": 128, "vgg19": 128,
         "cnn_f": 224, "clip_vit_b32": 224}  # fmt: skip


def rate(work: Callable[[], object], items: int) -> float:
    """Items per second, the best of three."""
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return items / min(seconds)


def images(name: str, threads: int, count: int) -> dict[str, float]:
    """Images per second of a backbone, averages of its stages included."""
    torch.manual_seed(0)
    pixels = np.random.default_rng(0).integers(0, 256, (count, SIZES[name], SIZES[name], 3), np.uint8)
    backbone = backbones.load(name, "none").eval()

    def eager(network: torch.nn.Module) -> list[torch.Tensor]:
        with torch.inference_mode():
            return [stage.mean((2, 3)) for stage in network(torch.from_numpy(pixels).permute(0, 3, 1, 2))]

    found = {"torch": rate(lambda: eager(backbone), count)}
    for batch in (4, 16, 64):
        extractor = features.Extractor(backbone, image_size=SIZES[name], batch=batch, threads=threads)
        found[f"ONNX Runtime, batches of {batch}"] = rate(lambda one=extractor: one(pixels), count)
    last_in_memory = backbone.to(memory_format=torch.channels_last)
    return found | {"torch, channels_last": rate(lambda: eager(last_in_memory), count)}


def texts(threads: int, count: int) -> dict[str, float]:
    """Texts per second of MiniLM with six layers, texts of 4 to 40 words."""
    torch.manual_seed(0)
    encoder = minilm.MiniLMText(6, tokenizer()).eval()
    lengths = np.random.default_rng(0).integers(4, 40, count)
    said = [f"{'dog ' * length}{number}" for number, length in enumerate(lengths)]
    on_runtime = encoder.on_runtime(threads)
    return {
        "torch": rate(lambda: encoder.features(said), count),
        "ONNX Runtime": rate(lambda: on_runtime(said), count),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("names", nargs="*", default=[*SIZES, "minilm_l6_v2"])
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    print(f"| network | engine | items/s, {given.threads} threads | of torch |\n| --- | --- | ---: | ---: |")
    for name in given.names:
        count = given.count
        found = images(name, given.threads, count) if name in SIZES else texts(given.threads, 4 * count)
        for engine, speed in found.items():
            print(f"| {name} | {engine} | {speed:.0f} | {speed / found['torch']:.2f} |", flush=True)


if __name__ == "__main__":
    main()
