"""Write Flickr8k as a table of images and texts without labels, on which unlabelled data is measured.

    python -m tests.bench.flickr8k_pairs captions.txt photos/ pairs.csv

Each photo has its first two captions as one text.  A thousand photos are queries, six hundred choose the
epoch, the others are trained on; seed 0.
"""

import csv
import random
from collections import defaultdict
from pathlib import Path

import cyclopts

QUERIES, VALIDATION = 1000, 600


def main(captions: Path, photos: Path, table: Path) -> None:
    """Write the table of the photos that are there."""
    said: dict[str, list[str]] = defaultdict(list)
    with captions.open(newline="") as file:
        for row in csv.DictReader(file):
            said[row["image"]].append(row["caption"])
    where = {path.name: path.relative_to(photos).as_posix() for path in photos.rglob("*.jpg")}
    names = sorted(said.keys() & where.keys())
    random.Random(0).shuffle(names)
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("image", "text", "split"))
        for number, name in enumerate(names):
            split = "query" if number < QUERIES else "train"
            if QUERIES <= number < QUERIES + VALIDATION:
                split = "validation"
            writer.writerow((where[name], " ".join(said[name][:2]), split))


if __name__ == "__main__":
    cyclopts.run(main)
