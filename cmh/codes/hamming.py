"""Binary codes packed eight bits to a byte: pack, unpack, shorten, reorder, compare.

Bit k of a code is bit 7 - k % 8 of byte k // 8 (most significant first, as `numpy.packbits` has it), so the
first whole bytes of a code are a shorter code.  Bits after the last one (pad bits) are 0 on both sides of a
comparison and never count.  sign(0) = +1.

Shape suffixes: N, Q = items, K = bits, P = ceil(K / 8) bytes, W = ceil(P / 8) words of 64 bits.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Codes = NDArray[np.uint8]
"""Packed codes, (N, P) uint8."""

MAX_BITS = 512


def width(bits: int) -> int:
    """Return P, the bytes of a packed code of `bits` bits.

    Raises:
        ValueError: if `bits` is not in 1...512.
    """
    if not 1 <= bits <= MAX_BITS:
        raise ValueError(f"codes have 1 to {MAX_BITS} bits, got {bits}; choose a length in that range")
    return -(-bits // 8)


def pack(codes_NK: ArrayLike) -> Codes:
    """Return (N, K) codes → (N, P) uint8.

    Bool: True is a set bit; signed numbers: set where >= 0 (sign(0) = +1).

    Raises:
        ValueError: for integers 0 and 1 alone and unsigned ones (bits? say `codes > 0`), NaN, and other than
            two dimensions.
    """
    codes_NK = np.asarray(codes_NK)
    if codes_NK.ndim != 2:
        raise ValueError(f"codes have two dimensions (items, bits), got shape {codes_NK.shape}")
    width(codes_NK.shape[1])
    if codes_NK.dtype == np.bool_:
        return np.packbits(codes_NK, axis=1)
    kind = codes_NK.dtype.kind
    if kind not in "if" or (kind == "i" and not codes_NK.all() and {*np.unique(codes_NK)} <= {0, 1}):
        raise ValueError(
            "codes are bool, or signed numbers of which the sign counts, got "
            f"{codes_NK.dtype}{' of 0 and 1' if kind == 'i' else ''}; for 0/1 bits pass codes > 0"
        )
    if np.isnan(codes_NK).any():
        raise ValueError("codes contain NaN, which has no sign; look for where the model produced it")
    return np.packbits(codes_NK >= 0, axis=1)


def unpack(packed_NP: Codes, bits: int) -> NDArray[np.int8]:
    """Return (N, P) uint8 → (N, K) int8 in {-1, +1}.  Inverse of `pack`."""
    check(packed_NP, bits)
    ones_NK = np.unpackbits(packed_NP, axis=1, count=bits).view(np.int8)
    return 2 * ones_NK - 1


def check(packed_NP: Codes, bits: int, name: str = "codes") -> None:
    """Raise ValueError unless `packed_NP` holds codes of `bits` bits: (N, P) uint8, pad bits 0."""
    wanted = width(bits)
    if packed_NP.ndim != 2 or packed_NP.dtype != np.uint8 or packed_NP.shape[1] != wanted:
        raise ValueError(
            f"{name} of {bits} bits are packed as (N, {wanted}) uint8, "
            f"got {packed_NP.shape} {packed_NP.dtype}; use cmh.codes.hamming.pack"
        )
    if bits % 8 and (packed_NP[:, -1] & (0xFF >> bits % 8)).any():
        raise ValueError(
            f"{name} have bits set after the {bits}th, which would count as distance; "
            f"use cmh.codes.hamming.prefix(codes, {bits}), or pack them most significant bit first"
        )


def prefix(packed_NP: Codes, bits: int) -> Codes:
    """Return the first `bits` bits of every code, as codes of that length; a view for whole bytes."""
    wanted = width(bits)
    if wanted > packed_NP.shape[1]:
        raise ValueError(
            f"a prefix of {bits} bits was asked of codes of {packed_NP.shape[1]} bytes; ask for less"
        )
    short_NP = packed_NP[:, :wanted]
    if bits % 8:
        short_NP = short_NP.copy()
        short_NP[:, -1] &= 0xFF << (8 - bits % 8) & 0xFF
    return short_NP


def permute(packed_NP: Codes, order_K: ArrayLike) -> Codes:
    """Return codes whose bit k is bit `order_K[k]` of the given ones.  `order_K` may also select fewer bits.

    Raises:
        ValueError: if a bit is named twice or lies outside the codes.
    """
    order_K = np.asarray(order_K)
    bits_NK = np.unpackbits(packed_NP, axis=1)
    if len(np.unique(order_K)) != len(order_K) or order_K.min() < 0 or order_K.max() >= bits_NK.shape[1]:
        raise ValueError(
            f"the order names each bit below {bits_NK.shape[1]} at most once, got {order_K.tolist()}"
        )
    return np.packbits(bits_NK[:, order_K], axis=1)


def words(packed_NP: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return (N, P) bytes → (N, W) words of 64 bits, zero-padded; for XOR, AND and popcount by the word."""
    items, used = packed_NP.shape
    padded_NP: NDArray[Any] = np.zeros((items, -(-used // 8) * 8), np.uint8)
    padded_NP[:, :used] = packed_NP
    return padded_NP.view(np.uint64)


def distances(query_QP: Codes, database_NP: Codes) -> NDArray[np.uint16]:
    """Return (Q, N) uint16 Hamming distances.  For the nearest ones only, `cmh.codes.search` is faster."""
    if query_QP.shape[1] != database_NP.shape[1]:
        raise ValueError(
            f"queries have {query_QP.shape[1]} bytes per code and the database {database_NP.shape[1]}"
        )
    query_QW, database_NW = words(query_QP), words(database_NP)
    distance_QN = np.zeros((len(query_QW), len(database_NW)), np.uint16)
    for query_Q, database_N in zip(query_QW.T, database_NW.T, strict=True):
        distance_QN += np.bitwise_count(query_Q[:, None] ^ database_N)
    return distance_QN
