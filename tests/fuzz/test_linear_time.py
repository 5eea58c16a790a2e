"""Text that makes careless patterns explode: twice the length takes about twice the time."""

import time
from collections.abc import Callable

import numpy as np
import pytest

from cmh.data import item_table, labels, svg
from cmh.data.readers import iaprtc12
from cmh.data.texts import words
from infra import logging


def svg_guard(text: str) -> None:
    with pytest.raises(ValueError, match="outside itself"):
        svg.draw(f"{text} url(x)".encode(), 8)


CASES: dict[str, tuple[Callable[[str], object], Callable[[int], str]]] = {
    "mask: dashes": (logging.mask, lambda n: "-" * n),
    "mask: words and dashes": (logging.mask, lambda n: "a-" * n),
    "mask: a secret's name and spaces": (logging.mask, lambda n: "token" + " " * n),
    "mask: names of secrets": (logging.mask, lambda n: "secret_" * n),
    "mask: schemes": (logging.mask, lambda n: "://a" * n),
    "plain: escapes": (logging.plain, lambda n: "\x1b[2J" * n),
    "svg: spaces": (svg_guard, lambda n: f"href{' ' * n}url({' ' * n}"),
    "svg: many urls": (svg_guard, lambda n: "url(   " * n),
    "svg: prefixes": (svg_guard, lambda n: "<a" * n + "b" * n),
    "iaprtc12: titles": (iaprtc12._text, lambda n: "<TITLE>" * n),
    "words: marks": (words, lambda n: "a" + "\u0301" * n),
    "words: letters of many scripts": (words, lambda n: "aя火かไ" * n),
    "labels: a list": (lambda text: _cell(text), lambda n: "[" + "'a'," * n + " " * n),
    "labels: quotes": (lambda text: _cell(text), lambda n: "['" + "a" * n + " " * n),
}


def _cell(text: str) -> None:
    with pytest.raises(ValueError, match="not understood"):
        item_table._labels(text, "here")


@pytest.mark.parametrize("name", CASES)
def test_time_is_linear_in_the_length(name: str) -> None:
    """Four times the length takes far less than sixteen times the time, or next to nothing."""
    run, text = CASES[name]

    def seconds(length: int) -> float:
        given = text(length)
        began = time.perf_counter()
        run(given)
        return time.perf_counter() - began

    seconds(100)
    short = min(seconds(10_000) for _ in range(3))
    long = min(seconds(40_000) for _ in range(3))
    assert long < max(9 * short, 0.05), (short, long)


def test_many_labels_take_a_moment() -> None:
    """7,333 labels over 10,000 items: a loop over all labels for each item would take minutes."""
    traits = [{"labels": (f"label {n % 4000}", f"label {n // 3}")} for n in range(10_000)]
    began = time.perf_counter()
    names, label_NL = labels.assign(traits, {})
    assert time.perf_counter() - began < 3
    assert label_NL.shape == (10_000, len(names))
    assert np.array_equal(
        np.flatnonzero(label_NL[5]), sorted({names.index("label 5"), names.index("label 1")})
    )
