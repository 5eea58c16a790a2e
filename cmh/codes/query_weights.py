"""Weights of a query's bits in the forms that the weighted search computes with.

Shape suffixes: Q = queries, K = bits, P = bytes of a code, W = words of 64 bits, V = bit planes, X = 256.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cmh.codes import hamming

PLANES = 6  # as `cmh.codes.numba_kernels.steps` takes them


class QueryWeights(NamedTuple):
    """Weights of some queries: rounded down to bit planes, and exact by byte values."""

    planes_QVW: NDArray[np.uint64]
    """Bit k of plane v is set where 2^v is part of floor(weight k / scale)."""
    scale_Q: NDArray[np.float64]
    table_QPX: NDArray[np.float64]
    """Sum of the weights of the bits set in each value of each byte."""


def checked(weight_QK: ArrayLike) -> NDArray[np.float64]:
    """Return the weights in double precision.

    Raises:
        ValueError: for weights that are negative, NaN, or so large that their sum is infinite.
    """
    weight_QK = np.asarray(weight_QK, np.float64)
    if not np.isfinite(weight_QK.sum(axis=-1)).all() or (weight_QK < 0).any():
        raise ValueError(
            "weights are not negative and their sum is finite; for real-valued codes pass their abs()"
        )
    return weight_QK


def prepare(weight_QK: NDArray[np.float64]) -> QueryWeights:
    """Return planes and tables of `checked` weights."""
    heaviest_Q = weight_QK.max(axis=1)
    # A query whose weights are all 0 is at distance 0 from everything, in steps of any scale.
    smallest = np.finfo(np.float64).tiny  # below it, quotients overflow
    scale_Q = np.where(heaviest_Q > 0, np.maximum(heaviest_Q / (2**PLANES - 1), smallest), 1.0)
    step_QK = np.floor(weight_QK / scale_Q[:, None])
    # Rounding of the quotient must not lift a step above its weight: the planes are lower bounds.
    step_QK -= step_QK * scale_Q[:, None] > weight_QK
    planes = [hamming.words(hamming.pack(step_QK.astype(np.int64) >> v & 1 == 1)) for v in range(PLANES)]
    return QueryWeights(np.stack(planes, axis=1), scale_Q, _tables(weight_QK))


def _tables(weight_QK: NDArray[np.float64]) -> NDArray[np.float64]:
    queries, bits = weight_QK.shape
    padded_QP8 = np.zeros((queries, hamming.width(bits), 8))
    padded_QP8.reshape(queries, -1)[:, :bits] = weight_QK
    set_X8 = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)
    table_QPX = np.zeros((*padded_QP8.shape[:2], 256))
    # Bit by bit, not as a matrix product: the order of summation, and so the last digit, is always the same.
    for bit in range(8):
        table_QPX += padded_QP8[:, :, bit, None] * set_X8[:, bit]
    return table_QPX
