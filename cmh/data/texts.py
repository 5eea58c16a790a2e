"""Turn texts into bags of words and into sequences of word numbers.

Shape suffixes: N = texts, D = words of the vocabulary, T = words of a sequence.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer

WORD = r"(?u)[^\W_]+"  # letters and digits of any script; one character is a word too ("x", "5", "火")


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
    words = text.split()
    if share == 0 or len(words) < 2:
        return text
    digest = hashlib.sha256(f"{seed}/{key}".encode()).digest()
    random = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    mask = random.random(len(words)) >= share
    mask[random.integers(len(words))] |= not mask.any()
    return " ".join(word for word, keep in zip(words, mask, strict=True) if keep)


def vectorizer(
    vocabulary: Sequence[str] | None = None, *, min_df: int = 1, max_features: int | None = None
) -> CountVectorizer:
    """Return the text analyser that both preprocessing and models use.

    It converts texts to lower case, removes accents, and splits them into words by `WORD`.

    Args:
        vocabulary: the words to count, in this order; None: `fit` chooses them from its texts.
        min_df: number of texts that a word must occur in for `fit` to choose it.
        max_features: number of words that `fit` chooses at most, the most frequent ones, in alphabetical
            order; None: no limit.
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
    """Return the counts of the vocabulary's words in each text: (N, D) uint8, clipped to 255.

    >>> bag_of_words(["Red, red apple!"], ["apple", "pear", "red"])
    array([[1, 0, 2]], dtype=uint8)
    """
    counts_ND: sparse.csr_matrix = vectorizer(vocabulary).transform(texts)
    clipped_ND: NDArray[np.uint8] = np.minimum(counts_ND.toarray(), 255).astype(np.uint8)
    return clipped_ND


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
    analyse = vectorizer().build_analyzer()
    number_of = {word: number for number, word in enumerate(vocabulary, start=1)}
    tokens_NT = np.zeros((len(texts), length), np.int32)
    for row_T, text in zip(tokens_NT, texts, strict=True):
        numbers = [number_of[word] for word in analyse(text) if word in number_of][:length]
        row_T[: len(numbers)] = numbers
    return tokens_NT
