r"""Lists of captions as the publishers of Flickr8k, Flickr30k and their translations write them.

<photo>#<0 to 4>\t<caption>            Flickr8k.token.txt, results_20130124.token
<photo>#zhc#<0 to 4> <caption>         Flickr8k-CN: zhc by people, zhb and zhg translated, zhm the tests
image,caption                          captions.txt, as copied; a photo's captions in order
image_name| comment_number| comment    results.csv, as copied
"""

import csv
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from cmh.data import archives

_TOKEN = re.compile(r"([^\t#]+)#(\d)\t(.*)")
_TRANSLATED = re.compile(r"([^\s#]+)#[a-z]+#(\d)\s+(.*)")
_BARS = re.compile(r"([^|]+)\|\s*(\d)\s*\|?\s*(.*)")  # one line of results.csv lacks its second bar


def read(table: Path) -> dict[str, list[tuple[int, str]]]:
    """Return photo → its numbered captions.

    Raises:
        ValueError: naming the file and the line.
    """
    lines = archives.text(archives.one(table), str(table), "utf-8-sig").splitlines()
    found: dict[str, list[tuple[int, str]]] = defaultdict(list)
    if lines and lines[0].split(",")[:2] == ["image", "caption"]:
        for name, caption in _rows(table, lines):
            found[name].append((len(found[name]), caption))
        return found
    bars = bool(lines) and [part.strip() for part in lines[0].split("|")][:2] == [
        "image_name",
        "comment_number",
    ]
    for number, line in enumerate(lines[bars:], start=1 + bars):
        match = _BARS.fullmatch(line) if bars else _TOKEN.fullmatch(line) or _TRANSLATED.fullmatch(line)
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
