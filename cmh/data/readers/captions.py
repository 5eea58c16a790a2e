"""Photos with captions and nothing else: Flickr30k, and Flickr8k with Chinese captions.

Source: Young, Lai, Hodosh and Hockenmaier, From Image Descriptions to Visual Denotations, TACL 2, 2014; Li,
Lan, Dong and Liu, Adding Chinese Captions to Images, ICMR 2016.
Reads: images    a folder, zip or tar with the photos, at any depth;
       captions  a list in any of the forms of `cmh.data.caption_lists`.

Each caption is an item, and those of a photo share it.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cmh.data import archives, caption_lists
from cmh.data.records import Record


def read(sources: Mapping[str, Path], options: Mapping[str, Any]) -> Iterator[Record]:
    """Yield one record per caption, by photo.

    Raises:
        ValueError: naming the file and the line.  A photo that is missing is an error of its records only,
            when its bytes are asked for.
    """
    images = sources["images"]
    photos = archives.matching(archives.listing(images), r"([^/]+\.jpg)", str(images))
    for name, captions in sorted(caption_lists.read(sources["captions"]).items()):
        for number, text in sorted(captions):
            yield Record(
                id=f"{name}#{number}",
                source="captions",
                group=name,
                text=text.strip(),
                media_type="image/jpeg",
                image=photos.get(name) or archives.missing(name),
                image_id=name,
            )
