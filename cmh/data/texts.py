"""Turn texts into bags of words and into sequences of word numbers.

Shapes: N = texts, D = words of the vocabulary, T = words of a sequence.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer

WORD = r"(?u)[^\W_]+"  # letters and digits of any script; single ones too ("x", "5", "火")


def drop_words(text: str, share: float, *, seed: int, key: str) -> str:
    """Return `text` without a random `share` of its words; one word stays.

    The same seed and key leave out the same words.

    >>> drop_words("red sweet round fruit", 0.5, seed=0, key="apple")
    'red sweet'
    """
    words = text.split()
    if share == 0 or len(words) < 2:
        return text
    digest = hashlib.sha256(f"{seed}/{key}".encode()).digest()
    random = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    kept = random.random(len(words)) >= share
    kept[random.integers(len(words))] |= not kept.any()
    return " ".join(word for word, keep in zip(words, kept, strict=True) if keep)


def vectorizer(
    vocabulary: Sequence[str] | None = None, *, min_df: int = 1, max_features: int | None = None
) -> CountVectorizer:
    """Return the one text analyser, of preprocessing and of models: lower case, accents off, words by `WORD`.

    With `vocabulary` it counts these words, in this order; without, `fit` finds them: words in at least
    `min_df` texts, the `max_features` most frequent, in alphabetical order.
    """
    return CountVectorizer(
        lowercase=True,
        strip_accents="unicode",
        token_pattern=WORD,
        vocabulary=None if vocabulary is None else list(vocabulary),
        min_df=min_df,
        max_features=max_features,
        dtype=np.int32,
    )


def bag_of_words(texts: Sequence[str], vocabulary: Sequence[str]) -> NDArray[np.uint8]:
    """Return (N, D) uint8 word counts, clipped to 255.

    >>> bag_of_words(["Red, red apple!"], ["apple", "pear", "red"])
    array([[1, 0, 2]], dtype=uint8)
    """
    counts_ND: sparse.csr_matrix = vectorizer(vocabulary).transform(texts)
    clipped_ND: NDArray[np.uint8] = np.minimum(counts_ND.toarray(), 255).astype(np.uint8)
    return clipped_ND


def sequences(texts: Sequence[str], vocabulary: Sequence[str], length: int) -> NDArray[np.int32]:
    """Return the words of each text in their order, (N, T) int32.

    1 is the vocabulary's first word, and zeros fill up to T = `length`.

    Words outside the vocabulary are left out, and then those beyond the first `length`.

    >>> sequences(["A red, red apple!", "pear"], ["apple", "pear", "red"], length=4)
    array([[3, 3, 1, 0],
           [2, 0, 0, 0]], dtype=int32)
    """
    analyse = vectorizer().build_analyzer()
    number = {word: place for place, word in enumerate(vocabulary, start=1)}
    tokens_NT = np.zeros((len(texts), length), np.int32)
    for row_T, text in zip(tokens_NT, texts, strict=True):
        known = [number[word] for word in analyse(text) if word in number][:length]
        row_T[: len(known)] = known
    return tokens_NT
