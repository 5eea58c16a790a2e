"""What a GPU does: training end to end, encoding and counting, each beside the barest way to the same.

    python -m tests.bench.bench_gpu                      # where there is one
    python -m tests.bench.bench_gpu --device cpu --tiny  # the same on a CPU, to see that it runs

Training is SCAHN's image phase with a ResNet that learns along, its data in main memory; the bare loop has
the same network and optimiser, one batch that lies on the device, and no losses against the memory.  Weights
and images are random: they change no speed.  Frozen features and search have no way on a GPU to measure.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from cmh import methods
from cmh.codes import hamming
from cmh.data.items import Items
from cmh.evaluation import histograms, histograms_gpu
from cmh.hashing.encoding import relaxed_codes
from cmh.hashing.method import Inputs, Method
from cmh.networks import backbones
from cmh.training import trainer
from tests.bench.timing import machine

WARM = 2  # steps before the clock starts
WORDS, LABELS, BITS = 1000, 24, 64


class Sizes(NamedTuple):
    backbone: str
    image: int  # side in pixels
    steps: int
    batch: int
    queries: int
    database: int


LARGE, TINY = Sizes("resnet34", 224, 60, 128, 2000, 1_000_000), Sizes("resnet18", 32, 4, 16, 20, 500)


class Row(NamedTuple):
    """What was done how fast: ours, and the barest way."""

    what: str
    ours: float
    bare: float


def drawn(sizes: Sizes, count: int) -> Items:
    """Return items without any meaning."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (count, sizes.image, sizes.image, 3), np.uint8)
    text = (rng.random((count, WORDS)) < 0.01).astype(np.uint8)
    return Items((image,), text, np.eye(LABELS, dtype=np.uint8)[np.arange(count) % LABELS], np.arange(count))


def scahn(sizes: Sizes, device: torch.device) -> Method:
    """Return the method with a backbone that learns along."""
    torch.manual_seed(0)
    backbone = backbones.load(sizes.backbone, "none")
    method = methods.load("scahn")
    inputs = Inputs(image_channels=backbone.channels, text_dim=WORDS, labels=LABELS)
    return method(methods.config("scahn", **method.SHORT, bits=BITS), inputs, backbone).to(device)


def training(sizes: Sizes, device: torch.device, precision: Any) -> Row:
    """Return images per second of the image phase, and of a bare loop."""
    items, method = drawn(sizes, sizes.batch * sizes.steps), scahn(sizes, device)
    times: list[float] = []
    calls = {"image": 0, "text": 0}

    def note(_: torch.nn.Module, given: tuple[Any, ...]) -> None:
        phase = given[0]
        if (phase, calls[phase]) in (("image", WARM), ("text", 0)):
            times.append(now(device))
        calls[phase] += 1

    with method.register_forward_pre_hook(note):
        config = trainer.Config(epochs=1, batch_size=sizes.batch, precision=precision)
        trainer.fit(method, items, items.take(np.arange(1)), config)
    ours = (sizes.steps - WARM) * sizes.batch / (times[1] - times[0])

    method = scahn(sizes, device).train()
    optimizer = torch.optim.Adam(method.parameters(), 1e-3, fused=True)
    image = on_device(items, sizes.batch, device)

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            codes = method.image_tower(method.backbone(image))
        optimizer.zero_grad()
        codes.square().mean().backward()
        optimizer.step()

    return Row(f"training, {precision}, images/s", ours, rate(step, sizes, device))


def encoding(sizes: Sizes, device: torch.device) -> Row:
    """Return images per second of encoding, and of bare forward passes."""
    items, method = drawn(sizes, sizes.batch * sizes.steps), scahn(sizes, device).eval()
    image = on_device(items, sizes.batch, device)
    relaxed_codes(method, items.take(np.arange(sizes.batch)), "image", sizes.batch)
    began = now(device)
    relaxed_codes(method, items, "image", sizes.batch)
    ours = len(items) / (now(device) - began)
    with torch.inference_mode():
        return Row("encoding, images/s", ours, rate(lambda: method.encode_image((image,)), sizes, device))


def counting(sizes: Sizes, device: torch.device) -> Row:
    """Return pairs per second of counting on the device, and by the CPU's kernel."""
    rng = np.random.default_rng(0)
    codes = [hamming.pack(rng.random((n, BITS)) < 0.5) for n in (sizes.queries, sizes.database)]
    labels = [rng.random((n, LABELS)) < 0.1 for n in (sizes.queries, sizes.database)]

    def there() -> histograms.Histograms:
        blocks = histograms.blocks(codes[1], labels[1], 1 << 18)
        return histograms_gpu.stream_histograms(codes[0], labels[0], blocks, BITS, device.type)

    def here() -> histograms.Histograms:
        return histograms.distance_histograms(*codes, *labels, BITS)

    assert (there().all_QD == here().all_QD).all()
    pairs, seconds = sizes.queries * sizes.database, []
    for way in (there, here):
        began = now(device)
        way()
        seconds.append(now(device) - began)
    return Row("counting, pairs/s; bare: the CPU's kernel", pairs / seconds[0], pairs / seconds[1])


def on_device(items: Items, count: int, device: torch.device) -> torch.Tensor:
    """Return some images as a backbone reads them."""
    return torch.from_numpy(items.image[0][:count]).permute(0, 3, 1, 2).contiguous().to(device)


def rate(work: Callable[[], object], sizes: Sizes, device: torch.device) -> float:
    """Return images per second of batches, after the first ones."""
    for _ in range(WARM):
        work()
    began = now(device)
    for _ in range(sizes.steps - WARM):
        work()
    return (sizes.steps - WARM) * sizes.batch / (now(device) - began)


def now(device: torch.device) -> float:
    """Return the time when everything that the device was given is done."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def main(given: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="sizes that a CPU is done with in seconds")
    chosen = parser.parse_args(given)
    device, sizes = torch.device(chosen.device), TINY if chosen.tiny else LARGE
    precisions = ("float32", "bfloat16") if device.type == "cuda" else ("float32",)
    if device.type == "cuda":
        print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}; ", end="")
    print(f"{machine(torch.get_num_threads())}\n{sizes}\n")
    print("| what | ours | bare | ours / bare |\n| --- | ---: | ---: | ---: |")
    trained = (training(sizes, device, precision) for precision in precisions)
    for row in (*trained, encoding(sizes, device), counting(sizes, device)):
        print(f"| {row.what} | {row.ours:.3g} | {row.bare:.3g} | {row.ours / row.bare:.2f} |", flush=True)
    if device.type == "cuda":
        print(f"\nmost memory of the device: {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")


if __name__ == "__main__":
    main()
