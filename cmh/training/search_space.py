"""Where tuning looks: around a recipe's values, at points that a seed decides.

A method declares nothing for it.  Its positive real settings (learning rates, weights, margins, temperatures)
are searched on a logarithmic scale around their values; words, switches and whole numbers, which choose
another network or another cost, stay.  The points are those of a scrambled Halton sequence (Owen 2017,
arXiv:1706.02808): the first ten of fifty are the ten of a search for ten.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from scipy.stats import qmc

FACTOR = 5.0  # how far from the recipe's value, either way


class Range(NamedTuple):
    """The lowest and the highest value of a setting."""

    low: float
    high: float

    def at(self, share: float) -> float:
        """Return the value at a share of the way, on a logarithmic scale, to three digits.

        >>> Range(0.001, 0.1).at(0.5)
        0.01
        """
        return float(f"{self.low * (self.high / self.low) ** share:.3g}")


class Trial(NamedTuple):
    """What one training run tries."""

    settings: dict[str, Any]  # fields of the method's Config
    batch_size: int


def ranges(config: Any) -> dict[str, Range]:
    """Return the range of each positive real setting of a method's `Config`.

    A value of at most 1 stays so, and below 1 if it lies there: it may be a share, or a rate that falls.

    >>> Config = dataclasses.make_dataclass("Config", ["lr", "share", "weight", "hidden"])
    >>> ranges(Config(lr=1e-3, share=0.8, weight=10.0, hidden=512))["share"]
    Range(low=0.16, high=0.9)
    """
    found = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if isinstance(value, float) and 0 < value < math.inf:
            high = value * FACTOR if value > 1 else min(value * FACTOR, (1 + value) / 2)
            found[field.name] = Range(value / FACTOR, high)
    return found


def trials(
    config: Any, fixed: Mapping[str, Any], batch_size: int | None, count: int, seed: int
) -> list[Trial]:
    """Return what to try: first the recipe as it is, then points around it.

    Args:
        config: the method's `Config` of the recipe, `fixed` in it.
        fixed: settings that every trial has.
        batch_size: the recipe's, of which half and twice as many are tried too; None: there are no batches.
        count: how many trials.
        seed: of the points.
    """
    asked = {name: one for name, one in ranges(config).items() if name not in fixed}
    sizes = [1] if batch_size is None else [max(2, batch_size // 2), batch_size, batch_size * 2]
    tried = [Trial(dict(fixed), batch_size or 1)]
    for place in qmc.Halton(len(asked) + 1, scramble=True, rng=seed).random(max(0, count - 1)):
        *shares, last = map(float, place)
        found = {name: one.at(share) for (name, one), share in zip(asked.items(), shares, strict=True)}
        tried.append(Trial({**fixed, **found}, sizes[int(last * len(sizes))]))
    return tried
