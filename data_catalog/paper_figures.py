"""Figures that papers print, to stand beside ours: `paper_figures.yaml`, each with its source."""

from typing import NamedTuple

import yaml

from data_catalog.catalog import FOLDER

LENGTHS = (16, 32, 64)


class Figure(NamedTuple):
    """One number of a table: MAP over the whole ranking."""

    dataset: str
    method: str
    bits: int
    direction: str  # image_to_text or text_to_image
    value: float
    source: str


def figures(dataset: str) -> list[Figure]:
    """Return everything printed for a dataset, in the order of the file; nothing for datasets of our own."""
    return [
        Figure(dataset, method, bits, direction, value, paper["source"])
        for paper in yaml.safe_load((FOLDER / "paper_figures.yaml").read_text())
        for method, directions in paper["tables"].get(dataset, {}).items()
        for direction, values in directions.items()
        for bits, value in zip(LENGTHS, values, strict=True)
    ]
