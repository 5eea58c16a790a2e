"""Texts: words of any script, counts and sequences of the known ones, words that training drops."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmh.data.texts import bag_of_words, drop_words, sequences, words

said = st.lists(st.sampled_from(["red", "green", "blue", "round", "sweet", "old"]), min_size=1, max_size=30)


@given(said, st.floats(0, 0.95), st.integers(0, 9))
def test_dropped_texts_are_subsequences(given_words, share, seed):
    """What is left keeps its order, is never empty, and is the same for the same seed and key."""
    text = " ".join(given_words)
    kept = drop_words(text, share, seed=seed, key="k").split()
    rest = iter(given_words)
    assert kept
    assert all(word in rest for word in kept)
    assert kept == drop_words(text, share, seed=seed, key="k").split()


def test_share_of_dropped_words():
    """Over many items the share is the one asked for, within four standard deviations."""
    text = " ".join(f"w{i}" for i in range(50))
    left = sum(len(drop_words(text, 0.3, seed=0, key=str(key)).split()) for key in range(200))
    assert abs(left / 10_000 - 0.7) < 4 * (0.3 * 0.7 / 10_000) ** 0.5


@given(st.lists(st.text(max_size=40), min_size=1, max_size=5))
def test_counts_equal_a_slow_loop(texts):
    """The bag of words against counting the analyser's words one by one."""
    vocabulary = sorted({word for text in texts for word in words(text)})
    if vocabulary:
        expected = [[min(255, words(text).count(word)) for word in vocabulary] for text in texts]
        assert bag_of_words(texts, vocabulary).tolist() == expected


@given(st.lists(st.text(max_size=40), min_size=1, max_size=5), st.integers(1, 6))
def test_sequences_spell_the_known_words_in_order(texts, length):
    """Read back through the vocabulary: the analyser's words, those outside it left out, cut, then zeros."""
    vocabulary = sorted({word for text in texts for word in words(text)})[::2]
    for row, text in zip(sequences(texts, vocabulary, length).tolist(), texts, strict=True):
        known = [word for word in words(text) if word in vocabulary][:length]
        assert [vocabulary[number - 1] for number in row[: len(known)]] == known
        assert row[len(known) :] == [0] * (length - len(known))


def test_counts_are_clipped():
    """A word that occurs 300 times counts 255, not 44."""
    assert bag_of_words(["a " * 300], ["a"]).tolist() == [[255]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("हिन्दी में किताब", ["हिन्दी", "में", "किताब"]),
        ("红苹果, 火", ["红", "苹", "果", "火"]),
        ("がか", ["がか"]),
        ("かか", ["かか"]),
        ("ラーメン", ["ラー", "ーメ", "メン"]),
        ("ที่", ["ที่"]),
        ("пёс и йод", ["пёс", "и", "йод"]),
        ("Crème ＡＢＣ ﬁg", ["creme", "abc", "fig"]),
        ("한국어", ["한국어"]),
        ("iPhone15手机", ["iphone15", "手", "机"]),
        ("_ - ٪ 🍎", []),
    ],
)
def test_words_of_many_scripts(text, expected):
    """Vowel signs stay with their letters, telling marks stay, scripts without spaces are cut."""
    assert words(text) == expected
