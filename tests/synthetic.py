"""Synthetic pairs for tests: items that know their labels in noise, and batches and memories of random codes.

`clusters`    stage features and words, several stages: for what surrounds a method (`tests.tiny`)
`linear`      one vector per side, noisy linear images of a label: for methods without phases
`wordy`       stage maps and words, or words in their order: for what every method must do
`random_*`    batches, labels and memories of no meaning, float64: for equations against slow loops
"""

import numpy as np
import torch
from torch import Tensor

from cmh.data.batches import Batch
from cmh.data.items import Items
from cmh.hashing.code_memory import CodeMemory


def clusters(count: int, seed: int, *, labels: int, text: int, channels: tuple[int, ...]) -> Items:
    """Features and texts of one label each, in noise; the mixing is the same for every seed."""
    rng = np.random.default_rng(seed)
    label = np.zeros((count, labels), np.uint8)
    label[np.arange(count), rng.integers(labels, size=count)] = 1
    mixing, width = np.random.default_rng(99), sum(channels)
    image = label @ mixing.normal(size=(labels, width)) + rng.normal(scale=0.4, size=(count, width))
    words = rng.random((count, text)) < label @ mixing.uniform(-0.4, 0.9, size=(labels, text)) + 0.05
    ends = np.cumsum(channels)[:-1]
    stages = tuple(part[:, :, None, None].astype(np.float32) for part in np.split(image, ends, axis=1))
    return Items(stages, words.astype(np.uint8), label, np.arange(count))


def linear(count: int, seed: int, *, labels: int, image: int, text: int | None, noise: float = 1.0) -> Items:
    """Features and texts that are noisy linear images of one label each; the mixing is the same always.

    Where `text` is None, texts lie in the space of the images.
    """
    mixing, rng = np.random.default_rng(7), np.random.default_rng(seed)
    label = np.eye(labels, dtype=np.uint8)[rng.integers(labels, size=count)]
    image_mixing = mixing.normal(size=(labels, image))
    text_mixing = image_mixing if text is None else mixing.normal(size=(labels, text))
    sides = (label @ m + noise * rng.normal(size=(count, m.shape[1])) for m in (image_mixing, text_mixing))
    features, words = (side.astype(np.float32) for side in sides)
    return Items((features[:, :, None, None],), words, label, np.arange(count))


def wordy(
    count: int, *, labels: int, words: int, channels: tuple[int, ...], sequences: bool = False
) -> Items:
    """Stage maps of 2 × 2 places and texts that know their one label, in noise; words in order if asked."""
    rng = np.random.default_rng(0)
    label = np.eye(labels, dtype=np.uint8)[rng.integers(0, labels, count)]
    text = (label @ rng.random((labels, words)) > 0.75) | (rng.random((count, words)) < 0.05)
    image = tuple(
        ((label @ rng.normal(size=(labels, c)))[:, :, None, None] + rng.normal(size=(count, c, 2, 2))).astype(
            np.float32
        )
        for c in channels
    )
    if sequences:
        last_first = np.sort(text * np.arange(1, words + 1, dtype=np.int32))[:, ::-1]
        return Items(image, last_first.copy(), label, np.arange(count))
    return Items(image, text.astype(np.uint8), label, np.arange(count))


def random_labels(rows: int, labels: int) -> Tensor:
    """Multi-hot, the first two alike and not empty, the third without any."""
    labels_NL = (torch.rand(rows, labels) < 0.4).double()
    labels_NL[:3] = torch.tensor([[1, 0, 1], [1, 0, 1], [0, 0, 0]])
    return labels_NL


def random_memory(items: int, bits: int, labels: int) -> CodeMemory:
    """Random codes of so many items."""
    filled = CodeMemory(random_labels(items, labels), bits, seed=3)
    filled.image_NK, filled.text_NK = filled.image_NK.double(), filled.text_NK.double()
    filled.consensus_NK = filled.consensus_NK.double()
    return filled


def random_batch(
    items: int, rows: int, *, words: int, channels: tuple[int, ...], labels: int, memory: CodeMemory | None
) -> Batch:  # fmt: skip
    """Both modalities of some rows, with the labels that the memory has in these rows, or random ones."""
    index_B = torch.randperm(items)[:rows]
    return Batch(
        index_B,
        tuple(torch.randn(rows, c, 2, 3, dtype=torch.float64) for c in channels),
        torch.poisson(torch.full((rows, words), 0.3, dtype=torch.float64)),
        random_labels(rows, labels) if memory is None else memory.labels_NL[index_B],
    )
