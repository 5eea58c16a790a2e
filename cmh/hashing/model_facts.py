"""What is known of a model besides its weights: the contents of its `config.json`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cmh.codes import hamming

MAX_IMAGE, MAX_TEXT = 2048, 100_000  # pixels of a side, numbers of a text


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The description of a model besides its weights, the contents of `config.json`."""

    method: str
    revision: int  # of the method
    settings: dict[str, Any]  # all fields of the method's Config
    backbone: str
    pretrained: str  # source of the backbone's initial weights
    grid: int | None  # side of the stage maps of a frozen backbone, 1 if pooled; None: a trained backbone
    stored_size: int  # side in pixels of the images in the images artifact
    image_size: int  # side in pixels to which they are resized for the backbone
    text_dim: int
    labels: int
    order: tuple[int, ...]  # stored position → bit of the model
    significance: tuple[float, ...] | None  # by bit of the model
    given: tuple[int, ...] | None = None  # channels of the image features, of a dataset of features
    length: int | None = None  # number of words to which texts are cut, of methods that read words in order
    text: str = "words"  # or the name of the network that computes text features
    words: bool = False  # whether the words of the vocabulary stand beside a text network's features

    @property
    def bits(self) -> int:
        """The length of the codes."""
        return len(self.order)


def read(folder: Path) -> tuple[Facts, tuple[str, ...], tuple[str, ...]]:
    """Return a model's facts, the words of its vocabulary and its labels, which match each other.

    Raises:
        ValueError: they do not; of files that are no JSON or lack fields, also KeyError and TypeError.
        OSError: a file is missing.
    """
    config = json.loads((folder / "config.json").read_text())
    tuples = {key: config[key] and tuple(config[key]) for key in ("order", "significance", "given")}
    facts = Facts(**config | tuples)
    vocabulary, labels = (
        tuple((folder / f"{name}.txt").read_text().splitlines()) for name in ("vocabulary", "labels")
    )
    check(folder, facts, vocabulary, labels)
    return facts, vocabulary, labels


def check(folder: Path, model_facts: Facts, vocabulary: tuple[str, ...], labels: tuple[str, ...]) -> None:
    """Refuse facts that do not match each other or the files, before anything of their size is made.

    Raises:
        ValueError: saying what does not match.
    """
    bits = len(model_facts.order)
    words = model_facts.text == "words" and model_facts.given is None
    for fault, found in (
        (f"order is no permutation of 0 to {bits - 1}", sorted(model_facts.order) != list(range(bits))),
        (f"{bits} bits, of at most {hamming.MAX_BITS}", not 1 <= bits <= hamming.MAX_BITS),
        ("another number of significances", len(model_facts.significance or model_facts.order) != bits),
        (
            f"{len(vocabulary)} words for {model_facts.text_dim}",
            words and len(vocabulary) != model_facts.text_dim,
        ),
        (f"{len(labels)} labels for {model_facts.labels}", len(labels) != model_facts.labels),
        (
            f"images beyond {MAX_IMAGE} pixels",
            not 1 <= max(model_facts.stored_size, model_facts.image_size) <= MAX_IMAGE,
        ),
        (f"more than {MAX_TEXT} numbers of a text", not 1 <= model_facts.text_dim <= MAX_TEXT),
    ):
        if found:
            raise ValueError(f"{folder} holds no whole model: {fault}; fetch or train it again")
