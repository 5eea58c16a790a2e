"""Turn texts into bags of words and into sequences of word numbers.

Shape suffixes: N = texts, D = words of the vocabulary, T = words of a sequence.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import regex
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sklearn.feature_extraction.text import CountVectorizer

# A word: letters and digits of any script, with the marks that belong to them, such as vowel signs.
_WORD = regex.compile(r"[\p{L}\p{N}][\p{L}\p{N}\p{M}]*")
# Scripts without spaces between words: each ideogram counts as a word, of the others each pair of characters.
_IDEOGRAM = r"\p{Han}\p{M}*"
_UNSPACED = r"[\p{Hiragana}\p{Katakana}ー\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]\p{M}*"
_PIECE = regex.compile(
    rf"(?P<ideogram>{_IDEOGRAM})|(?P<unspaced>(?:{_UNSPACED})+)|(?:(?!{_IDEOGRAM}|{_UNSPACED}).)+"
)
_CHARACTER = regex.compile(r".\p{M}*")
# Accents are dropped where they hardly change a word; elsewhere marks tell words apart (が and か, й and и).
_ACCENTED = regex.compile(r"([\p{Latin}\p{Greek}])\p{M}+")


def drop_words(text: str, share: float, *, seed: int, key: str) -> str:
    """Return `text` without a random `share` of its words; at least one word remains.

    The same text, seed and key always lose the same words.

    Args:
        text: words separated by white space.
        share: probability in [0, 1] with which each word is left out.
        seed: seed of the random numbers.
        key: identifier of the text, such as its id, so that texts lose words independently of each other.

    >>> drop_words("red sweet round fruit", 0.5, seed=0, key="apple")
    'red sweet'
    """
    parts = text.split()
    if share == 0 or len(parts) < 2:
        return text
    digest = hashlib.sha256(f"{seed}/{key}".encode()).digest()
    random = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    mask = random.random(len(parts)) >= share
    mask[random.integers(len(parts))] |= not mask.any()
    return " ".join(part for part, keep in zip(parts, mask, strict=True) if keep)


def words(text: str) -> list[str]:
    """Split a text into its words, in lower case and without the accents of Latin and Greek letters.

    Scripts without spaces are cut finer: Chinese characters one by one; kana, Thai, Lao, Khmer and Burmese in
    overlapping pairs of characters, each with its vowel signs.

    >>> words("Crème brûlée, 2 of 3: x_y")
    ['creme', 'brulee', '2', 'of', '3', 'x', 'y']
    >>> words("हिन्दी में")
    ['हिन्दी', 'में']
    >>> words("红苹果 りんご")
    ['红', '苹', '果', 'りん', 'んご']
    """
    without_accents = _ACCENTED.sub(r"\1", unicodedata.normalize("NFKD", text.lower()))
    plain = unicodedata.normalize("NFC", without_accents)
    return [part for word in _WORD.findall(plain) for part in _parts(word)]


def _parts(word: str) -> Iterator[str]:
    if word.isascii():
        yield word
        return
    for piece in _PIECE.finditer(word):
        if piece["unspaced"] is None:
            yield piece.group()
            continue
        characters = _CHARACTER.findall(piece.group())
        pairs = ["".join(pair) for pair in pairwise(characters)]
        yield from pairs or characters


def vectorizer(
    vocabulary: Sequence[str] | None = None, *, min_df: int = 1, max_features: int | None = None
) -> CountVectorizer:
    """Return scikit-learn's counter of words, which splits texts as `words` does.

    Args:
        vocabulary: the words to count, in this order; None: `fit` chooses them from its texts.
        min_df: number of texts that a word must occur in for `fit` to choose it.
        max_features: number of words that `fit` chooses at most, the most frequent ones, in alphabetical
            order; None: no limit.
    """
    from sklearn.feature_extraction.text import CountVectorizer  # half a second, which searches go without

    return CountVectorizer(
        analyzer=words,
        vocabulary=None if vocabulary is None else list(vocabulary),
        min_df=min_df,
        max_features=max_features,
        dtype=np.int32,
    )


def bag_of_words(texts: Sequence[str], vocabulary: Sequence[str]) -> NDArray[np.uint8]:
    """Return the counts of the vocabulary's words in each text: (N, D) uint8, clipped to 255.

    >>> bag_of_words(["Red, red apple!"], ["apple", "pear", "red"])
    array([[1, 0, 2]], dtype=uint8)
    """
    number_of = {word: number for number, word in enumerate(vocabulary)}
    counts_ND = np.zeros((len(texts), len(vocabulary)), np.uint8)
    for row_D, text in zip(counts_ND, texts, strict=True):
        for word, count in Counter(words(text)).items():
            if word in number_of:
                row_D[number_of[word]] = min(count, 255)
    return counts_ND


def sequences(texts: Sequence[str], vocabulary: Sequence[str], length: int) -> NDArray[np.int32]:
    """Return the word numbers of each text, in the order of its words.

    Words outside the vocabulary are left out; of the others, only the first `length` count.

    Args:
        texts: N texts.
        vocabulary: the words; the first has number 1.
        length: T, the words of a sequence.

    Returns:
        (N, T) int32, filled up with zeros.

    >>> sequences(["A red, red apple!", "pear"], ["apple", "pear", "red"], length=4)
    array([[3, 3, 1, 0],
           [2, 0, 0, 0]], dtype=int32)
    """
    number_of = {word: number for number, word in enumerate(vocabulary, start=1)}
    tokens_NT = np.zeros((len(texts), length), np.int32)
    for row_T, text in zip(tokens_NT, texts, strict=True):
        numbers = [number_of[word] for word in words(text) if word in number_of][:length]
        row_T[: len(numbers)] = numbers
    return tokens_NT
