"""Words for an image from the nearest texts, against votes that are counted one by one."""

import math

import numpy as np
import pytest

from cmh.codes.captions import Captions
from cmh.codes.search import Index

BITS = 32
TEXTS = ("red apple", "red round apple fruit", "green apple", "blue car", "red car", "", "Red, red!")
RNG = np.random.default_rng(0)
CODES = RNG.integers(256, size=(len(TEXTS), BITS // 8), dtype=np.uint8)
CODE = RNG.integers(256, size=(1, BITS // 8), dtype=np.uint8)
HAVE = {"red": 4, "apple": 3, "round": 1, "fruit": 1, "green": 1, "blue": 1, "car": 2}


@pytest.mark.parametrize("bits", [None, 32, 16, 8])
def test_words_are_voted_for_by_near_texts(bits: int | None) -> None:
    """Near and rare words first; each with the distance of its nearest text, however often a text says it."""
    length = bits or BITS
    differ = np.unpackbits(CODES ^ CODE, axis=1)[:, :length].sum(1).tolist()
    scores, nearest = dict.fromkeys(HAVE, 0.0), dict.fromkeys(HAVE, BITS)
    for text, distance in zip(TEXTS, differ, strict=True):
        for word in HAVE:
            if word in text.lower().replace(",", "").replace("!", "").split():
                vote = math.exp((min(differ) - distance) / (0.05 * length))
                scores[word] += vote * math.log(len(TEXTS) / HAVE[word])
                nearest[word] = min(nearest[word], distance)
    expected = sorted(HAVE, key=lambda word: (-scores[word], word))
    captions = Captions(Index(CODES, BITS), TEXTS)
    assert captions.words(CODE, 10, bits) == [(word, nearest[word]) for word in expected]
    assert captions.words(CODE, 2, bits) == captions.words(CODE, 10, bits)[:2]


def test_what_all_texts_say_is_no_word_for_one() -> None:
    """Nor does a text without words give any."""
    captions = Captions(Index(CODES[:3], BITS), ["an apple", "an egg", "an"])
    assert {word for word, _ in captions.words(CODE, 10)} == {"apple", "egg"}
    assert Captions(Index(CODES[:1], BITS), [""]).words(CODE, 10) == []
