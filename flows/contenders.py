"""Who takes part in a comparison: methods, and variants of them written `method:variant`.

A variant is an ablation that the method names in its `VARIANTS`, or a way to cut the longest code:
`prefix` keeps the first bits as stored, `random_bits` any (of methods that rank their bits), and `nested` the
first bits of a model whose loss was applied to every prefix as well (of methods trained by gradients).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cmh import methods
from cmh.method import Method

SHORTENED = {"prefix": "stored", "nested": "stored", "random_bits": "random"}  # → ranking in the report


@dataclass(frozen=True)
class Contender:
    """One row of the table.  `ranking` None: trained at each length; else that one of the longest model."""

    name: str
    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    ranking: str | None = None

    def trained(self, bits: Sequence[int]) -> dict[int, tuple[int, ...]]:
        """The lengths to train, each with the lengths that are read from its report."""
        if self.ranking is None:
            return {length: (length,) for length in bits}
        return {max(bits): tuple(bits)}

    def prefixes(self, bits: Sequence[int]) -> dict[str, float]:
        """The weights of a nested code's shorter lengths, alike; none of a code that is not nested."""
        return {str(b): 1.0 for b in sorted(bits)[:-1]} if self.name.endswith(":nested") else {}


def contender(name: str) -> Contender:
    """The contender of this name.

    Raises:
        ValueError: no such method, or it has no such variant.
    """
    method, _, variant = name.partition(":")
    cls = methods.load(method)
    if not variant:
        return Contender(name, method)
    if variant in cls.VARIANTS:
        return Contender(name, method, cls.VARIANTS[variant])
    offered = _shortened(cls)
    if variant not in offered:
        known = ", ".join([*cls.VARIANTS, *offered]) or "none"
        raise ValueError(f"{method} has no variant {variant!r}; it has: {known}")
    return Contender(name, method, ranking=SHORTENED[variant])


def _shortened(cls: type[Method]) -> list[str]:
    offered = ["prefix"]
    if cls.loss is not Method.loss:
        offered.append("nested")
    if cls.significance is not Method.significance:
        offered.append("random_bits")
    return offered
