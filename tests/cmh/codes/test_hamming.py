"""Packed codes against plain arithmetic on ±1 codes: exact for every bit length, multiple of eight or not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmh.codes import hamming

LENGTHS = [1, 7, 8, 9, 16, 24, 63, 64, 65, 100, 128, 511, 512]


def random_codes(items: int, bits: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).choice(np.array([-1, 1], np.int8), (items, bits))


@pytest.mark.parametrize("bits", LENGTHS)
def test_distances_are_counts_of_differing_bits(bits: int) -> None:
    """XOR and popcount on packed codes equal comparing the ±1 codes bit by bit."""
    query_QK, database_NK = random_codes(5, bits, 1), random_codes(33, bits, 2)
    expected_QN = (query_QK[:, None] != database_NK).sum(axis=2)
    assert (hamming.distances(hamming.pack(query_QK), hamming.pack(database_NK)) == expected_QN).all()


@given(st.integers(1, 512), st.integers(0, 2**32))
def test_unpack_inverts_pack_and_pad_bits_are_zero(bits: int, seed: int) -> None:
    """Any length survives the round trip, and nothing is set after the last bit."""
    codes_NK = random_codes(4, bits, seed)
    packed_NP = hamming.pack(codes_NK)
    assert packed_NP.shape == (4, -(-bits // 8))
    assert (hamming.unpack(packed_NP, bits) == codes_NK).all()
    assert not np.unpackbits(packed_NP, axis=1)[:, bits:].any()


def test_sign_of_zero_is_plus_one_on_every_input_type() -> None:
    """Zero packs as a set bit, so that distances stay whole numbers (numpy and torch give sign(0) = 0)."""
    for dtype in (np.float32, np.float64, np.int8, np.int64):
        assert hamming.unpack(hamming.pack(np.array([[-1, 0, 1]], dtype)), 3).tolist() == [[-1, 1, 1]]
    assert hamming.unpack(hamming.pack(np.array([[-0.0, 0.4, -0.4]])), 3).tolist() == [[1, 1, -1]]


def test_relaxed_codes_between_zero_and_one_half_are_positive() -> None:
    """tanh outputs are cut at 0, not at 0.5 as some published PR helpers do."""
    assert hamming.unpack(hamming.pack(np.array([[0.1, 0.49, -0.1]])), 3).tolist() == [[1, 1, -1]]


def test_bits_are_packed_most_significant_first() -> None:
    """The first bit is the highest of the first byte (MATLAB's compactbit has it lowest)."""
    assert hamming.pack(np.array([[True] + [False] * 8])).tolist() == [[0x80, 0x00]]


@given(st.integers(1, 200), st.data())
def test_prefix_equals_packing_fewer_columns(bits: int, data: st.DataObject) -> None:
    """The first b bits of packed codes are the packed first b columns."""
    short = data.draw(st.integers(1, bits))
    codes_NK = random_codes(3, bits)
    assert (hamming.prefix(hamming.pack(codes_NK), short) == hamming.pack(codes_NK[:, :short])).all()


@given(st.integers(1, 100), st.integers(0, 1000))
def test_permute_equals_reordering_columns(bits: int, seed: int) -> None:
    """Reordering the bits of packed codes is reordering the columns."""
    order_K = np.random.default_rng(seed).permutation(bits)
    codes_NK = random_codes(3, bits)
    assert (hamming.permute(hamming.pack(codes_NK), order_K) == hamming.pack(codes_NK[:, order_K])).all()


def test_prefix_leaves_the_original_alone() -> None:
    """Clearing the pad bits of a prefix happens on a copy."""
    packed_NP = np.full((2, 2), 0xFF, np.uint8)
    hamming.prefix(packed_NP, 3)
    assert (packed_NP == 0xFF).all()


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (np.ones((2, 8), np.uint8), "codes > 0"),
        (np.eye(8, dtype=np.int64), "numbers of 0 and 1; for 0/1 bits pass codes > 0"),
        (np.eye(2), "numbers of 0 and 1; for 0/1 bits pass codes > 0"),
        (np.linspace(0, 1, 32).reshape(2, 16), "pass codes > 0.5"),
        (np.full((4, 8), 0.25, np.float32), "pass codes > 0.5"),
        (np.full((2, 8), np.nan), "NaN"),
        (np.ones(8), "two dimensions"),
        (np.ones((2, 513)), "1 to 512"),
        (np.ones((2, 0)), "1 to 512"),
    ],
)
def test_pack_refuses_what_has_no_clear_sign(codes: np.ndarray, message: str) -> None:
    """Ambiguous, undefined or misshapen codes are refused, with the remedy."""
    with pytest.raises(ValueError, match=message):
        hamming.pack(codes)


def test_codes_of_other_widths_have_no_distance() -> None:
    """One byte against eight, though both are one word."""
    with pytest.raises(ValueError, match="queries have 1 bytes per code and the database 8"):
        hamming.distances(np.zeros((1, 1), np.uint8), np.zeros((1, 8), np.uint8))


def test_codes_with_pad_bits_set_are_refused() -> None:
    """Least-significant-first codes of 12 bits, or codes cut without clearing, would count pad bits."""
    with pytest.raises(ValueError, match="bits set after the 12th"):
        hamming.check(np.full((1, 2), 0xFF, np.uint8), 12)
    with pytest.raises(ValueError, match=r"packed as \(N, 2\) uint8"):
        hamming.check(np.zeros((1, 3), np.uint8), 12)


def test_permute_and_prefix_refuse_bits_that_are_not_there() -> None:
    """A bit named twice, a bit outside, a prefix longer than the code."""
    packed_NP = np.zeros((1, 1), np.uint8)
    with pytest.raises(ValueError, match="at most once"):
        hamming.permute(packed_NP, [0, 0])
    with pytest.raises(ValueError, match="at most once"):
        hamming.permute(packed_NP, [8])
    with pytest.raises(ValueError, match="prefix of 9 bits"):
        hamming.prefix(packed_NP, 9)
