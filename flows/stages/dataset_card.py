"""The card of a dataset: what a reader of its figures has to know, counted.

Writes: README.md for people, quality.json for programs
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmh.data import near_duplicates, quality
from infra.artifacts import Draft

SHOWN = 20  # pairs that look alike


def write(
    draft: Draft,
    said: Sequence[str],
    groups: Sequence[str],
    names: Sequence[str],
    label_NL: NDArray[np.uint8],
    split: Mapping[str, NDArray[np.int64]],
    wrong: Mapping[str, Any] | None,
    hash_N: NDArray[np.uint64] | None = None,
) -> None:
    """Write the card.

    Args:
        draft: of the dataset.
        said: text of each item.
        groups: group of each item.
        names: the labels.
        label_NL: multi-hot.
        split: rows by name of the split.
        wrong: the noise in the labels of the training items; None: there is none.
        hash_N: perceptual hash of each item's image; None: the dataset brings features.
    """
    found = quality.of_items(said, groups, label_NL, split)
    count_L = label_NL.sum(axis=0, dtype=int).tolist()
    facts = asdict(found) | {"labels": dict(zip(names, count_L, strict=True))}
    lines = [
        f"{len(said)} items, {len(names)} labels; "
        + ", ".join(f"{n} {part}" for part, n in found.items.items())
    ]
    lines += found.lines()
    if wrong is not None:
        facts["label_noise"] = wrong
        lines.append(
            f"{wrong['items']} training items have a wrong label on purpose (rate {wrong['rate']:g}, "
            f"{wrong['kind']}, seed {wrong['seed']}); queries, database and validation keep the right ones"
        )
    if hash_N is not None:
        alike = _alike(hash_N, split)
        facts["queries_alike"] = alike
        lines.append(
            f"{alike} of {found.items['query']} queries have an image that looks like a trained one "
            f"(perceptual hash within {near_duplicates.DISTANCE} of 64 bits)"
        )
    page = ["# Quality of the dataset", "\n".join(f"- {line}" for line in lines)]
    page.append("The database is all but the queries.  A split that is drawn by groups tears none of them.")
    draft.write_bytes("README.md", ("\n\n".join(page) + "\n").encode())
    draft.write_bytes("quality.json", json.dumps(facts, indent=1, ensure_ascii=False).encode())


def _alike(hash_N: NDArray[np.uint64], split: Mapping[str, NDArray[np.int64]]) -> int:
    """Return how many queries have an image like one in the training or validation set."""
    parts = {"asked": split["query"], "others": np.concatenate([split["train"], split["validation"]])}
    chosen = {part: np.zeros(len(hash_N), bool) for part in parts}
    for part, rows in parts.items():
        chosen[part][rows] = True
    return len(near_duplicates.with_relatives(hash_N, chosen["asked"], chosen["others"]))
