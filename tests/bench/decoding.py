"""Measure decoding of JPEG photos to small squares, by library: `python -m tests.bench.decoding`.

    pip install --no-deps --target /tmp/decoders opencv-python-headless simplejpeg
    PYTHONPATH=.:/tmp/decoders python -m tests.bench.decoding

2,000 photos of Flickr8k at 128 pixels from `CMH_SHARED_DATA`, and the same enlarged to 500 pixels, go to the
central square of 128 pixels.  Time is CPU time of one thread.  Pixels are compared with a whole decode and
Pillow's bicubic filter.  Libraries that are not there are left out.
"""

import argparse
import importlib.util
import io
import os
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from cmh.data.images import decode_image
from cmh.data.near_duplicates import perceptual_hash

_SHARED = Path(os.environ.get("CMH_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
SIZE, COMPARED = 128, 200
Decode = Callable[[bytes], NDArray[np.uint8]]


def photos(count: int) -> list[bytes]:
    """Return the first photos of Flickr8k, encoded."""
    with tarfile.open(_SHARED / "flickr8k" / "flickr8k_128px_q88.tar") as tar:
        members = [member for member in tar if member.name.endswith(".jpg")][:count]
        streams = [tar.extractfile(member) for member in members]
        return [stream.read() for stream in streams if stream is not None]


def enlarged(data: bytes, side: int) -> bytes:
    """Return the photo with its longer side at `side` pixels, as cameras and archives have it."""
    image = Image.open(io.BytesIO(data))
    scale = side / max(image.size)
    out = io.BytesIO()
    size = (round(image.width * scale), round(image.height * scale))
    image.resize(size, Image.Resampling.BICUBIC).save(out, "JPEG", quality=88)
    return out.getvalue()


def whole(data: bytes) -> NDArray[np.uint8]:
    """Decode every pixel, then Pillow's bicubic filter, which averages: what others are compared with."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    return np.asarray(ImageOps.fit(image, (SIZE, SIZE), Image.Resampling.BICUBIC))


def draft(data: bytes) -> NDArray[np.uint8]:
    """Let libjpeg decode at the nearest eighth that is twice as large or more, then the same filter."""
    image = Image.open(io.BytesIO(data))
    image.draft("RGB", (2 * SIZE, 2 * SIZE))
    return np.asarray(ImageOps.fit(image, (SIZE, SIZE), Image.Resampling.BICUBIC))


def stage(data: bytes) -> NDArray[np.uint8]:
    """Decode as the stage `images` does, with its checks and the perceptual hash."""
    image = decode_image(data, "image/jpeg", SIZE)
    perceptual_hash(image)
    return image


def _opencv() -> Decode:
    import cv2

    cv2.setNumThreads(1)

    def decode(data: bytes) -> NDArray[np.uint8]:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        square = cv2.resize(_central(image), (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.cvtColor(square, cv2.COLOR_BGR2RGB))

    return decode


def _simplejpeg() -> Decode:
    import simplejpeg

    def decode(data: bytes) -> NDArray[np.uint8]:
        image = simplejpeg.decode_jpeg(data, min_height=2 * SIZE, min_width=2 * SIZE)
        return np.asarray(Image.fromarray(_central(image)).resize((SIZE, SIZE), Image.Resampling.BICUBIC))

    return decode


def _torchvision() -> Decode:
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg
    from torchvision.transforms.v2.functional import resize

    torch.set_num_threads(1)

    def decode(data: bytes) -> NDArray[np.uint8]:
        image = decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8), ImageReadMode.RGB)
        height, width = image.shape[1:]
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        square = image[:, top : top + side, left : left + side]
        return resize(square, [SIZE, SIZE], antialias=True).permute(1, 2, 0).numpy()

    return decode


def _central(image_HWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = image_HWC.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return np.ascontiguousarray(image_HWC[top : top + side, left : left + side])


def decoders() -> dict[str, Decode]:
    """Return what is measured by name."""
    found: dict[str, Decode] = {
        "Pillow, every pixel": whole, "Pillow, reduced (`draft`)": draft, "the stage `images`": stage,
    }  # fmt: skip
    others = {"cv2": ("OpenCV", _opencv), "simplejpeg": ("simplejpeg, reduced", _simplejpeg)}
    others["torchvision"] = ("torchvision.io", _torchvision)
    for module, (name, make) in others.items():
        if importlib.util.find_spec(module) is not None:
            found[name] = make()
    return found


def main(count: int, sides: list[int]) -> None:
    """Print photos a second of CPU time, and how far pixels are from those of a whole decode."""
    small = photos(count)
    for side in sides:
        encoded = [enlarged(data, side) if side > SIZE else data for data in small]
        size = sum(map(len, encoded)) / len(encoded)
        print(f"\n{len(encoded)} photos of {side} pixels, {size:.0f} bytes each\n")
        print("| | photos/s a core | mean difference | 99 % below |\n| --- | --- | --- | --- |")
        exact = [whole(data).astype(int) for data in encoded[:COMPARED]]
        for name, decode in decoders().items():
            away = np.abs([decode(data) - one for data, one in zip(encoded, exact, strict=False)])
            began = time.process_time()
            for data in encoded:
                decode(data)
            rate = len(encoded) / (time.process_time() - began)
            print(f"| {name} | {rate:.0f} | {away.mean():.2f} | {np.percentile(away, 99):.0f} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=2000)
    parser.add_argument("--sides", type=int, nargs="+", default=[128, 500])
    given = parser.parse_args()
    main(given.photos, given.sides)
