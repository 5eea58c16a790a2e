"""From what publishers say about a record (its traits) to a multi-hot label matrix.

Shapes: N = records, L = labels.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

MAX_BYTES = 4 << 30  # of a matrix of labels, a byte each

Traits = Mapping[str, Sequence[str]]
Rules = Mapping[str, Mapping[str, Sequence[str]]]


def assign(traits: Sequence[Traits], rules: Rules) -> tuple[list[str], NDArray[np.uint8]]:
    """Return the names of the labels, and (N, L) uint8.  Labels that no record earns are left out.

    `rules`: label → {trait: values}; a record earns the label if any of its traits has any of the values.
    Without rules a record's labels are its own trait "labels", in alphabetical order.

    Raises:
        ValueError: the matrix would take more than `MAX_BYTES`, as where the labels are ids.

    >>> rules = {"fruit": {"tags": ["fruit"]}, "food": {"groups": ["food"], "tags": ["meal"]}}
    >>> assign([{"groups": ["food"], "tags": ["fruit"]}, {"groups": ["food"]}, {}], rules)
    (['fruit', 'food'], array([[1, 1],
           [0, 1],
           [0, 0]], dtype=uint8))
    """
    if rules:
        names = list(rules)
        wanted = [{trait: set(values) for trait, values in rule.items()} for rule in rules.values()]
        earned = ([n for n, rule in enumerate(wanted) if _earns(record, rule)] for record in traits)
    else:
        names = sorted({label for record in traits for label in record.get("labels", ())})
        column = {name: number for number, name in enumerate(names)}
        earned = ([column[label] for label in record.get("labels", ())] for record in traits)
    if len(traits) * len(names) > MAX_BYTES:
        raise ValueError(
            f"{len(names)} different labels of {len(traits)} items, such as {', '.join(names[:3])}, are a "
            f"matrix of {len(traits) * len(names) / 2**30:.0f} GiB, and {MAX_BYTES >> 30} are held; does the "
            "column of labels hold ids or texts?  Give labels that several items share, or none"
        )
    label_NL = np.zeros((len(traits), len(names)), np.uint8)
    for label_L, columns in zip(label_NL, earned, strict=True):
        label_L[columns] = 1
    used = np.flatnonzero(label_NL.any(axis=0))
    if len(used) < len(names):
        names, label_NL = [names[column] for column in used], label_NL[:, used]
    return names, label_NL


def check_enough(names: Sequence[str]) -> None:
    """Refuse labels that cannot tell which items belong together.

    Raises:
        ValueError: no label, or only one.
    """
    if not names:
        raise ValueError(
            "no item has a label, so nothing tells which pairs belong together; fill the column 'labels' "
            "of your table, give label rules in the catalog entry, or take a method that learns from pairs "
            "alone, such as --method joint"
        )
    if len(names) == 1:
        raise ValueError(
            f"there is only one label, {names[0]!r}: every item would be relevant to every other; "
            "give at least two, or take a method that learns from pairs alone, such as --method joint"
        )


def _earns(traits: Traits, rule: Mapping[str, set[str]]) -> bool:
    return any(not values.isdisjoint(traits.get(trait, ())) for trait, values in rule.items())
