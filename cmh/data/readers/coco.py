"""MS COCO: photos with five captions each and the objects in them.

Source: Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014.
Reads: annotations  annotations_trainval2014.zip as published, or its folder: instances_<part>.json and
                    captions_<part>.json;
       <part>       train2014.zip and val2014.zip as published, or their folders: COCO_<part>_<number>.jpg.

Text: the captions.  Labels: the categories of the objects; photos without objects have none.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cmh.data import archives
from cmh.data.archives import Read
from cmh.data.records import Record
from cmh.data.tables import each_key_once

_JSON_BYTES = 1 << 30  # instances_train2014.json has 302 MB, most of it outlines
_FIELDS = {
    "images",
    "annotations",
    "categories",
    "id",
    "name",
    "file_name",
    "image_id",
    "category_id",
    "caption",
}


def read(sources: Mapping[str, Path], options: Mapping[str, Any]) -> Iterator[Record]:
    """Yield one record per photo with captions, part by part, by number.

    Options: `parts`: names of the sources with photos, which are those of the annotation files.

    Raises:
        ValueError: naming the file that is missing, or not as published.  A photo that is missing is an error
            of its record only, when its bytes are asked for.
    """
    place = str(sources["annotations"])
    held = archives.listing(sources["annotations"], _JSON_BYTES)
    for part in options["parts"]:
        try:
            yield from _part(held, place, part, sources[part])
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"{place}: the annotations of {part} are not as published ({error})") from error


def _part(held: Mapping[str, Read], place: str, part: str, source: Path) -> Iterator[Record]:
    instances, captions = (_json(held, f"{kind}_{part}", place) for kind in ("instances", "captions"))
    photos = archives.matching(archives.listing(source), r"([^/]+\.jpg)", str(source))
    names = {category["id"]: category["name"] for category in instances["categories"]}
    labels: dict[int, set[str]] = defaultdict(set)
    for found in instances["annotations"]:
        labels[found["image_id"]].add(names[found["category_id"]])
    said: dict[int, list[str]] = defaultdict(list)
    for caption in sorted(captions["annotations"], key=lambda caption: caption["id"]):
        said[caption["image_id"]].append(caption["caption"].strip())
    for image in sorted(instances["images"], key=lambda image: image["id"]):
        number, name = image["id"], image["file_name"]
        if number in said:
            yield Record(
                id=name.removesuffix(".jpg"),
                source=part,
                group=name,
                text=" ".join(said[number]),
                media_type="image/jpeg",
                image=photos.get(name) or archives.missing(name),
                traits={"labels": tuple(sorted(labels[number]))},
            )


def _json(held: Mapping[str, Read], name: str, place: str) -> Any:
    """Return a file of annotations, without the outlines, which would take gigabytes."""
    (read,) = archives.matching(held, rf"({name})\.json", place).values()
    try:
        return json.loads(read(), object_pairs_hook=_wanted)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{place}: {name}.json is not readable: {error}") from error


def _wanted(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return each_key_once([(key, value) for key, value in pairs if key in _FIELDS])
