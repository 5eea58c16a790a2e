"""Karpathy's JSON of captions and splits: dataset_coco.json, dataset_flickr30k.json, dataset_flickr8k.json.

Source: Karpathy and Fei-Fei, Deep Visual-Semantic Alignments for Generating Image Descriptions, CVPR 2015.
Reads: captions  {"images": [{"filename", "filepath" (of COCO), "split", "sentences": [{"raw", ...}]}]};
       others    folders, zips or tars with the photos, at any depth.

Each caption is an item, and the five of a photo share it.  The photos of the split "test" are the queries,
"val" is the validation set, "train" and "restval" are trained on.  Options: `captions`, "each" (the default)
or "joined": one item a photo, its captions one after the other.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cmh.data import archives, item_table
from cmh.data.records import Record
from cmh.data.tables import RepeatedKey, each_key_once

_JSON_BYTES = 1 << 30  # dataset_coco.json has 144 MB


def read(sources: Mapping[str, Path], options: Mapping[str, Any]) -> Iterator[Record]:
    """Yield the records photo by photo, in the file's order.

    Raises:
        ValueError: naming the file and the entry.  A photo that is missing is an error of its records only,
            when its bytes are asked for.
    """
    captions = sources["captions"]
    how = options.get("captions", "each")
    if how not in ("each", "joined"):
        raise ValueError(
            f"the option captions is each, one item a caption, or joined, one item a photo; got {how!r}"
        )
    places = [archives.listing(place) for name, place in sources.items() if name != "captions"]
    photos = {name.rpartition("/")[2]: member for held in places for name, member in held.items()}
    for number, image in enumerate(_images(captions), start=1):
        try:
            name, split = str(image["filename"]), item_table.SPLITS[image["split"]]
            said = [str(sentence["raw"]).strip() for sentence in image["sentences"]]
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"{captions}, image {number}: no {error}; expected filename, split (train, restval, val, "
                "test) and sentences with raw"
            ) from None
        photo = photos.get(name) or archives.missing(name)
        for nth, text in enumerate(said if how == "each" else [" ".join(said)], start=1):
            yield Record(
                id=name if how == "joined" else f"{name}#{nth}",
                source="karpathy",
                group=name,
                text=text,
                media_type="image",
                image=photo,
                image_id=name,
                split=split,
            )


def is_captions(head: bytes) -> bool:
    """Return whether a file begins as such a JSON does."""
    return (head.lstrip().startswith(b"{") and b'"sentids"' in head) or b'"sentences"' in head


def _images(captions: Path) -> list[Any]:
    try:
        text = archives.text(archives.one(captions, _JSON_BYTES), str(captions))
        found = json.loads(text, object_pairs_hook=each_key_once)["images"]
    except (KeyError, TypeError, RecursionError, json.JSONDecodeError, RepeatedKey) as error:
        said = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"{captions} is not one of Karpathy's files: {said}") from None
    if not isinstance(found, list):
        raise ValueError(f"{captions} is not one of Karpathy's files: images is no list")
    return found
