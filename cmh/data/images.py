"""Decode images as their publishers have them into square uint8 arrays.

Image files are foreign: their formats, bytes and pixels are limited; drawings, see `cmh.data.svg`.

Shapes: S = side of the image in pixels.
"""

import io
import mimetypes
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from cmh.data import svg

REVISION = 2  # raise it when an image is decoded otherwise: it is part of every image artifact's identity
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
MAX_BYTES = 64 << 20
MAX_PIXELS = 100_000_000  # a 100-megapixel photo; decoded it takes 300 MB

_UNREADABLE = (  # what Pillow lets through of hostile or damaged files, besides OSError and ValueError
    Image.DecompressionBombError, SyntaxError, struct.error, TypeError, AttributeError, KeyError, IndexError,
    ZeroDivisionError, OverflowError, RecursionError,
)  # fmt: skip


def decode_image(data: bytes, media_type: str, size: int) -> NDArray[np.uint8]:
    """Return (S, S, 3) uint8 RGB on white; a photo is cut to its central square, a drawing is fitted in.

    Raises:
        ValueError or OSError: saying what is wrong with the image.
    """
    drawing = media_type == "image/svg+xml"
    if not drawing and len(data) > MAX_BYTES:
        raise ValueError(f"image file of {len(data)} bytes; at most {MAX_BYTES} are read")
    try:
        if drawing:
            with Image.open(io.BytesIO(svg.draw(data, size)), formats=("PNG",)) as image:
                # Drawn at the width asked for, then fitted: a tall or a wide drawing keeps its shape.
                return np.asarray(ImageOps.pad(_on_white(image), (size, size), color="white"))
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return _photo(image, size)
    except UnidentifiedImageError:  # its own message has an address in memory, and is kept with the images
        raise ValueError(
            f"not an image of a kind that is read, which are {', '.join(FORMATS)}, SVG"
        ) from None
    except _UNREADABLE as error:
        raise ValueError(f"image cannot be decoded: {str(error) or type(error).__name__}") from error


def _photo(image: Image.Image, size: int) -> NDArray[np.uint8]:
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"image of {image.width} × {image.height} pixels; at most {MAX_PIXELS} are decoded")
    image.draft("RGB", (2 * size, 2 * size))  # JPEG: decode at a fraction of the size where that suffices
    upright = ImageOps.exif_transpose(image)
    return np.asarray(ImageOps.fit(_on_white(upright), (size, size), Image.Resampling.BICUBIC))


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits of grey, which Pillow would cut off at 255
        image = Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def resize(image_HWC: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return (S, S, 3) uint8: the image's central square at another size; itself if it has that size."""
    if image_HWC.shape == (size, size, 3):
        return image_HWC
    return np.asarray(ImageOps.fit(Image.fromarray(image_HWC), (size, size), Image.Resampling.BICUBIC))


def read_image(path: Path, size: int) -> NDArray[np.uint8]:
    """Decode an image file as the pipeline would have stored it: uint8 (S, S, 3).

    Raises:
        ValueError, OSError: not an image, or none of a kind that is read.
    """
    media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return decode_image(path.read_bytes(), media_type, size)
