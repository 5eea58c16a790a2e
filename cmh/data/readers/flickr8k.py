r"""Flickr8k: photos with five captions each, by five people.

Source: Hodosh, Young and Hockenmaier, Framing Image Description as a Ranking Task, JAIR 47, 2013.
Reads: images    a folder, zip or tar with the photos, at any depth;
       captions  the publisher's Flickr8k.token.txt, a line "<photo>#<0 to 4>\t<caption>"; or the copied
                 captions.txt, a table with the columns image and caption, a photo's captions in order.

The first captions are the text.  Labels come from the others, so that text and labels are the evidence of
different people; label rules look at the trait "words".
"""

import csv
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from cmh.data import archives
from cmh.data.records import Record

_TOKEN = re.compile(r"([^\t#]+)#(\d)\t(.*)")


def read(sources: Mapping[str, Path], options: Mapping[str, Any]) -> Iterator[Record]:
    """Yield one record per photo that has captions, by name.

    Options: `text`: how many captions are the text; the others give the words.

    Raises:
        ValueError: naming the file, and the line or the photo.  A photo that is missing is an error of its
            record only, when its bytes are asked for.
    """
    images, table = sources["images"], sources["captions"]
    photos = archives.matching(archives.listing(images), r"([^/]+\.jpg)", str(images))
    for name, captions in sorted(_captions(table).items()):
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


def _captions(table: Path) -> dict[str, list[tuple[int, str]]]:
    """Return photo → its numbered captions, of either layout."""
    lines = archives.text(archives.one(table), str(table), "utf-8-sig").splitlines()
    found: dict[str, list[tuple[int, str]]] = defaultdict(list)
    if lines and lines[0].split(",")[:2] == ["image", "caption"]:
        for name, caption in _rows(table, lines):
            found[name].append((len(found[name]), caption))
        return found
    for number, line in enumerate(lines, start=1):
        match = _TOKEN.fullmatch(line)
        if match is None:
            raise ValueError(
                f"{table}, line {number}: expected <photo>#<number>, a tab and a caption, got {line[:60]!r}"
            )
        found[match[1]].append((int(match[2]), match[3]))
    return found


def _rows(table: Path, lines: list[str]) -> Iterator[tuple[str, str]]:
    """Return photo and caption of each row below the heading."""
    rows = csv.reader(lines, strict=True)  # strict: a quote that nothing closes must not take in other rows
    next(rows)
    try:
        for row in rows:
            if len(row) != 2:
                raise ValueError(
                    f"{table}, line {rows.line_num}: expected a photo and a caption, got "
                    f"{','.join(row)[:60]!r}"
                )
            yield row[0], row[1]
    except csv.Error as error:
        raise ValueError(f"{table}, line {rows.line_num}: {error}; is a quote left open above?") from error
