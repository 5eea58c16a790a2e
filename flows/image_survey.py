"""Look at the images of a dataset, all or a sample, by decoding them as a run does."""

import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from cmh.data import image_facts, near_duplicates
from cmh.data.images import decode_image
from cmh.data.records import Record

SAMPLE = 500  # images that are looked at, unless all are asked for
SECONDS = 30.0  # and for how long


@dataclass
class Survey:
    """What was seen.

    Attributes:
        seen: images that were looked at.
        damaged: name → why the image cannot be used.
        kinds: images by format and mode.
        sides: the shorter side of each, pixels.
        odd: what is unusual → names of the images.
        hashes: name → perceptual hash.
    """

    seen: int = 0
    damaged: dict[str, str] = field(default_factory=dict)
    kinds: Counter[str] = field(default_factory=Counter)
    sides: list[int] = field(default_factory=list)
    odd: dict[str, list[str]] = field(default_factory=dict)
    hashes: dict[str, int] = field(default_factory=dict)

    def lines(self, size: int) -> list[str]:
        """Return it in words, a line each; size: side in pixels at which a run stores images."""
        found = [", ".join(f"{count} {kind}" for kind, count in self.kinds.most_common())]
        if self.sides:
            smaller = sum(side < size for side in self.sides)
            found.append(
                f"shorter side {min(self.sides)} to {max(self.sides)} pixels, stored at {size}"
                + (f"; {smaller} are smaller and are enlarged" if smaller else "")
            )
        found += [f"{len(names)} {what}, such as {names[0]}" for what, names in self.odd.items()]
        return [line for line in found if line]

    def alike(self) -> list[tuple[str, str]]:
        """Return the pairs of images that look alike."""
        names = list(self.hashes)
        pairs = near_duplicates.pairs(np.array([self.hashes[name] for name in names], np.uint64))
        return [(names[one], names[other]) for one, other in pairs]


def survey(images: Sequence[Record], size: int, *, every_image: bool) -> Survey:
    """Decode images at `size` pixels: all, or SAMPLE of them for SECONDS at most."""
    order = list(range(len(images)))
    if not every_image:
        order = random.Random(0).sample(order, min(SAMPLE, len(order)))  # not sorted: time may run out
    found, began = Survey(), time.monotonic()
    for row in order:
        if not every_image and time.monotonic() - began > SECONDS:
            break
        _look(found, images[row], size)
    return found


def _look(found: Survey, image: Record, size: int) -> None:
    name = image.image_name
    found.seen += 1
    try:
        data = image.image()
        pixels = decode_image(data, image.media_type, size)
    except (OSError, ValueError) as error:
        found.damaged[name] = str(error) or type(error).__name__
        return
    found.hashes[name] = near_duplicates.perceptual_hash(pixels)
    facts = image_facts.read(data)
    found.kinds["SVG" if facts is None else f"{facts.format} {facts.mode}"] += 1
    if facts is not None:
        found.sides.append(min(facts.width, facts.height))
        for oddity in facts.oddities(name):
            found.odd.setdefault(oddity, []).append(name)
