r"""NUS-WIDE: photos of Flickr with their tags and 81 concepts.

Source: Chua et al., NUS-WIDE: A Real-World Web Image Database from National University of Singapore, CIVR
2009.
Reads: lists   the folder (or a zip) that holds, at any depth, the publisher's
                 ImageList/Imagelist.txt                     a photo a line, "<folder>\<name>.jpg"
                 NUS_WID_Tags/All_Tags.txt                   in the same order, "<photo's number> <tag> …"
                 NUS_WID_Tags/TagList1k.txt                  the 1,000 tags that count
                 Groundtruth/AllLabels/Labels_<concept>.txt  in the same order, 1 or 0 a line
       photos  the folder "Flickr" (or a zip or tar), <folder>/<name>.jpg

Only photos with one of the concepts asked for and one of the 1,000 tags are items, as in published protocols.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmh.data import archives
from cmh.data.archives import Read
from cmh.data.records import Record

_LIST_BYTES = 256 << 20  # All_Tags.txt, the largest that is read, has some 50 MB


def read(sources: Mapping[str, Path], options: Mapping[str, Any]) -> Iterator[Record]:
    """Yield one record per photo with a concept and a tag, in the publisher's order.

    Options: `concepts`: names of the labels; `tags`: "all", where not only the 1,000 count; `untagged`: the
    text of photos without a tag that counts, which are left out where there is none; `flat`: whether the
    photos lie in one folder, by their names alone.

    Raises:
        ValueError: naming the list that is missing, or whose lines do not match the others'.  A photo that is
            missing is an error of its record only, when its bytes are asked for.
    """
    place = str(sources["lists"])
    held = archives.listing(sources["lists"], _LIST_BYTES)
    names = [line.strip().replace("\\", "/") for line in _lines(held, r"(Imagelist)\.txt", place)]
    counting = {line.strip() for line in _lines(held, r"NUS_WID_Tags/(TagList1k)\.txt", place)}
    tags = _lines(held, r"NUS_WID_Tags/(All_Tags)\.txt", place)
    if len(tags) != len(names):
        raise ValueError(f"{place}: Imagelist.txt has {len(names)} lines and All_Tags.txt {len(tags)}")
    _check_order(names, tags, place)
    label_NL = _labels(held, options["concepts"], len(names), place)
    flat = bool(options.get("flat"))
    pattern = r"([^/]+\.jpg)" if flat else r"([^/]+/[^/]+\.jpg)"
    photos = archives.matching(archives.listing(sources["photos"]), pattern, str(sources["photos"]))
    for name, line, label_L in zip(names, tags, label_NL, strict=True):
        text = [tag for tag in line.split()[1:] if options.get("tags") == "all" or tag in counting]
        text = text or ([options["untagged"]] if "untagged" in options else [])
        if text and label_L.any():
            yield Record(
                id=name.removesuffix(".jpg"),
                source="nuswide",
                group=_number(name),  # some photos are in two folders
                text=" ".join(text),
                media_type="image/jpeg",
                image=photos.get(name.rpartition("/")[2] if flat else name) or archives.missing(name),
                traits={"labels": tuple(np.array(options["concepts"])[label_L].tolist())},
            )


def _lines(held: Mapping[str, Read], pattern: str, place: str) -> list[str]:
    (read,) = archives.matching(held, pattern, place).values()
    # \n only: a tag may hold one of the rare characters that splitlines takes for the end of a line
    return read().decode("utf-8", errors="replace").rstrip("\n").split("\n")


def _number(name: str) -> str:
    """Return the photo's number on Flickr, at the end of its name."""
    return name.removesuffix(".jpg").split("_")[-1]


def _check_order(names: list[str], tags: list[str], place: str) -> None:
    """Lines of the lists belong together by their place only: the photo's number is in two of the lists."""
    for line, (name, given) in enumerate(zip(names, tags, strict=True), start=1):
        if given.split()[:1] != [_number(name)]:
            raise ValueError(
                f"{place}: line {line} of Imagelist.txt is {name[:60]!r}, and that of All_Tags.txt is of "
                f"another photo, {given[:60]!r}; take both lists from one release"
            )


def _labels(held: Mapping[str, Read], concepts: list[str], total: int, place: str) -> NDArray[np.bool_]:
    """Return (N, L): which of the concepts each photo shows."""
    lists = archives.matching(held, r"AllLabels/Labels_([a-z]+)\.txt", place)
    label_NL = np.zeros((total, len(concepts)), bool)
    for column, concept in enumerate(concepts):
        if concept not in lists:
            raise ValueError(f"{place} has no Labels_{concept}.txt; it has {', '.join(lists)}")
        values = lists[concept]().split()
        if len(values) != total or not {b"0", b"1"}.issuperset(values):
            raise ValueError(
                f"{place}: Labels_{concept}.txt should hold 0 or 1 for each of {total} photos; it has "
                f"{len(values)} lines"
            )
        label_NL[:, column] = [value == b"1" for value in values]
    return label_NL
