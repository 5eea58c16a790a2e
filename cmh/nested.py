"""Nested codes: of a code of K bits, the first 8, 16, 32 are trained to be good codes themselves.

`cmh.trainer.Config.prefixes` gives the lengths and the weight of each one's loss; `cmh.method.Method.forward`
adds these losses.  The bits then stay in the order they were trained in, and the best epoch is the best over
all lengths.
"""

from collections.abc import Mapping

from cmh.method import Method


def check(method: type[Method], bits: int, prefixes: Mapping[int, float]) -> None:
    """Refuse with a ValueError lengths and weights that cannot be trained for."""
    if prefixes and method.loss is Method.loss:
        raise ValueError(
            f"{method.__name__} has no loss of its codes alone; it cannot train prefixes of them"
        )
    for length, weight in prefixes.items():
        if not 0 < length < bits:
            raise ValueError(f"a prefix must have 1 to {bits - 1} of {bits} bits, got {length}")
        if weight <= 0:
            raise ValueError(f"the loss of the first {length} bits must weigh more than 0, got {weight}")
