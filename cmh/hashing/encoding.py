"""Encode items with a trained method, and rank their bits.

Shape suffixes: n = items, B = batch, K = bits.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cmh.data.batches import Slice, batches
from cmh.data.items import Items
from cmh.data.sides import Side
from cmh.hashing.bit_order import order_bits
from cmh.hashing.method import Method

REVISION = 2  # raise it when what is kept of codes changes: the order of bits, signs, packing, the engine


def relaxed_codes(method: Method, items: Items, side: Side, batch_size: int = 128) -> NDArray[np.float32]:
    """Return the relaxed codes of one modality of all items.

    The method runs in evaluation mode, on its own device.  Up to float rounding, the code of an item does not
    depend on the other items of its batch.

    Args:
        method: a trained method; it keeps its mode, training or evaluation.
        items: n items.
        side: the modality to encode.
        batch_size: items per forward pass.

    Returns:
        u_nK float32 in [-1, 1].
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


def bit_significance(method: Method) -> Tensor | None:
    """Return `method.significance()`, or None for nested codes, whose order of bits training fixes."""
    return None if method.prefixes else method.significance()


def bit_order(method: Method) -> NDArray[np.int64]:
    """Return the model's bits, int64 (K,), those that a short code keeps first.

    The order is the model's own where the method does not rank its bits.
    """
    significance_K = bit_significance(method)
    if significance_K is None:
        return np.arange(method.bits)
    return np.array(order_bits(significance_K, method.keep))


def device_of(method: Method) -> torch.device:
    """Return the device of the method's parameters and buffers; a method may have only one of the two."""
    tensors: dict[str, Tensor] = method.state_dict()
    return next(iter(tensors.values())).device


def _blocks(items: int, size: int) -> Iterator[NDArray[np.int64]]:
    """Yield the rows 0 to items - 1 in blocks of `size`."""
    for start in range(0, items, size):
        yield np.arange(start, min(start + size, items))
