"""Statistics of codes without any query: whether bits are used, and whether the two sides agree.

- balance: |mean| of a bit in {-1, +1}; 0 if half of the codes have it.
- entropy: of a bit, 1 if balanced; its mean over bits.
- correlation: |Pearson correlation| of two bits, mean over pairs of bits; a bit that never changes has none,
  and is left out.
- effective dimensions: participation ratio (tr C)² / tr C² of the covariance C of the bits: K for K balanced,
  uncorrelated bits, 1 if all bits are copies of one.
- distinct codes, and how many items have the commonest.
- agreement: share of equal bits of image and text of one item; share of items whose two codes are equal.

Source: balanced and uncorrelated bits: Weiss, Torralba and Fergus, Spectral Hashing, NIPS 2008; participation
ratio: Gao et al., A theory of multineuronal dimensionality, dynamics and measurement, bioRxiv, 2017.

Shape suffixes: N = items, P = bytes of a packed code, K = bits.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cmh.codes import hamming
from cmh.codes.hamming import Codes

AT_MOST = 1 << 20  # items, evenly spaced, that are looked at
_AT_ONCE = 1 << 16  # unpacked at a time

STATISTICS = pa.schema(
    [
        ("bits", pa.int32()),
        ("side", pa.string()),  # image, text, or both
        ("statistic", pa.string()),
        ("value", pa.float64()),  # null where it is not defined
    ]
)
BITS = pa.schema(
    [
        ("side", pa.string()),
        ("bit", pa.int32()),  # position in the stored code
        ("mean", pa.float64()),  # of a bit in {-1, +1}
    ]
)


def measure(codes: Mapping[str, Codes], lengths: Sequence[int]) -> tuple[pa.Table, pa.Table]:
    """Return STATISTICS of the prefixes of all lengths, and BITS of the longest.

    Args:
        codes: packed codes (N, P) of "image" and of "text", row i of both being one item.
        lengths: in bits.
    """
    rows: list[dict[str, Any]] = []
    for bits in lengths:
        for side, codes_NP in codes.items():
            short_NP = hamming.prefix(codes_NP, bits)
            values = bit_statistics(*moments(short_NP, bits), len(short_NP)) | buckets(short_NP)
            rows += [_row(bits, side, name, value) for name, value in values.items()]
        image_NP, text_NP = (hamming.prefix(codes[side], bits) for side in ("image", "text"))
        both = agreement(image_NP, text_NP, bits)
        rows += [_row(bits, "both", name, value) for name, value in both.items()]
    longest = max(lengths)
    means = {side: moments(codes_NP, longest)[0] / len(codes_NP) for side, codes_NP in codes.items()}
    per_bit = [
        {"side": side, "bit": bit, "mean": mean}
        for side, mean_K in means.items()
        for bit, mean in enumerate(mean_K.tolist())
    ]
    return pa.Table.from_pylist(rows, STATISTICS), pa.Table.from_pylist(per_bit, BITS)


def _row(bits: int, side: str, name: str, value: float | None) -> dict[str, Any]:
    return {"bits": bits, "side": side, "statistic": name, "value": value}


def moments(codes_NP: Codes, bits: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the sums over items of bits in {-1, +1}, (K,), and of their products, (K, K)."""
    sum_K, product_KK = np.zeros(bits), np.zeros((bits, bits))
    for start in range(0, len(codes_NP), _AT_ONCE):
        # sums of at most 2^16 numbers of one digit are exact in float32
        code_NK = hamming.unpack(codes_NP[start : start + _AT_ONCE], bits).astype(np.float32)
        sum_K += code_NK.sum(0)
        product_KK += code_NK.T @ code_NK
    return sum_K, product_KK


def bit_statistics(
    sum_K: NDArray[np.float64], product_KK: NDArray[np.float64], items: int
) -> dict[str, float | None]:
    """Return balance, entropy, correlation and effective dimensions of `moments` of so many items."""
    mean_K = sum_K / items
    covariance_KK = product_KK / items - np.outer(mean_K, mean_K)
    share_K = (1 + mean_K) / 2
    both = np.clip(np.stack([share_K, 1 - share_K]), 1e-300, 1)
    changing_K = np.abs(sum_K) < items
    kept = np.ix_(changing_K, changing_K)
    std_K = np.sqrt(1 - mean_K[changing_K] ** 2)
    correlation_KK = np.abs(covariance_KK[kept]) / np.outer(std_K, std_K)
    off_diagonal = correlation_KK[np.triu_indices(len(std_K), 1)]
    squares = float((covariance_KK**2).sum())
    return {
        "bit_imbalance": float(np.abs(mean_K).mean()),
        "largest_bit_imbalance": float(np.abs(mean_K).max()),
        "constant_bits": float((~changing_K).sum()),
        "bit_entropy": float(-(both * np.log2(both)).sum(0).mean()),
        "bit_correlation": float(off_diagonal.mean()) if len(off_diagonal) else None,
        "effective_dimensions": float(np.trace(covariance_KK) ** 2 / squares) if changing_K.any() else None,
    }


def buckets(codes_NP: Codes) -> dict[str, float | None]:
    """Return the number of items, of distinct codes among them, and of items that have the commonest."""
    whole_N = np.ascontiguousarray(codes_NP).view(np.dtype((np.void, codes_NP.shape[1])))[:, 0]
    _, count_D = np.unique(whole_N, return_counts=True)
    return {
        "items": float(len(codes_NP)),
        "distinct_codes": float(len(count_D)),
        "largest_bucket": float(count_D.max()),
    }


def agreement(image_NP: Codes, text_NP: Codes, bits: int) -> dict[str, float]:
    """Return how far both codes of an item agree: the share of equal bits, and that of equal codes."""
    different_N = np.bitwise_count(image_NP ^ text_NP).sum(1)
    return {
        "equal_bits": float(1 - different_N.mean() / bits),
        "equal_codes": float((different_N == 0).mean()),
    }


def sample(items: int) -> NDArray[np.int64]:
    """Return positions of all items, or of `AT_MOST` evenly spaced ones."""
    return np.unique(np.linspace(0, items - 1, min(items, AT_MOST)).astype(np.int64))
