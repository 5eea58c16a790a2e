"""The GPU's way of counting against NumPy's, bit for bit; its arithmetic also on the CPU."""

import numpy as np
import pytest
import torch

from cmh.codes import hamming
from cmh.evaluation import histograms, histograms_gpu, metrics

CUDA = pytest.param(
    "cuda",
    marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")],
)


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize("bits", [7, 64, 512])
def test_counts_equal_numpys(device: str, bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over several blocks of queries and items, odd lengths, the longest code."""
    monkeypatch.setattr(histograms_gpu, "_ITEMS_AT_ONCE", 256)
    monkeypatch.setattr(histograms_gpu, "_PAIRS_AT_ONCE", 256 * 4)
    rng = np.random.default_rng(bits)
    query_QP, database_NP = (hamming.pack(rng.random((n, bits)) < 0.5) for n in (9, 1000))
    labels = rng.random((9, 30)) < 0.1, rng.random((1000, 30)) < 0.1
    counts = histograms_gpu.stream_histograms(
        query_QP, labels[0], histograms.blocks(database_NP, labels[1], 300), bits, device
    )
    expected = histograms.numpy_histograms(query_QP, database_NP, *labels, bits)
    assert (counts.all_QD == expected.all_QD).all()
    assert (counts.relevant_QD == expected.relevant_QD).all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_evaluate_takes_the_device() -> None:
    """The same MAP wherever it is computed."""
    codes_NP = hamming.pack(np.random.default_rng(0).random((500, 32)) < 0.5)
    labels_NL = np.random.default_rng(1).random((500, 5)) < 0.3
    sides = codes_NP[:20], codes_NP, labels_NL[:20], labels_NL, 32
    assert metrics.evaluate(*sides, device="cuda").map == metrics.evaluate(*sides).map
