"""Who takes part in a comparison: methods, and variants of them written `method:variant`.

A variant is an ablation that the method names in its `VARIANTS`, or a way to shorten the code of the longest
model, of `SHORTENED`.  Real-valued methods have no bits to leave out, and so none of the latter.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cmh import methods
from cmh.hashing.method import Method

# Of the loss of each prefix.  SCAHN on emoji, one seed, MAP image → text at 16 / 32 / 64 bits: .525 / .572 /
# .603 with 1, .520 / .568 / .605 with 0.3, .526 / .571 / .616 with 0.1, where the longest code loses nothing.
NESTED_WEIGHT = 0.1


class Shortening(NamedTuple):
    """Which bits of the longest model a short code keeps."""

    ranking: str  # in the report
    what: str


SHORTENED = {
    "prefix": Shortening("stored", "the longest model's first bits, as stored"),
    "nested": Shortening("stored", "its first bits, with the loss applied to every prefix as well"),
    "random_bits": Shortening("random", "any of its bits, of a method that ranks them"),
}


@dataclass(frozen=True)
class Variant:
    """One row of the table.  `ranking` None: trained at each length; else that one of the longest model."""

    name: str
    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    ranking: str | None = None

    def lengths_to_train(self, bits: Sequence[int]) -> dict[int, tuple[int, ...]]:
        """Return the lengths to train, each with the lengths that are read from its report."""
        if self.ranking is None:
            return {length: (length,) for length in bits}
        return {max(bits): tuple(bits)}

    def prefixes(self, bits: Sequence[int]) -> dict[str, float]:
        """Return the weights of a nested code's shorter lengths, alike; none of a code that is not nested.

        Raises:
            ValueError: a nested code of one length.
        """
        if not self.name.endswith(":nested"):
            return {}
        *shorter, longest = sorted(set(bits))
        if not shorter:
            raise ValueError(
                f"{self.name} nests shorter codes in the longest, and {longest} bits are the only length; "
                f"give more lengths, or take {self.method}"
            )
        return {str(length): NESTED_WEIGHT for length in shorter}


def parse(name: str) -> Variant:
    """Parse the name of a method or of `method:variant`.

    Raises:
        ValueError: no such method, or it has no such variant.
    """
    method, _, variant = name.partition(":")
    cls = methods.load(method)
    if not variant:
        return Variant(name, method)
    if variant in cls.VARIANTS:
        return Variant(name, method, cls.VARIANTS[variant])
    if variant not in _shortened(cls):
        known = ", ".join(variants(method)) or "none"
        raise ValueError(f"{method} has no variant {variant!r}; it has: {known}")
    return Variant(name, method, ranking=SHORTENED[variant].ranking)


def variants(method: str) -> dict[str, str]:
    """Return what may follow `method:`, and what it means.

    Raises:
        ValueError: if there is no such method.
    """
    cls = methods.load(method)
    changes = {
        name: ", ".join(f"{key}={value!r}" for key, value in settings.items())
        for name, settings in cls.VARIANTS.items()
    }
    return changes | {name: SHORTENED[name].what for name in _shortened(cls)}


def _shortened(cls: type[Method]) -> list[str]:
    if cls.real_valued:
        return []
    offered = ["prefix"]
    if cls.loss is not Method.loss:
        offered.append("nested")
    if cls.significance is not Method.significance:
        offered.append("random_bits")
    return offered
