"""Statistics of codes against numpy's on the unpacked bits, and codes whose statistics are known."""

import numpy as np
import pytest

from cmh.codes import hamming
from cmh.evaluation import code_statistics
from cmh.evaluation.code_statistics import agreement, bit_statistics, buckets, measure, moments


def of(code_NK: np.ndarray) -> dict[str, float | None]:
    bits = code_NK.shape[1]
    return bit_statistics(*moments(hamming.pack(code_NK), bits), len(code_NK))


def test_balanced_uncorrelated_bits_use_all_dimensions() -> None:
    """All 2^8 codes of eight bits once: no bias, one bit of entropy, no correlation, eight dimensions."""
    every_NK = 1 - 2 * (np.arange(256)[:, None] >> np.arange(8) & 1)
    values = of(every_NK)
    assert values == {
        "bit_imbalance": 0, "largest_bit_imbalance": 0, "constant_bits": 0, "bit_entropy": 1,
        "bit_correlation": 0, "effective_dimensions": pytest.approx(8),
    }  # fmt: skip


def test_copies_of_one_bit_are_one_dimension() -> None:
    """Eight copies of one bit, one inverted, and a bit that never changes: correlation 1, one dimension."""
    bit_N = np.where(np.arange(100) < 25, 1, -1)
    code_NK = np.stack([bit_N] * 7 + [-bit_N, np.ones(100, int)], axis=1)
    values = of(code_NK)
    assert values["bit_correlation"] == pytest.approx(1)
    assert values["effective_dimensions"] == pytest.approx(1)
    assert values["constant_bits"] == 1
    assert values["largest_bit_imbalance"] == 1
    entropy = -(0.25 * np.log2(0.25) + 0.75 * np.log2(0.75))
    assert values["bit_entropy"] == pytest.approx(8 / 9 * entropy)
    nothing = of(np.ones((10, 4), int))
    assert (nothing["bit_correlation"], nothing["effective_dimensions"]) == (None, None)


def test_statistics_are_those_of_the_unpacked_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """numpy's corrcoef and eigenvalues of the covariance, on correlated bits read in several blocks."""
    monkeypatch.setattr(code_statistics, "_AT_ONCE", 64)
    rng = np.random.default_rng(0)
    u_NK = rng.standard_normal((500, 12)) @ rng.standard_normal((12, 12)) + 0.5
    code_NK = np.where(u_NK >= 0, 1, -1)
    values = of(code_NK)
    correlation = np.abs(np.corrcoef(code_NK.T))[np.triu_indices(12, 1)].mean()
    eigenvalues = np.linalg.eigvalsh(np.cov(code_NK.T, bias=True))
    assert values["bit_correlation"] == pytest.approx(correlation)
    assert values["effective_dimensions"] == pytest.approx(eigenvalues.sum() ** 2 / (eigenvalues**2).sum())
    assert values["bit_imbalance"] == pytest.approx(np.abs(code_NK.mean(0)).mean())


def test_buckets_and_agreement_by_hand() -> None:
    """Five codes, three of them alike; two of five items have equal codes."""
    image_NK = np.array([[1, 1, 1], [1, 1, 1], [1, 1, 1], [-1, 1, 1], [-1, -1, 1]])
    text_NK = np.array([[1, 1, 1], [1, 1, -1], [-1, -1, -1], [-1, 1, 1], [1, -1, -1]])
    image_NP, text_NP = hamming.pack(image_NK), hamming.pack(text_NK)
    assert buckets(image_NP) == {"items": 5, "distinct_codes": 3, "largest_bucket": 3}
    assert agreement(image_NP, text_NP, 3) == {"equal_bits": pytest.approx(1 - 6 / 15), "equal_codes": 2 / 5}


def test_prefixes_are_measured_as_codes_of_their_own() -> None:
    """A row per side, length and statistic; the means of bits are those of the longest code."""
    rng = np.random.default_rng(1)
    real = {side: rng.choice([-1, 1], (50, 20), p=[0.3, 0.7]) for side in ("image", "text")}
    statistics, per_bit = measure({side: hamming.pack(u) for side, u in real.items()}, [12, 20])
    rows = {(r["bits"], r["side"], r["statistic"]): r["value"] for r in statistics.to_pylist()}
    assert len(rows) == statistics.num_rows == 2 * (2 * 9 + 2)
    for side, code_NK in real.items():
        assert rows[12, side, "effective_dimensions"] == of(code_NK[:, :12])["effective_dimensions"]
        distinct = len(np.unique(code_NK[:, :12], axis=0))
        assert rows[12, side, "distinct_codes"] == distinct
        mine = [r["mean"] for r in per_bit.to_pylist() if r["side"] == side]
        assert mine == pytest.approx(code_NK.mean(0))
    assert rows[20, "both", "equal_bits"] == pytest.approx((real["image"] == real["text"]).mean())


def test_a_large_database_is_sampled_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of ten items; of a million, a hundred from the first to the last."""
    monkeypatch.setattr(code_statistics, "AT_MOST", 100)
    assert code_statistics.sample(10).tolist() == list(range(10))
    some = code_statistics.sample(1_000_000)
    assert (len(some), some[0], some[-1]) == (100, 0, 999_999)
    assert np.ptp(np.diff(some)) <= 1
