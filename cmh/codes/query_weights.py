"""Convert the weights of a query's bits into the forms that the weighted search computes with.

Shape suffixes: Q = queries, K = bits, P = bytes of a code, W = words of 64 bits, V = bit planes, X = the 256
values of a byte.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cmh.codes import hamming

PLANES = 6  # the number of planes that `cmh.codes.numba_kernels.steps` takes as arguments


class QueryWeights(NamedTuple):
    """Weights of some queries in two forms: rounded down, as bit planes, and exact, as tables per byte."""

    planes_QVW: NDArray[np.uint64]
    """Bit k of plane v is set where bit v of floor(weight k / scale) is set."""
    scale_Q: NDArray[np.float64]
    """Unit of the rounded weights."""
    table_QPX: NDArray[np.float64]
    """Sum of the weights of the bits that are set, for each value of each byte of a code."""


def checked(weight_QK: ArrayLike) -> NDArray[np.float64]:
    """Return the weights in double precision, after a check that distances can be computed with them.

    Args:
        weight_QK: (Q, K), or (K,).

    Returns:
        float64 of the same shape.

    Raises:
        ValueError: if a weight is negative or NaN, or the sum of a query's weights is infinite.
    """
    weight_QK = np.asarray(weight_QK, np.float64)
    if not np.isfinite(weight_QK.sum(axis=-1)).all() or (weight_QK < 0).any():
        raise ValueError(
            "weights are not negative and their sum is finite; for real-valued codes pass their abs()"
        )
    return weight_QK


def prepare(weight_QK: NDArray[np.float64]) -> QueryWeights:
    """Return the bit planes, scales and tables of (Q, K) weights that `checked` returned."""
    maximum_Q = weight_QK.max(axis=1)
    smallest = np.finfo(np.float64).tiny  # with a smaller scale, the quotients below could overflow
    # If all weights of a query are 0, all its distances are 0, and any scale will do; 1 avoids 0 / 0.
    scale_Q = np.where(maximum_Q > 0, np.maximum(maximum_Q / (2**PLANES - 1), smallest), 1.0)
    step_QK = np.floor(weight_QK / scale_Q[:, None])
    # The planes are lower bounds, so correct steps that a rounded-up quotient has put above their weight.
    step_QK -= step_QK * scale_Q[:, None] > weight_QK
    planes = [hamming.words(hamming.pack(step_QK.astype(np.int64) >> v & 1 == 1)) for v in range(PLANES)]
    return QueryWeights(np.stack(planes, axis=1), scale_Q, _tables(weight_QK))


def _tables(weight_QK: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return `QueryWeights.table_QPX`."""
    queries, bits = weight_QK.shape
    padded_QP8 = np.zeros((queries, hamming.width(bits), 8))
    padded_QP8.reshape(queries, -1)[:, :bits] = weight_QK
    set_X8 = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)
    table_QPX = np.zeros((*padded_QP8.shape[:2], 256))
    # Add bit by bit: in a matrix product the order of summation, and with it the last digit, could vary.
    for bit in range(8):
        table_QPX += padded_QP8[:, :, bit, None] * set_X8[:, bit]
    return table_QPX
