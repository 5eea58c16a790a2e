"""Encoding, against the method called item by item, and codes against their definition bit by bit."""

import numpy as np
import pytest
import torch

from cmh.codes import hamming
from cmh.data.batches import Slice, to_batch
from cmh.hashing import encoding
from tests import tiny

ITEMS = tiny.items(23)


@pytest.mark.parametrize("side", ["image", "text"])
def test_equals_the_method_one_item_at_a_time(side):
    """Any batch size gives what the method gives in evaluation mode; its mode comes back."""
    method = tiny.method().train()
    found = encoding.relaxed_codes(method, ITEMS, side, batch_size=5)
    assert method.training
    method.eval()
    for row in range(len(ITEMS)):
        batch = to_batch(ITEMS, Slice(np.array([row]), side), torch.device("cpu"))
        u = method.encode_image(batch.image) if side == "image" else method.encode_text(batch.text_BD)
        np.testing.assert_allclose(found[row], u[0].detach().numpy(), atol=1e-6)
    assert found.dtype == np.float32


def test_order_falls_with_significance_and_ties_keep_their_place(monkeypatch):
    """Most significant first, equal ones by number; without significance the bits stay."""
    method = tiny.method(bits=8)
    monkeypatch.setattr(method, "significance", lambda: torch.tensor([1.0, 3, 2, 3, 0, 1, 1, -5]))
    assert encoding.bit_order(method).tolist() == [1, 3, 2, 0, 5, 6, 4, 7]
    monkeypatch.setattr(method, "significance", lambda: None)
    assert encoding.bit_order(method).tolist() == list(range(8))


def test_codes_hold_the_bits_in_order_with_zero_as_plus():
    """Bit order[k] of the model at position k, sign(0) = +1, pad bits 0; a prefix is a shorter code."""
    u = np.array([[0.5, -0.5, 0.0, -1, -1, -1, -1, -1, -1, 1]], np.float32)
    order = np.array([2, 1, 9, 0, 3, 4, 5, 6, 7, 8])
    packed = hamming.pack_relaxed(u, order)
    assert packed.tolist() == [[0b10110000, 0]]
    assert hamming.unpack(hamming.prefix(packed, 4), 4).tolist() == [[1, -1, 1, 1]]


def test_codes_that_are_not_numbers_are_refused():
    """NaN is not silently a zero bit."""
    with pytest.raises(ValueError, match=r"(?i)nan"):
        hamming.pack_relaxed(np.full((1, 8), np.nan, np.float32), np.arange(8))
