"""The order of bits against a slow selection of the best remaining bit."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cmh.hashing.bit_order import order_bits

ROWS = st.lists(st.lists(st.integers(-3, 3), min_size=6, max_size=6), min_size=1, max_size=4)


@given(ROWS)
def test_rankings_equal_a_slow_selection(rows: list[list[int]]) -> None:
    """Each order takes the best remaining bit, the lower number among equals."""
    scores = {
        "most": [sum(row[k] for row in rows) for k in range(6)],
        "least": [-sum(row[k] for row in rows) for k in range(6)],
        "absolute": [sum(abs(row[k]) for row in rows) for k in range(6)],
    }
    for how, score in scores.items():
        left, expected = list(range(6)), []
        while left:
            expected.append(max(left, key=lambda k: (score[k], -k)))
            left.remove(expected[-1])
        assert order_bits(torch.tensor(rows, dtype=torch.float32), how) == expected


def test_random_is_a_permutation_that_its_seed_decides() -> None:
    """Same seed, same order; another seed, another."""
    weights_K = torch.randn(64)
    assert sorted(order_bits(weights_K, "random", 1)) == list(range(64))
    assert order_bits(weights_K, "random", 1) == order_bits(weights_K, "random", 1)
    assert order_bits(weights_K, "random", 1) != order_bits(weights_K, "random", 2)


def test_unknown_ranking_lists_the_known() -> None:
    """A misspelt order is answered with those there are."""
    with pytest.raises(ValueError, match="'best' unknown; available: most, least, absolute, random"):
        order_bits(torch.zeros(4), "best")  # type: ignore[arg-type]
