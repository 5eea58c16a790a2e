"""Records of a user's own data: rows of a table and the images beside them, by the same rules for every form.

Several rows of one image are several items that share it: the image is decoded and encoded once.  Items of
one image, or of images with equal bytes, stay on one side of the split unless the column `group` says which
items belong together.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from cmh.data import equal_bytes
from cmh.data.equal_bytes import ImageFile
from cmh.data.item_table import SPLITS, Row
from cmh.data.records import Record

SOURCE = "own"  # of every record: where the data came from must not change what comes out


def records(place: str, rows: Sequence[Row], images: Sequence[ImageFile]) -> Iterator[Record]:
    """Yield a record per row, in order.

    Args:
        place: what messages call the table.
        rows: the items.
        images: the image of each row; equal names are one image.

    Raises:
        ValueError: a group on both sides of the table's own split.
    """
    first = equal_bytes.first_of_each(images)
    _check_splits(place, rows, images)
    number: Counter[str] = Counter()
    for row, image in zip(rows, images, strict=True):
        number[image.name] += 1
        nth = f"#{number[image.name]}" if number[image.name] > 1 else ""
        yield Record(
            id=row.id or f"{image.name}{nth}",
            source=SOURCE,
            group=row.group or first[image.name],
            text=row.text,
            media_type="image/svg+xml" if image.name.lower().endswith(".svg") else "image",
            image=image.read,
            traits={"labels": row.labels},
            image_id=image.name,
            split=row.split,
        )


def remarks(place: str, rows: Sequence[Row], images: Sequence[ImageFile]) -> list[str]:
    """Return what a person should know of equal images, a line each."""
    found = []
    first = equal_bytes.first_of_each(images)
    doubles = [name for name, other in first.items() if name != other]
    if doubles:
        found.append(
            f"{len(doubles)} image(s) have the same bytes as another, such as {doubles[0]} and "
            f"{first[doubles[0]]}; they stay on one side of a split that is drawn"
        )
    paired = list(zip(rows, images, strict=True))
    queries = {first[image.name] for row, image in paired if row.split == "query"}
    shared = [
        image.name
        for row, image in paired
        if row.split in ("train", "validation") and first[image.name] in queries
    ]
    if shared:
        found.append(
            f"the split of {place} puts {len(shared)} training item(s) whose image is a query's too, "
            f"byte by byte, such as {shared[0]}: the model is tested on images that it was trained on"
        )
    return found


def apart(images: Sequence[ImageFile], places: Sequence[str]) -> list[ImageFile]:
    """Return the images with names of their own: equal names of other bytes get the place in front.

    Shards carry their images along, and two of them may hold a 0001.jpg.
    """
    named: dict[str, list[int]] = defaultdict(list)
    for number, image in enumerate(images):
        named[image.name].append(number)
    found = list(images)
    for numbers in named.values():
        if len(numbers) < 2:
            continue
        kept = equal_bytes.digest(images[numbers[0]])
        for number in numbers[1:]:
            if kept is None or equal_bytes.digest(images[number]) != kept:
                found[number] = images[number]._replace(name=f"{places[number]}/{images[number].name}")
    return found


def split_of(name: str) -> str:
    """Return the split that a shard's or a folder's name begins with, as Hugging Face has it; "" for none.

    >>> split_of("train-00000-of-00002.parquet"), split_of("data/test/0.png"), split_of("photos-1.tar")
    ('train', 'query', '')
    """
    for part in reversed(Path(name).parts):
        word = part.split(".")[0].split("-")[0].lower()
        if word in SPLITS:
            return SPLITS[word]
    return ""


def split_by_names(names: Sequence[str]) -> list[str]:
    """Return the split of each name; "" for all unless every one is told, and there are queries to test with.

    >>> split_by_names(["train-0", "test-0"]), split_by_names(["train-0", "train-1"])
    (['train', 'query'], ['', ''])
    """
    found = [split_of(name) for name in names]
    whole = all(found) and {"train", "query"} <= set(found)
    return found if whole else [""] * len(found)


def _check_splits(place: str, rows: Sequence[Row], images: Sequence[ImageFile]) -> None:
    """Refuse images and groups of which some items are queries and some are trained on or chosen with."""
    first: dict[str, Row] = {}
    for row, image in zip(rows, images, strict=True):
        if row.split in ("", "database"):
            continue
        together = row.group or image.name
        other = first.setdefault(together, row)
        if (other.split == "query") != (row.split == "query"):
            raise ValueError(
                f"{place}, {row.place}: {together[:200]} is {row.split} here and {other.split} in "
                f"{other.place}; a model would be tested on what it was trained on: give both the same split"
            )
