"""Codes and labels of the sizes that the field reports on.

Codes are planted: a random direction per label, summed and disturbed, so that distances are spread and tied
as those of learnt codes are.  NUS-WIDE's labels are the real ones where `shared/data/nuswide_labels` lies
beside the checkout (images with at least one of the 21 most frequent concepts), else drawn with its counts.
"""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cmh.codes import hamming

_SHARED = Path(os.environ.get("CMH_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
NUSWIDE = _SHARED / "nuswide_labels" / "mul_label_ids.txt"
_NUSWIDE_COUNTS = (
    74190, 54087, 51577, 35264, 33887, 22561, 17835, 15051, 14345, 13392, 11307,
    9524, 8605, 8418, 7875, 6327, 6099, 5404, 5352, 5239, 5099,
)  # fmt: skip

_NOISE = 2.0  # MAP of about .7 at NUS-WIDE size, as published methods reach


class Size(NamedTuple):
    queries: int
    items: int
    labels: int
    per_item: float  # labels of an item, on average


SIZES = {
    "mirflickr": Size(2000, 18_015, 24, 3.8),
    "nuswide": Size(2100, 188_321, 21, 2.4),
    "coco": Size(5000, 117_218, 80, 2.9),
}


class Problem(NamedTuple):
    query_QP: np.ndarray
    database_NP: np.ndarray
    query_labels_QL: np.ndarray
    database_labels_NL: np.ndarray
    bits: int

    def some_queries(self, number: int) -> "Problem":
        return self._replace(query_QP=self.query_QP[:number], query_labels_QL=self.query_labels_QL[:number])


def problem(name: str, bits: int, seed: int = 0) -> Problem:
    size, rng = SIZES[name], np.random.default_rng(seed)
    total = size.queries + size.items
    labels_NL = _nuswide_labels(total, rng) if name == "nuswide" else _drawn_labels(size, total, rng)
    direction_LK = rng.standard_normal((labels_NL.shape[1], bits))
    u_NK = labels_NL @ direction_LK + _NOISE * rng.standard_normal((total, bits))
    codes_NP = hamming.pack(u_NK)
    query, database = slice(0, size.queries), slice(size.queries, None)
    return Problem(codes_NP[query], codes_NP[database], labels_NL[query], labels_NL[database], bits)


def _nuswide_labels(total: int, rng: np.random.Generator) -> np.ndarray:
    if not NUSWIDE.exists():
        share_L = np.array(_NUSWIDE_COUNTS) / 195_834
        return (rng.random((total, 21)) < share_L).astype(np.uint8)
    rows = [[int(label) for label in line.split()[1:]] for line in NUSWIDE.read_text().splitlines()]
    counts = np.bincount(np.concatenate(rows))
    labels_NL = np.zeros((len(rows), len(counts)), np.uint8)
    for row, labels in enumerate(rows):
        labels_NL[row, labels] = 1
    frequent_NL = labels_NL[:, np.argsort(-counts)[:21]]
    labelled_NL = frequent_NL[frequent_NL.any(axis=1)]
    return labelled_NL[rng.permutation(len(labelled_NL))[:total]]


def _drawn_labels(size: Size, total: int, rng: np.random.Generator) -> np.ndarray:
    """Labels with frequencies that fall as 1 / rank, at least one for each item."""
    share_L = 1 / np.arange(1, size.labels + 1)
    share_L = np.minimum(share_L * size.per_item / share_L.sum(), 0.9)
    labels_NL = (rng.random((total, size.labels)) < share_L).astype(np.uint8)
    labels_NL[np.arange(total), rng.choice(size.labels, total, p=share_L / share_L.sum())] = 1
    return labels_NL
