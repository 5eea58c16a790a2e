"""Items in, packed codes out.

Shape suffixes: n = items, B = batch, K = bits, P = packed bytes.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cmh.codes import hamming
from cmh.data.batches import Side, Slice, batches
from cmh.data.items import Items
from cmh.hashing.bit_order import order_bits
from cmh.hashing.method import Method

REVISION = 1  # raise it when codes of the same model come out otherwise: order of bits, signs, packing


def relaxed_codes(method: Method, items: Items, side: Side, batch_size: int = 128) -> NDArray[np.float32]:
    """Return relaxed codes u_nK float32 in [-1, 1] of one modality.

    The method runs in evaluation mode, on its own device.

    The result of an item does not depend on the items beside it beyond float rounding.
    """
    device = device_of(method)
    parts = (Slice(rows, side) for rows in _blocks(len(items), batch_size))
    u_nK = np.empty((len(items), method.bits), np.float32)
    was_training = method.training
    method.eval()
    with torch.inference_mode():
        for batch in batches(items, parts, device):
            u_BK: Tensor
            if batch.image is not None:
                u_BK = method.encode_image(batch.image)
            else:
                assert batch.text_BD is not None
                u_BK = method.encode_text(batch.text_BD)
            u_nK[batch.index_B.cpu().numpy()] = u_BK.float().cpu().numpy()
    method.train(was_training)
    return u_nK


def pack_codes(u_nK: NDArray[np.float32], order: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return packed codes (n, P) of relaxed ones, bit `order[k]` of the model at position k; sign(0) = +1.

    Raises:
        ValueError: codes that are not numbers.
    """
    return hamming.pack(u_nK[:, order])


def bit_significance(method: Method) -> Tensor | None:
    """Return `method.significance()`; None for nested codes.

    Training puts the bits of nested codes in their order.
    """
    return None if method.prefixes else method.significance()


def bit_order(method: Method) -> NDArray[np.int64]:
    """Return the model's bits (K,), those that a short code keeps first.

    Where no bits are ranked, they are in the model's order.
    """
    significance_K = bit_significance(method)
    if significance_K is None:
        return np.arange(method.bits)
    return np.array(order_bits(significance_K, method.keep))


def device_of(method: Method) -> torch.device:
    """Return where the method's parameters and buffers are; a method may have only one of the two."""
    tensors: dict[str, Tensor] = method.state_dict()
    return next(iter(tensors.values())).device


def _blocks(items: int, size: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, items, size):
        yield np.arange(start, min(start + size, items))
