"""MIRFlickr-25K: photos of Flickr with their tags and 24 potential labels.

Source: Huiskes and Lew, The MIR Flickr Retrieval Evaluation, ACM MIR 2008.
Reads: photos       mirflickr25k.zip as published, or its folder: im<n>.jpg and meta/tags/tags<n>.txt with a
                    tag a line;
       annotations  mirflickr25k_annotations_v080.zip, or its folder: <label>.txt with the number of a photo a
                    line.  The stricter lists are <label>_r1.txt.

Protocol of Jiang and Li, Deep Cross-Modal Hashing, CVPR 2017: only tags of at least 20 photos count, and only
photos with such a tag and a label are items.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cmh.data import archives
from cmh.data.records import Record


def read(sources: Mapping[str, Path], options: Mapping[str, Any]) -> Iterator[Record]:
    """Yield one record per photo with a tag that counts and a label, by number.

    Options: `labels`: names of the lists that are read; `tag_photos`: photos that a tag must occur in;
    `order`: "text", where photo 10 comes before photo 2, as code that sorts names has it; `untagged`: the
    text of photos without such a tag, which are left out where there is none.

    Raises:
        ValueError: naming the file that is missing, or not as published.
    """
    place = str(sources["photos"])
    held = archives.listing(sources["photos"])
    photos = archives.matching(held, r"im(\d+)\.jpg", place)
    tags = {
        # A tag is whatever somebody typed; an odd byte in one must not stop the rest.
        number: list(dict.fromkeys(read().decode("utf-8", errors="replace").lower().split()))
        for number, read in archives.matching(held, r"meta/tags/tags(\d+)\.txt", place).items()
    }
    used = Counter(tag for tags_of_one in tags.values() for tag in tags_of_one)
    labels = _labels(sources["annotations"], options["labels"])
    for number in sorted(photos, key=str if options.get("order") == "text" else int):
        text = [tag for tag in tags.get(number, ()) if used[tag] >= options["tag_photos"]]
        text = text or ([options["untagged"]] if "untagged" in options else [])
        if text and number in labels:
            yield Record(
                id=f"im{number}",
                source="mirflickr25k",
                group=number,
                text=" ".join(text),
                media_type="image/jpeg",
                image=photos[number],
                traits={"labels": tuple(labels[number])},
            )


def _labels(annotations: Path, names: list[str]) -> dict[str, list[str]]:
    """Return the number of a photo → its labels."""
    lists = archives.matching(archives.listing(annotations), r"([a-z_]+(?:_r1)?)\.txt", str(annotations))
    found: dict[str, list[str]] = {}
    for name in names:
        if name not in lists:
            raise ValueError(f"{annotations} has no {name}.txt; is it version 0.80 of the annotations?")
        for number in archives.text(lists[name], f"{name}.txt").split():
            if not number.isdecimal():
                raise ValueError(f"{annotations}: {name}.txt has {number[:40]!r} where a photo's number goes")
            found.setdefault(number, []).append(name)
    return found
