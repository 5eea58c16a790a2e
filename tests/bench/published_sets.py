"""Make published sets at their real counts, of small generated photos, and run the stages images and dataset.

    python -m tests.bench.published_sets iaprtc12 mirflickr25k coco nuswide

Files lie as their publishers have them (`cmh catalog show NAME`): zips of photos, folders, lists.  Photos are
of 24 pixels, stored at 32; counts of photos, tags, captions, regions and labels are the published ones.  A
set is made once, below --folder.  Each stage runs in a process of its own, as in `tests.bench.growth`.
"""

import argparse
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import yaml
from PIL import Image

from data_catalog import catalog
from tests.bench import growth
from tests.cmh.data.readers import published

SIDE, STORED = 24, 32
RNG = np.random.default_rng(0)


def photo(number: int) -> bytes:
    """Return a JPEG of its own: one of 997 pictures, with the number behind its end."""
    return _PICTURES[number % len(_PICTURES)] + f"{number:07}".encode()


def _picture() -> bytes:
    out = io.BytesIO()
    small = Image.fromarray(RNG.integers(0, 256, (6, 6, 3), np.uint8))
    small.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(out, "JPEG", quality=85)
    return out.getvalue()


_PICTURES = [_picture() for _ in range(997)]


def _words(count: int, known: int) -> str:
    return " ".join(f"word{number}" for number in RNG.zipf(1.3, count) % known)


def mirflickr25k(folder: Path, entry: catalog.Entry) -> None:
    """25,000 photos in a zip, 20,015 of them with a label and a tag of 20 photos."""
    published.mirflickr_at_size(folder / "mirflickr25k", entry.options["labels"], photo)


def iaprtc12(folder: Path, entry: catalog.Entry) -> None:
    """20,000 photos in folders, one without a description, with regions of 255 labels."""
    place = folder / "iaprtc12"
    for number in range(20_000):
        below = f"{number // 1000:02}"
        files = {f"images/{below}/{number}.jpg": photo(number)}
        if number:
            text = f"<TITLE>{_words(3, 3000)}</TITLE>\n<DESCRIPTION>{_words(20, 3000)}</DESCRIPTION>"
            files[f"annotations_complete_eng/{below}/{number}.eng"] = text.encode()
        for name, data in files.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(data)
    for below in range(20):
        lines = [
            f"{number}\t{region}\t{(number * 7 + region * 31) % 255 + 1}\n"
            for number in range(below * 1000, below * 1000 + 1000)
            for region in range(5)
        ]
        (place / "saiapr_tc-12" / f"{below:02}").mkdir(parents=True)
        (place / "saiapr_tc-12" / f"{below:02}" / "labels.txt").write_text("".join(lines))


def coco(folder: Path, entry: catalog.Entry) -> None:
    """82,783 and 40,504 photos in two zips, five captions each, 1,069 without an object of 80 categories."""
    place, empty = folder / "coco", 1069
    place.mkdir(parents=True)
    categories = [{"id": number, "name": f"category{number}"} for number in range(1, 81)]
    with zipfile.ZipFile(place / "annotations_trainval2014.zip", "w", zipfile.ZIP_DEFLATED) as annotations:
        for part, numbers in (("train2014", range(82_783)), ("val2014", range(82_783, 123_287))):
            images = [{"id": n, "file_name": f"COCO_{part}_{n:012}.jpg"} for n in numbers]
            objects = [
                {"image_id": n, "category_id": (n * 13 + k * 29) % 80 + 1}
                for n in numbers if n >= empty
                for k in range(3)
            ]  # fmt: skip
            said = [
                {"id": 5 * n + k, "image_id": n, "caption": _words(10, 9000)}
                for n in numbers
                for k in range(5)
            ]
            instances = {"images": images, "annotations": objects, "categories": categories}
            captions = {"images": images, "annotations": said}
            annotations.writestr(f"annotations/instances_{part}.json", json.dumps(instances))
            annotations.writestr(f"annotations/captions_{part}.json", json.dumps(captions))
            with zipfile.ZipFile(place / f"{part}.zip", "w") as archive:
                for image in images:
                    archive.writestr(f"{part}/{image['file_name']}", photo(int(image["id"])))


def nuswide(folder: Path, entry: catalog.Entry) -> None:
    """269,648 photos in folders; 195,834 show one of 21 concepts, 190,421 of these have one of 1,000 tags."""
    total, labelled, tagged = 269_648, 195_834, 190_421
    lists, photos = folder / "nuswide" / "lists", folder / "nuswide" / "Flickr"
    for name in ("ImageList", "NUS_WID_Tags", "Groundtruth/AllLabels"):
        (lists / name).mkdir(parents=True)
    names = [f"query{n % 700:03}/{n:06}_{100_000 + n}.jpg" for n in range(total)]
    for number in range(700):
        (photos / f"query{number:03}").mkdir(parents=True)
    for number, name in enumerate(names[:labelled]):
        (photos / name).write_bytes(photo(number))
    (lists / "ImageList/Imagelist.txt").write_text(
        "".join(name.replace("/", "\\") + "\r\n" for name in names)
    )
    (lists / "NUS_WID_Tags/TagList1k.txt").write_text("".join(f"word{n}\n" for n in range(1000)))
    tags = (_words(6, 1000) if n < tagged or n >= labelled else "rare" for n in range(total))
    lines = (f"{100_000 + number}  {said} \n" for number, said in enumerate(tags))
    (lists / "NUS_WID_Tags/All_Tags.txt").write_text("".join(lines))
    concepts = entry.options["concepts"]
    for column, concept in enumerate(concepts):
        shown = ("1\n" if n < labelled and n % len(concepts) == column else "0\n" for n in range(total))
        (lists / f"Groundtruth/AllLabels/Labels_{concept}.txt").write_text("".join(shown))


MAKERS: dict[str, Callable[[Path, catalog.Entry], None]] = {
    "iaprtc12": iaprtc12, "mirflickr25k": mirflickr25k, "coco": coco, "nuswide": nuswide,
}  # fmt: skip


def main(place: Path, names: list[str], threads: int) -> None:
    """Print counts, seconds, memory and disk of each set."""
    print("| set | items, as published | stage | seconds | driver, MiB | a worker, MiB | disk, MiB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in names:
        folder, entry = place / name, catalog.load(name)
        if not (folder / growth.ENTRY).exists():
            MAKERS[name](folder / "home" / "downloads", entry)
            small = entry.model_copy(update={"images": catalog.Images(size=STORED)})
            (folder / growth.ENTRY).write_text(yaml.safe_dump(small.model_dump(mode="json")))
        for stage in ("images", "dataset"):
            one = growth.measure(stage, folder, threads)
            (artifact,) = (path.parent for path in (folder / "home" / "store" / stage).rglob("manifest.json"))
            disk = sum(path.stat().st_size for path in artifact.rglob("*") if path.is_file())
            tables = [pq.read_metadata(path) for path in artifact.rglob("items.parquet")]
            counted = "".join(f"{table.num_rows:,}, {entry.counts['items']:,}" for table in tables)
            print(
                f"| {name} | {counted} | {stage} | {one['seconds']:.0f} | {one['driver'] / 2**20:.0f} "
                f"| {one['worker'] / 2**20:.0f} | {disk / 2**20:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=[*MAKERS])
    parser.add_argument("--folder", type=Path, default=Path("/tmp/cmh-published"))
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    main(given.folder, given.names, given.threads)
