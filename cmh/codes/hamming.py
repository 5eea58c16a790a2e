"""Binary codes packed eight bits to a byte: pack, unpack, shorten, reorder, compare.

Bit k of a code is bit 7 - k % 8 of byte k // 8 (most significant bit first, the order of `numpy.packbits`),
so the first whole bytes of a code are a shorter code.  The bits that fill up the last byte (pad bits) are 0
in every code, so that they never add to a distance.  sign(0) = +1.

Shape suffixes: N, Q = items, K = bits, P = ceil(K / 8) bytes, W = ceil(P / 8) words of 64 bits.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Codes = NDArray[np.uint8]
"""Packed codes, (N, P) uint8."""

MAX_BITS = 512


def width(bits: int) -> int:
    """Return P, the number of bytes of a packed code of `bits` bits.

    Raises:
        ValueError: if `bits` is not in 1...512.
    """
    if not 1 <= bits <= MAX_BITS:
        raise ValueError(f"codes have 1 to {MAX_BITS} bits, got {bits}; choose a length in that range")
    return -(-bits // 8)


def pack(codes_NK: ArrayLike) -> Codes:
    """Pack codes with one element per bit into bytes; the inverse of `unpack`.

    Args:
        codes_NK: (N, K), either bool, where True is a set bit, or signed numbers, where a bit is set if the
            number is >= 0 (sign(0) = +1).

    Returns:
        (N, P) uint8.

    Raises:
        ValueError: if the codes do not have two dimensions, contain NaN, or look like bits or probabilities,
            whose signs say nothing: unsigned integers, numbers that are all 0 or 1, or 32 floats and more
            that are all within [0, 1] (pass `codes > 0`, of probabilities `codes > 0.5`).
    """
    codes_NK = np.asarray(codes_NK)
    if codes_NK.ndim != 2:
        raise ValueError(f"codes have two dimensions (items, bits), got shape {codes_NK.shape}")
    width(codes_NK.shape[1])
    if codes_NK.dtype == np.bool_:
        return np.packbits(codes_NK, axis=1)
    kind = codes_NK.dtype.kind
    if kind not in "if":
        raise ValueError(
            f"codes are bool, or signed numbers of which the sign counts, got {codes_NK.dtype}; for 0/1 bits "
            "pass codes > 0"
        )
    if np.isnan(codes_NK).any():
        raise ValueError("codes contain NaN, which has no sign; look for where the model produced it")
    if codes_NK.size and codes_NK.min() >= 0 and codes_NK.max() <= 1:
        if not codes_NK.all() and ((codes_NK == 0) | (codes_NK == 1)).all():
            raise ValueError(
                "codes are bool, or signed numbers of which the sign counts, got numbers of 0 and 1; for "
                "0/1 bits pass codes > 0"
            )
        if kind == "f" and codes_NK.size >= 32 and (codes_NK < 1).any():  # by chance, 1 in 2^32
            raise ValueError(
                "codes are signed numbers of which the sign counts, got floats that are all within [0, 1]; "
                "for probabilities, such as a sigmoid gives, pass codes > 0.5"
            )
    return np.packbits(codes_NK >= 0, axis=1)


def pack_relaxed(u_NK: NDArray[np.float32], order: NDArray[np.int64]) -> Codes:
    """Return the packed codes of what a model gives, with the bits in another order; sign(0) = +1.

    Args:
        u_NK: relaxed codes, float32.
        order: position in the packed code → bit of the model, int64 (K,).

    Returns:
        Packed codes, uint8 (N, P).

    Raises:
        ValueError: a code contains NaN.
    """
    if np.isnan(u_NK).any():
        raise ValueError("codes contain NaN; the network that made them diverged")
    return pack(u_NK[:, order] >= 0)


def unpack(packed_NP: Codes, bits: int) -> NDArray[np.int8]:
    """Unpack codes into one element per bit; the inverse of `pack`.

    Args:
        packed_NP: (N, P) uint8.
        bits: K, the length of a code.

    Returns:
        (N, K) int8 in {-1, +1}.

    Raises:
        ValueError: if they are not codes of `bits` bits.
    """
    check(packed_NP, bits)
    ones_NK = np.unpackbits(packed_NP, axis=1, count=bits).view(np.int8)
    return 2 * ones_NK - 1


def check(packed_NP: Codes, bits: int, name: str = "codes") -> None:
    """Refuse arrays that do not hold packed codes of `bits` bits.

    Args:
        packed_NP: the array to check.
        bits: expected length of a code.
        name: name of the codes in the error message.

    Raises:
        ValueError: unless the array is (N, P) uint8 with P = `width(bits)` and all pad bits are 0.
    """
    code_bytes = width(bits)
    if packed_NP.ndim != 2 or packed_NP.dtype != np.uint8 or packed_NP.shape[1] != code_bytes:
        raise ValueError(
            f"{name} of {bits} bits are packed as (N, {code_bytes}) uint8, "
            f"got {packed_NP.shape} {packed_NP.dtype}; use cmh.codes.hamming.pack"
        )
    if bits % 8 and (packed_NP[:, -1] & (0xFF >> bits % 8)).any():
        raise ValueError(
            f"{name} have bits set after the {bits}th, which would count as distance; "
            f"use cmh.codes.hamming.prefix(codes, {bits}), or pack them most significant bit first"
        )


def prefix(packed_NP: Codes, bits: int) -> Codes:
    """Return the first `bits` bits of every code, as codes of that length.

    The result is a view if `bits` is a multiple of 8, otherwise a copy with pad bits 0.

    Args:
        packed_NP: (N, P) uint8.
        bits: length of the shorter codes.

    Raises:
        ValueError: if the codes have fewer bytes than that.
    """
    code_bytes = width(bits)
    if code_bytes > packed_NP.shape[1]:
        raise ValueError(
            f"a prefix of {bits} bits was asked of codes of {packed_NP.shape[1]} bytes; ask for less"
        )
    short_NP = packed_NP[:, :code_bytes]
    if bits % 8:
        short_NP = short_NP.copy()
        short_NP[:, -1] &= 0xFF << (8 - bits % 8) & 0xFF
    return short_NP


def permute(packed_NP: Codes, order_K: ArrayLike) -> Codes:
    """Return codes with reordered bits: bit k of the result is bit `order_K[k]` of `packed_NP`.

    Args:
        packed_NP: (N, P) uint8.
        order_K: positions of bits, each at most once; fewer than all select a part of the bits.

    Returns:
        Packed codes of len(order_K) bits, uint8.

    Raises:
        ValueError: if a bit occurs twice or lies outside the codes.
    """
    order_K = np.asarray(order_K)
    bits_NK = np.unpackbits(packed_NP, axis=1)
    if len(np.unique(order_K)) != len(order_K) or order_K.min() < 0 or order_K.max() >= bits_NK.shape[1]:
        raise ValueError(
            f"the order names each bit below {bits_NK.shape[1]} at most once, got {order_K.tolist()}"
        )
    return np.packbits(bits_NK[:, order_K], axis=1)


def words(packed_NP: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return (N, P) bytes as (N, W) zero-padded words of 64 bits, for XOR, AND and popcount by the word."""
    items, code_bytes = packed_NP.shape
    padded_NP: NDArray[Any] = np.zeros((items, -(-code_bytes // 8) * 8), np.uint8)
    padded_NP[:, :code_bytes] = packed_NP
    return padded_NP.view(np.uint64)


def distances(query_QP: Codes, database_NP: Codes) -> NDArray[np.uint16]:
    """Return the Hamming distances between all queries and all items of the database.

    To find only the nearest items, `cmh.codes.search` is faster.

    Args:
        query_QP: (Q, P) uint8.
        database_NP: (N, P) uint8.

    Returns:
        (Q, N) uint16.

    Raises:
        ValueError: if queries and database differ in the number of bytes per code.
    """
    if query_QP.shape[1] != database_NP.shape[1]:
        raise ValueError(
            f"queries have {query_QP.shape[1]} bytes per code and the database {database_NP.shape[1]}; "
            "encode both with one model, and pack as many bits of each"
        )
    query_QW, database_NW = words(query_QP), words(database_NP)
    distance_QN = np.zeros((len(query_QW), len(database_NW)), np.uint16)
    for query_Q, database_N in zip(query_QW.T, database_NW.T, strict=True):
        distance_QN += np.bitwise_count(query_Q[:, None] ^ database_N)
    return distance_QN


def distances_at(
    query_QP: Codes, words_WN: NDArray[np.uint64], row_Qk: NDArray[np.int64], bits: int | None = None
) -> NDArray[np.int64]:
    """Return the Hamming distances of each query to some rows of its own.

    Args:
        query_QP: (Q, P) uint8.
        words_WN: codes as words, the first word of every item, then the second, and so on.
        row_Qk: the rows, int64 (Q, k).
        bits: number of leading bits to compare; None: all bits.

    Returns:
        (Q, k) int64.
    """
    query_WQ = words(query_QP).T
    all_bits = 8 * query_QP.shape[1]
    mask_W = words(np.packbits(np.arange(all_bits) < (bits or all_bits))[None])[0]
    distance_Qk = np.zeros(row_Qk.shape, np.int64)
    for mask, query_Q, word_N in zip(mask_W, query_WQ, words_WN, strict=True):
        distance_Qk += np.bitwise_count((word_N[row_Qk] ^ query_Q[:, None]) & mask)
    return distance_Qk
