"""Sets as code of Deep Cross-Modal Hashing and its successors passes them on: a .mat file a part.

Source: Jiang and Li, Deep Cross-Modal Hashing, CVPR 2017, and the toolbox torchcmh; of the other form
the scripts make_mirflickr25k.py, make_nuswide.py and make_coco.py of DCHMT (Tu et al., ACM MM 2022).
Reads: matrices  a .mat file, or a folder with some, that hold together
                   FAll   cell array of the photos' names, or IAll, photos as (N, 3, H, W) or (H, W, 3, N);
                   YAll   (N, tags) 0 and 1;  LAll  (N, labels) 0 and 1;
                 or  index, caption, label (or category): names, captions, and 0 and 1;
       photos    the folder, zip or tar of the photos, where FAll or index names them.

Tags without names become the words tag1, tag2, ...; labels are named by their numbers.
"""

import io
from collections.abc import Iterator, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cmh.data import archives, matlab
from cmh.data.archives import Read
from cmh.data.records import Record

NAMES, TEXTS, LABELS = ("FAll", "index"), ("YAll", "caption"), ("LAll", "label", "category")
PIXELS = ("IAll", "images")
AT_ONCE = 512  # photos that are taken out of an array, 77 MB at 224 pixels


def read(sources: Mapping[str, Path], options: Mapping[str, Any]) -> Iterator[Record]:
    """Yield one record per row of the matrices, in their order.

    Raises:
        ValueError: naming the file: a variable is missing, or the parts have different numbers of rows.
    """
    place = sources["matrices"]
    held = variables(place)
    label_NL = _numbers(held, LABELS, place)
    said = _texts(held, place)
    names, photos = _photos(held, sources, len(said))
    counts = {"texts": len(said), "labels": len(label_NL), "photos": len(photos)}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{count} {what}" for what, count in counts.items())
        raise ValueError(f"{place}: the parts have different numbers of rows: {told}")
    for name, text, label_L, photo in zip(names, said, label_NL, photos, strict=True):
        yield Record(
            id=name,
            source="dcmh",
            group=name,
            text=text,
            media_type="image",
            image=photo,
            traits={"labels": tuple(str(column) for column in np.flatnonzero(label_L) + 1)},
        )


def variables(place: Path) -> dict[str, Path]:
    """Return the name of each variable → the file that holds it.

    Raises:
        ValueError: a file cannot be read, or two hold the same variable.
    """
    files = sorted(place.glob("*.mat")) if place.is_dir() else [place]
    found: dict[str, Path] = {}
    for file in files:
        for name in matlab.variables(file):
            if name in found:
                raise ValueError(f"{found[name].name} and {file.name} both hold {name!r}; keep one of them")
            found[name] = file
    return found


def is_one(held: Mapping[str, Path]) -> bool:
    """Return whether the variables are those of such a set."""
    return all(any(name in held for name in names) for names in (TEXTS, LABELS, (*NAMES, *PIXELS)))


def names_photos(held: Mapping[str, Path]) -> bool:
    """Return whether the set names its photos, so that their folder is needed."""
    return any(name in held for name in NAMES)


def _one(held: Mapping[str, Path], names: tuple[str, ...], place: Path) -> tuple[str, Path]:
    for name in names:
        if name in held:
            return name, held[name]
    raise ValueError(f"{place} holds none of {', '.join(names)}; it holds {', '.join(held) or 'nothing'}")


def _numbers(held: Mapping[str, Path], names: tuple[str, ...], place: Path) -> NDArray[Any]:
    name, file = _one(held, names, place)
    array = matlab.read(file, [name])[name]
    if not ((array == 0) | (array == 1)).all():
        raise ValueError(f"{file}: {name} holds other numbers than 0 and 1")
    return array


def _texts(held: Mapping[str, Path], place: Path) -> list[str]:
    name, file = _one(held, TEXTS, place)
    if name == "caption":
        return matlab.read_names(file, name)
    tag_NT = _numbers(held, TEXTS, place)
    return [" ".join(f"tag{column}" for column in np.flatnonzero(row) + 1) for row in tag_NT]


def _photos(
    held: Mapping[str, Path], sources: Mapping[str, Path], count: int
) -> tuple[list[str], list[Read]]:
    """Return the name of each photo and what reads it."""
    place = sources["matrices"]
    if "photos" in sources:
        name, file = _one(held, NAMES, place)
        names = [Path(one.replace("\\", "/")).name for one in matlab.read_names(file, name)]
        there = {
            one.rpartition("/")[2]: member for one, member in archives.listing(sources["photos"]).items()
        }
        return names, [there.get(one) or archives.missing(one) for one in names]
    name, file = _one(held, PIXELS, place)
    shape = matlab.variables(file)[name]
    if len(shape) != 4 or (count, 3) not in (shape[:2], shape[:1:-1]):
        raise ValueError(
            f"{file}: {name} has shape {shape}; expected (N, 3, H, W) or (H, W, 3, N) with N = {count}"
        )
    stack = _Stack(file, file.stat().st_mtime_ns, name, 0 if shape[:2] == (count, 3) else 3, count)
    return [f"{row + 1}.png" for row in range(count)], [partial(_png, stack, row) for row in range(count)]


class _Stack(NamedTuple):
    """Photos in one array of a file."""

    file: Path
    changed: int  # ns since 1970: what is kept of a file does not outlive it
    name: str
    axis: int  # along which the photos follow each other
    length: int


@lru_cache(maxsize=1)
def _photos_from(stack: _Stack, start: int) -> NDArray[np.uint8]:
    """Return AT_ONCE photos, (n, H, W, 3); the last ones are kept, as photos are asked for in order."""
    stop = min(start + AT_ONCE, stack.length)
    pixels = matlab.read_rows(stack.file, stack.name, stack.axis, start, stop)
    if pixels.dtype != np.uint8:
        raise ValueError(f"{stack.file}: {stack.name} is {pixels.dtype}; expected uint8")
    return pixels.transpose((0, 2, 3, 1) if stack.axis == 0 else (3, 0, 1, 2))


def _png(stack: _Stack, row: int) -> bytes:
    image_HWC = _photos_from(stack, row - row % AT_ONCE)[row % AT_ONCE]
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image_HWC)).save(out, "PNG", compress_level=1)
    return out.getvalue()
