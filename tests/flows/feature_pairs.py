"""A small dataset of features: the pairs, and a catalog entry over a .mat file of them."""

from pathlib import Path
from typing import Any

from scipy.io import savemat

from tests.cmh.methods import shallow

TRAIN, QUERY = shallow.pairs(150, seed=1), shallow.pairs(30, seed=2)


def entry(folder: Path) -> dict[str, Any]:
    """Fields of the entry; the file is written into the folder."""
    parts = (("tr", TRAIN), ("te", QUERY))
    held = {f"I_{part}": items.image[0][:, :, 0, 0] for part, items in parts}
    held |= {f"T_{part}": items.text for part, items in parts} | {f"L_{part}": i.label for part, i in parts}
    savemat(folder / "small.mat", held)
    return {
        "name": "small", "title": "Small", "reader": "wiki", "options": {"labels": ["a", "b", "c", "d"]},
        "sources": {"features": {"kind": "path", "path": str(folder / "small.mat")}},
        "split": {"published": True},
    }  # fmt: skip
