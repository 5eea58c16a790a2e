"""Small data sets in the folders and file names of their publishers; every photo is the bytes of its name."""

import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path


def write(folder: Path, files: dict[str, str]) -> Path:
    """Write text files below `folder`, which is returned."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text.encode())
    return folder


def mirflickr(folder: Path) -> dict[str, Path]:
    """Five photos; "sea" is a tag of three, "pier" of one; the last has no label, and the fourth no tag."""
    tags = ["sea\npier\n", "Sea\nsand\nsea\n", "sand\nsea\n", "pier2\n", "sand\n"]
    photos = {f"mirflickr/im{n}.jpg": f"photo {n}" for n in range(1, 6)}
    photos |= {f"mirflickr/meta/tags/tags{n}.txt": text for n, text in enumerate(tags, start=1)}
    photos |= {f"mirflickr/meta/tags_raw/tags{n}.txt": "other" for n in range(1, 6)}
    labels = {"sea.txt": "1\n2\n3\n", "sea_r1.txt": "5\n", "plant_life.txt": "2\n4\n", "README.txt": "Labels"}
    return {
        "photos": write(folder / "photos", photos),
        "annotations": write(folder / "annotations", labels),
    }


def nuswide(folder: Path) -> dict[str, Path]:
    """Five photos, the last of which is the first in another folder; the fourth has no tag that counts."""
    names = [
        "bear\\0001_11.jpg",
        "bear\\0002_12.jpg",
        "sky\\0001_13.jpg",
        "sky\\0002_14.jpg",
        "sky\\0003_11.jpg",
    ]
    tags = ["11  bear zoo odd", "12  zoo", "13  sky", "14  odd", "11  bear"]
    lists = {
        "ImageList/Imagelist.txt": "".join(f"{name}\r\n" for name in names),
        "ImageList/TrainImagelist.txt": "other\n",
        "NUS_WID_Tags/All_Tags.txt": "".join(f"{line} \n" for line in tags),
        "NUS_WID_Tags/TagList1k.txt": "bear\nzoo\nsky\n",
        "Groundtruth/AllLabels/Labels_animal.txt": "1\n0\n0\n1\n1\n",
        "Groundtruth/AllLabels/Labels_sky.txt": "1\n0\n1\n1\n0\n",
    }
    photos = {f"Flickr/{name}".replace("\\", "/"): f"photo {name}" for name in names[:3]}
    return {"lists": write(folder / "lists", lists), "photos": write(folder / "photos", photos)}


def coco(folder: Path) -> dict[str, Path]:
    """Two photos of the training part and one of the other; the second shows no object."""
    categories = [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}]
    parts = {
        "train2014": (
            [9, 25],
            [(9, 18), (9, 1), (9, 18)],
            [(2, 9, "A dog. "), (1, 9, "A man."), (3, 25, "Sky.")],
        ),
        "val2014": ([42], [(42, 1)], [(4, 42, "A woman.")]),
    }
    sources, annotations = {}, {}
    for part, (photos, objects, captions) in parts.items():
        images = [{"id": n, "file_name": f"COCO_{part}_{n:012}.jpg", "license": 1} for n in reversed(photos)]
        outlines = [{"image_id": n, "category_id": c, "segmentation": [[0.5, 1.5]]} for n, c in objects]
        said = [{"id": i, "image_id": n, "caption": caption} for i, n, caption in captions]
        instances = {"images": images, "annotations": outlines, "categories": categories}
        annotations[f"annotations/instances_{part}.json"] = json.dumps(instances)
        annotations[f"annotations/captions_{part}.json"] = json.dumps({"images": images, "annotations": said})
        files = {f"{part}/{image['file_name']}": f"photo {image['id']}" for image in images}
        sources[part] = write(folder / part, files)
    return sources | {"annotations": write(folder / "annotations", annotations)}


def iaprtc12(folder: Path) -> dict[str, Path]:
    """Three photos, of which the second has no description and the third no region."""
    described = (
        "<DOC>\n<DOCNO>annotations/00/1.eng</DOCNO>\n<TITLE>The Plaza</TITLE>\n"
        "<DESCRIPTION>a square;\na tree; </DESCRIPTION>\n<NOTES>not this</NOTES>\n</DOC>\n"
    )
    return {
        "photos": write(folder / "photos", {f"0{n // 3}/{n}.jpg": f"photo {n}" for n in (1, 2, 3)}),
        "descriptions": write(folder / "descriptions", {"00/1.eng": described, "01/3.eng": described}),
        "regions": write(
            folder / "regions",
            {"00/labels.txt": "1\t1\t120\n1\t2\t7\n1\t3\t120\n2\t1\t7\n", "00/features.txt": "x"},
        ),
    }


def _named(number: int) -> bytes:
    return f"photo {number}".encode()


def mirflickr_at_size(folder: Path, labels: Sequence[str], photo: Callable[[int], bytes] = _named) -> None:
    """25,000 photos, zipped as published: 24,581 have a label, and 20,015 of these a tag of 20 photos.

    labels: potential and relevant ones; the relevant ones are of every second photo of the potential one.
    """
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "mirflickr25k.zip", "w") as archive:
        for number in range(1, 25_001):
            archive.writestr(f"mirflickr/im{number}.jpg", photo(number))
            tag = f"tag{number % 1000}" if number <= 20_015 else f"rare{number}" if number % 2 else ""
            archive.writestr(f"mirflickr/meta/tags/tags{number}.txt", f"{tag}\n")
    potential = [label for label in labels if not label.endswith("_r1")]
    shown: dict[str, list[int]] = {label: [] for label in labels}
    for number in range(1, 24_582):
        label = potential[number % len(potential)]
        shown[label].append(number)
        if f"{label}_r1" in shown and number // len(potential) % 2:
            shown[f"{label}_r1"].append(number)
    with zipfile.ZipFile(folder / "mirflickr25k_annotations_v080.zip", "w") as archive:
        for label, numbers in shown.items():
            archive.writestr(f"{label}.txt", "".join(f"{number}\n" for number in numbers))
