"""IAPR TC-12: travel photos with a description each, and labels of the regions in them.

Source: Grubinger, Clough, Müller and Deselaers, The IAPR TC-12 Benchmark, OntoImage 2006; labels: Escalante
et al., The Segmented and Annotated IAPR TC-12 Benchmark, CVIU 114, 2010.
Reads: photos        the folder "images" of iaprtc12.tgz: <folder>/<number>.jpg;
       descriptions  its folder "annotations_complete_eng": <folder>/<number>.eng, tags around lines of text;
       regions       the folder "saiapr_tc-12" of the segmented benchmark: <folder>/labels.txt, a line
                     "<photo> <region> <number of the label>".

Text: title and description.  Labels are named by their numbers.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cmh.data import archives
from cmh.data.records import Record


def read(sources: Mapping[str, Path], options: Mapping[str, Any]) -> Iterator[Record]:
    """Yield one record per photo with a description and a label, by number.

    Raises:
        ValueError: naming the file that is missing, or not as published.  A photo that is missing is an error
            of its record only, when its bytes are asked for.
    """
    photos, descriptions, regions = (sources[name] for name in ("photos", "descriptions", "regions"))
    images = archives.matching(archives.listing(photos), r"(\d+)\.jpg", str(photos))
    said = archives.matching(archives.listing(descriptions), r"(\d+)\.eng", str(descriptions))
    labels = _labels(regions)
    for number in sorted(labels.keys() & said.keys(), key=int):
        yield Record(
            id=number,
            source="iaprtc12",
            group=number,
            text=_text(said[number]().decode("cp1252", errors="replace")),  # some bytes are none of it
            media_type="image/jpeg",
            image=images.get(number) or archives.missing(f"{number}.jpg"),
            traits={"labels": tuple(sorted(labels[number]))},
        )


def _text(description: str) -> str:
    """Return what stands between the tags that count; the files look like XML and are none."""
    parts = (_between(description, f"<{tag}>", f"</{tag}>") for tag in ("TITLE", "DESCRIPTION"))
    return " ".join(part.strip() for part in parts if part is not None)


def _between(text: str, start: str, end: str) -> str | None:
    _, found, rest = text.partition(start)
    part, closed, _ = rest.partition(end)
    return part if found and closed else None


def _labels(regions: Path) -> dict[str, set[str]]:
    """Return the number of a photo → its labels."""
    found: dict[str, set[str]] = defaultdict(set)
    lists = archives.matching(archives.listing(regions), r"(\d+/labels)\.txt", str(regions))
    for name, read in lists.items():
        for line, row in enumerate(archives.text(read, name).splitlines(), start=1):
            fields = row.split()
            if len(fields) != 3 or not all(field.isdecimal() for field in fields):
                raise ValueError(
                    f"{regions}: {name}.txt, line {line}: expected the numbers of a photo, a region and a "
                    f"label, got {row[:60]!r}"
                )
            found[fields[0]].add(fields[2])
    return found
