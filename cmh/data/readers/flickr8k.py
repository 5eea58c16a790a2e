r"""Flickr8k: photos with five captions each, by five people.

Source: Hodosh, Young and Hockenmaier, Framing Image Description as a Ranking Task, JAIR 47, 2013.
Reads: images    a folder, zip or tar with the photos, at any depth;
       captions  the publisher's Flickr8k.token.txt, or the copied captions.txt; see
                 `cmh.data.caption_lists`.

The first captions are the text.  Labels come from the others, so that text and labels are the evidence of
different people; label rules look at the trait "words".
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from cmh.data import archives, caption_lists
from cmh.data.records import Record


def read(sources: Mapping[str, Path], options: Mapping[str, Any]) -> Iterator[Record]:
    """Yield one record per photo that has captions, by name.

    Options: `text`: how many captions are the text; the others give the words.

    Raises:
        ValueError: naming the file, and the line or the photo.  A photo that is missing is an error of its
            record only, when its bytes are asked for.
    """
    images, table = sources["images"], sources["captions"]
    photos = archives.matching(archives.listing(images), r"([^/]+\.jpg)", str(images))
    for name, captions in sorted(caption_lists.read(table).items()):
        if not name.endswith(".jpg"):  # the publisher captions a "….jpg.1" too, which is not among the photos
            continue
        said = [caption for _, caption in sorted(captions)]
        if len(said) <= options["text"]:
            raise ValueError(
                f"{table}: {name} has {len(said)} caption(s); {options['text']} are its text, and at least "
                "one more gives its labels"
            )
        yield Record(
            id=name.removesuffix(".jpg"),
            source="flickr8k",
            group=name,
            text=" ".join(said[: options["text"]]),
            media_type="image/jpeg",
            image=photos.get(name) or archives.missing(name),
            traits={"words": tuple(sorted(words(said[options["text"] :])))},
        )


def words(captions: Iterable[str]) -> set[str]:
    """Return the words of the captions, and the pairs of neighbours.

    >>> sorted(words(["A Hot-dog."]))
    ['a', 'a hot', 'dog', 'hot', 'hot dog']
    """
    found: set[str] = set()
    for caption in captions:
        spoken = re.findall(r"[a-z]+", caption.lower())
        found |= {*spoken, *(f"{one} {next_}" for one, next_ in pairwise(spoken))}
    return found
