"""Write a table of few pairs to train on, from photos that a model trained on Flickr8k has never seen.

    python -m tests.bench.few_pairs pairs.csv few.csv

`pairs.csv` is what `tests.bench.flickr8k_pairs` writes.  Of its 1,000 queries 160 are trained on, 40 choose
the epoch, and the other 800 are queries; in the order of the table, which is drawn.
"""

import csv
from pathlib import Path

import cyclopts

TRAIN, VALIDATION = 160, 40


def main(pairs: Path, few: Path) -> None:
    """Write the table."""
    with pairs.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "query"]
    with few.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("image", "text", "split"))
        for number, row in enumerate(rows):
            split = "train" if number < TRAIN else "validation" if number < TRAIN + VALIDATION else "query"
            writer.writerow((row["image"], row["text"], split))


if __name__ == "__main__":
    cyclopts.run(main)
