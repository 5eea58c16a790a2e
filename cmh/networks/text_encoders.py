"""Frozen text networks: each turns any text into a vector of features, with the publisher's weights.

    encoder = text_encoders.load("minilm_l6_v2", Path("model.safetensors"), Path("tokenizer.json"))
    encoder.features(["a dog in the snow"])     # float32 (1, 384)

To add a network, add one entry to `SPECS`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cmh.networks import clip, minilm, weights
from cmh.networks.frozen_text import TextEncoder

WORDS = "words"  # in place of a network's name: texts are the words of the dataset's vocabulary


@dataclass(frozen=True, kw_only=True)
class TextSpec:
    """The description of a text network."""

    load: Callable[[Path, Path], TextEncoder]  # of the weights, and of the tokeniser where it has a file
    features: int  # F
    tokens: int  # of a text that are read
    batch: int  # texts computed at once
    default: Literal["package", "clip", "none"]  # source of the default weights
    revision: int  # raised when features change
    has_tokenizer: bool = True  # whether a file tokenizer.json lies beside the weights
    check_installed: Callable[[], None] | None = None
    about: str


def _clip(file: Path, tokenizer: Path) -> TextEncoder:
    return clip.load_text(file)


SPECS: Mapping[str, TextSpec] = {
    "clip_vit_b32": TextSpec(
        load=_clip,
        features=clip.TEXT_FEATURES,
        tokens=75,
        batch=clip.TEXT_BATCH,
        default="clip",
        revision=clip.TEXT_REVISION,
        has_tokenizer=False,
        check_installed=clip.check_installed,
        about="CLIP's text network, whose space is that of the image network of the same name",
    ),
    "minilm_l6_v2": TextSpec(
        load=partial(minilm.load, 6),
        features=minilm.FEATURES,
        tokens=minilm.TOKENS,
        batch=minilm.BATCH,
        default="package",
        revision=minilm.REVISION,
        about="sentence embeddings of English texts, small and fast",
    ),
    "multilingual_minilm_l12_v2": TextSpec(
        load=partial(minilm.load, 12),
        features=minilm.FEATURES,
        tokens=minilm.TOKENS,
        batch=minilm.BATCH,
        default="none",
        revision=minilm.REVISION,
        about="sentence embeddings of some fifty languages; you bring model.safetensors and tokenizer.json "
        "of paraphrase-multilingual-MiniLM-L12-v2",
    ),
}


def names() -> list[str]:
    """Return the names of all text networks, sorted."""
    return sorted(SPECS)


def spec(name: str) -> TextSpec:
    """Return the description of a text network.

    Raises:
        ValueError: no text network has that name.
    """
    if name not in SPECS:
        raise ValueError(f"text network {name!r} unknown; available: {', '.join(names())}")
    return SPECS[name]


def with_words(features_BF: NDArray[np.float32], bag_BD: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return features and words of texts side by side, float32 (B, F + D).

    Networks give vectors of length 1 or so; times √F their numbers are about as large as the words' counts.

    Args:
        features_BF: features by a text network.
        bag_BD: counts of the words of the vocabulary.
    """
    scaled_BF = features_BF * np.float32(features_BF.shape[1] ** 0.5)
    return np.concatenate([scaled_BF, bag_BD.astype(np.float32)], axis=1)


def tokenizer_beside(file: Path) -> Path:
    """Return where the tokeniser of a file of weights lies."""
    return file.with_name("tokenizer.json")


def load(name: str, file: Path, tokenizer: Path | None = None) -> TextEncoder:
    """Return a text network in evaluation mode, on the CPU.

    Args:
        name: one of `names()`.
        file: the weights.
        tokenizer: the file of the tokeniser; None: tokenizer.json beside the weights.

    Raises:
        ValueError: an unknown name, a missing or damaged file, or a package that is not installed.
    """
    return spec(name).load(file, tokenizer or tokenizer_beside(file))


def save(encoder: TextEncoder, file: Path) -> None:
    """Write a text network's weights into a file, and its tokeniser beside it, as `load` reads them."""
    weights.write(encoder.network.state_dict(), file)
    if encoder.tokenizer is not None:
        tokenizer_beside(file).write_text(encoder.tokenizer, encoding="utf-8")
