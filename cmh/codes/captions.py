"""Words for an image, from the texts whose codes are nearest to its own.

Words are encoded badly one by one, as methods learn from whole texts: of the ten words chosen here, twice as
many are a drawing's own as of the ten whose own codes are nearest (`python -m tests.bench.image_words`).

    captions = Captions(Index(text_codes, 64), texts)
    captions.words(code_1P, 10)

Shape suffixes: P = packed bytes.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cmh.codes.search import Index
from cmh.data import texts

_NEAREST = 200  # texts that have a vote
_FADE = 0.05  # of the code's bits: a text that is so much further than the nearest has 1/e of its vote


class Captions:
    """Texts and their codes."""

    def __init__(self, index: Index, texts: Sequence[str]) -> None:
        """Keep both; `texts` are in the order of the codes."""
        self._index, self._texts = index, texts

    def words(self, code_1P: NDArray[np.uint8], top: int, bits: int | None = None) -> list[tuple[str, int]]:
        """Return the words that describe what has this code, best first, with their nearest texts' distances.

        A text votes for each of its words, the more the nearer it is; rare words count more, by the logarithm
        of their share, as in tf-idf.  A word that all texts have says nothing and is left out.

        Args:
            code_1P: a packed code.
            top: number of words, at most.
            bits: length of the codes to compare; None for all.
        """
        found = self._index.search(code_1P, min(_NEAREST, len(self._texts)), prefix=bits)
        fade, first = _FADE * (bits or self._index.bits), int(found.distance[0, 0])
        votes: defaultdict[str, float] = defaultdict(float)
        nearest: dict[str, int] = {}
        for row, distance in zip(found.row[0].tolist(), found.distance[0].tolist(), strict=True):
            for word in set(texts.words(self._texts[row])):
                nearest.setdefault(word, distance)
                votes[word] += math.exp((first - distance) / fade)
        scores = {word: votes[word] * math.log(len(self._texts) / self._texts_with[word]) for word in votes}
        best = sorted((word for word in scores if scores[word] > 0), key=lambda word: (-scores[word], word))
        return [(word, nearest[word]) for word in best[:top]]

    @cached_property
    def _texts_with(self) -> Counter[str]:
        """The number of texts that have a word."""
        return Counter(word for text in self._texts for word in set(texts.words(text)))
