"""A few queries of a report with what they find, for people: the best, the median and the worst ones.

Texts are others' and are shown cut and escaped; pictures are small.  Shape suffixes: Q = queries.
"""

import html
import io
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from cmh.evaluation.report_page import ARROWS, markdown

EACH = 2  # queries of a kind
NEAREST = 5  # items that are shown of each
_CELL, _GAP, _FRAME = 72, 8, 3  # pixels
_WIDTH = 70  # characters of a text
_RIGHT, _QUERY, _WRONG = "#009E73", "#000000", "#ffffff"


class Example(NamedTuple):
    """A query and what it finds."""

    kind: str  # best, median or worst
    score: float
    query: int  # row of the item
    hits: tuple[int, ...]  # rows, the nearest first
    right: tuple[bool, ...]  # whether each is relevant


def choose(score_Q: NDArray[np.float64]) -> list[tuple[str, int]]:
    """Return kind and position of the queries to show, each at most once; ties by position.

    >>> choose(np.array([0.1, 0.9, 0.5, 0.7, 0.2, 0.3, 0.4]))
    [('best', 1), ('best', 3), ('median', 2), ('median', 6), ('worst', 4), ('worst', 0)]
    """
    order = np.argsort(-score_Q, kind="stable").tolist()
    middle = max((len(order) - EACH) // 2, 0)
    parts = {"best": order[:EACH], "median": order[middle : middle + EACH], "worst": order[-EACH:]}
    found: dict[int, str] = {}
    for kind, places in parts.items():
        for place in places:
            found.setdefault(place, kind)
    return [(kind, place) for place, kind in found.items()]


def sheet(examples: Sequence[Example], pictures: Sequence[Sequence[NDArray[np.uint8]]]) -> bytes:
    """Return a PNG with a row per example: the query in a black frame, then its hits, right ones in green.

    Args:
        examples: in order.
        pictures: of each the query's and its hits', uint8 (H, W, 3).
    """
    step = _CELL + _GAP
    image = Image.new("RGB", (step * (1 + NEAREST) + 2 * _GAP, step * len(examples) + _GAP), "white")
    draw = ImageDraw.Draw(image)
    for row, (example, shown) in enumerate(zip(examples, pictures, strict=True)):
        frames = [_QUERY, *(_RIGHT if right else _WRONG for right in example.right)]
        for place, (picture, frame) in enumerate(zip(shown, frames, strict=True)):
            x, y = _GAP + place * step + (_GAP if place else 0), _GAP + row * step
            draw.rectangle(
                (x - _FRAME, y - _FRAME, x + _CELL + _FRAME - 1, y + _CELL + _FRAME - 1), fill=frame
            )
            image.paste(Image.fromarray(picture).resize((_CELL, _CELL), Image.Resampling.LANCZOS), (x, y))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def section(direction: str, measure: str, examples: Sequence[Example], texts: dict[int, str]) -> list[str]:
    """Return the paragraphs below the picture of one direction.

    Args:
        direction: such as "image_to_text".
        measure: what the score is.
        examples: in the order of the picture.
        texts: of every item that occurs.
    """
    rows = [
        {"": example.kind, measure: f"{example.score:.3f}", "query": plain(texts[example.query])}
        | {"nearest": "; ".join(plain(texts[row], 40) for row in example.hits[:3])}
        for example in examples
    ]
    return [f"**{ARROWS[direction]}**", f"![{direction}](queries_{direction}.png)", markdown(rows)]


def plain(text: str, width: int = _WIDTH) -> str:
    """Return a text on one line, cut, and with nothing in it that Markdown or HTML would act upon."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 10 * width]).split())
    cut = line if len(line) <= width else line[: width - 1] + "…"
    return re.sub(r"([\\`*_\[\]()|#!~$:@])", r"\\\1", html.escape(cut, quote=False))
