"""Decode images as their publishers have them into square uint8 arrays.

Image files are foreign: their formats, bytes and pixels are limited; drawings, see `cmh.data.svg`.

Shapes: S = side of the image in pixels.
"""

import io
import mimetypes
import os
import stat
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from cmh.data import svg

REVISION = 4  # raise it when an image is decoded otherwise: it is part of every image artifact's identity
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
MAX_BYTES = 64 << 20
MAX_PIXELS = 100_000_000  # a 100-megapixel photo; decoded it takes 300 MB
MAX_MEMORY = 1 << 30  # bytes that decoding one image may take

# Bytes of memory per pixel, at most, with the copies that are made on the way; measured by tests.
_PLAIN, _ALPHA = 10, 36
_SIGNATURES = (  # first bytes of the formats
    b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*",
)  # fmt: skip

UNREADABLE = (  # what Pillow lets through of hostile or damaged files, besides OSError and ValueError
    Image.DecompressionBombError, SyntaxError, struct.error, TypeError, AttributeError, KeyError, IndexError,
    ZeroDivisionError, OverflowError, RuntimeError, EOFError, MemoryError,
)  # fmt: skip


# Sizes are bounded below, by what decoding takes; Pillow would print a line of its source.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def decode_image(data: bytes, media_type: str, size: int) -> NDArray[np.uint8]:
    """Return (S, S, 3) uint8 RGB on white; a photo is cut to its central square, a drawing is fitted in.

    Raises:
        ValueError or OSError: saying what is wrong with the image.
    """
    drawing = _checked_drawing(data, media_type)
    with _foreign():
        if drawing:
            with Image.open(io.BytesIO(svg.draw(data, size)), formats=("PNG",)) as image:
                # Drawn at the width asked for, then fitted: a tall or a wide drawing keeps its shape.
                return np.asarray(ImageOps.pad(_on_white(image), (size, size), color="white"))
        with Image.open(io.BytesIO(data), formats=formats()) as image:
            return _photo(image, size)


def decode_whole(data: bytes, media_type: str, longest: int) -> NDArray[np.uint8]:
    """Return (H, W, 3) uint8 RGB on white: the whole image, its longer side of at most `longest` pixels.

    Raises:
        ValueError or OSError: saying what is wrong with the image.
    """
    if _checked_drawing(data, media_type):
        return decode_image(data, media_type, longest)
    with _foreign(), Image.open(io.BytesIO(data), formats=formats()) as image:
        _check_size(image)
        image.draft("RGB", (longest, longest))
        ImageOps.exif_transpose(image, in_place=True)
        whole = _on_white(image)
        whole.thumbnail((longest, longest), Image.Resampling.BICUBIC)
        return np.asarray(whole)


def _checked_drawing(data: bytes, media_type: str) -> bool:
    """Return whether this is a drawing; refuse the bytes of a photo if they are too many."""
    if media_type == "image/svg+xml":
        return True
    if len(data) > MAX_BYTES:
        raise ValueError(f"image file of {len(data)} bytes; at most {MAX_BYTES} are read")
    return False


@contextmanager
def _foreign() -> Iterator[None]:
    """Turn whatever Pillow raises of a hostile or damaged image into a ValueError that says what is wrong."""
    try:
        yield
    except UnidentifiedImageError:  # its own message has an address in memory, and is kept with the images
        raise ValueError(
            f"not an image of a kind that is read, which are {', '.join(formats())}, SVG"
        ) from None
    except UNREADABLE as error:
        raise ValueError(f"image cannot be decoded: {str(error) or type(error).__name__}") from error


def _photo(image: Image.Image, size: int) -> NDArray[np.uint8]:
    _check_size(image)
    image.draft("RGB", (2 * size, 2 * size))  # JPEG: decode at a fraction of the size where that suffices
    ImageOps.exif_transpose(image, in_place=True)
    return np.asarray(ImageOps.fit(_on_white(image), (size, size), Image.Resampling.BICUBIC))


def _check_size(image: Image.Image) -> None:
    """Refuse an image by its header if decoding it would take too much memory."""
    pixels = image.width * image.height
    each = _PLAIN if image.mode in ("1", "L", "RGB", "YCbCr") and "transparency" not in image.info else _ALPHA
    most = min(MAX_PIXELS, MAX_MEMORY // each)
    if pixels > most:
        raise ValueError(
            f"image of {image.width} × {image.height} pixels in mode {image.mode}; at most {most} are decoded"
        )


def has_signature(head: bytes) -> bool:
    """Return whether a file begins as an image of a kind that is read; head: its first 32 bytes or more."""
    if head.startswith(_SIGNATURES) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
        return True
    brands = (b"avif", b"avis", b"heic", b"heix", b"mif1") if reads_heic() else (b"avif", b"avis")
    return head[4:8] == b"ftyp" and head[8:12] in brands


@cache
def reads_heic() -> bool:
    """Return whether photos in HEIC can be read, which the extra `heic` adds."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener(thumbnails=False)
    return True


def formats() -> tuple[str, ...]:
    """Return the kinds of images that are read, as Pillow names them."""
    return (*FORMATS, "HEIF") if reads_heic() else FORMATS


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode == "F" or (image.mode == "I" and image.format != "PNG"):
        raise ValueError(
            f"image of 32 bits a pixel (mode {image.mode}), whose black and white are unknown; save it with "
            "8 or 16 bits"
        )
    if image.mode.startswith("I"):  # 16 bits of grey, which Pillow would cut off at 255
        image = Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def resize(image_HWC: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return (S, S, 3) uint8: the image's central square at another size; itself if it has that size."""
    if image_HWC.shape == (size, size, 3):
        return image_HWC
    return np.asarray(ImageOps.fit(Image.fromarray(image_HWC), (size, size), Image.Resampling.BICUBIC))


def resize_as_stored(image_HWC: NDArray[np.uint8], stored_size: int, size: int) -> NDArray[np.uint8]:
    """Return the image as training saw it: at the size of the dataset, then at that of the network.

    Raises:
        ValueError: not uint8 (H, W, 3).
    """
    if image_HWC.ndim != 3 or image_HWC.shape[2] != 3 or image_HWC.dtype != np.uint8:
        raise ValueError(
            f"an image is uint8 (H, W, 3), got {image_HWC.dtype} {image_HWC.shape}; convert it to RGB"
        )
    return resize(resize(image_HWC, stored_size), size)


def read_bytes(path: Path) -> bytes:
    """Return the contents of an image file.

    Raises:
        ValueError: if it is larger than `MAX_BYTES`, or no regular file, from which reading might
            never end.
        OSError: if it cannot be read.
    """
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{path.name} is no regular file")
        if status.st_size > MAX_BYTES:
            raise ValueError(f"image file of {status.st_size} bytes; at most {MAX_BYTES} are read")
        return file.read(MAX_BYTES + 1)


def read_image(path: Path, size: int) -> NDArray[np.uint8]:
    """Decode an image file as the pipeline would have stored it: uint8 (S, S, 3).

    Raises:
        ValueError, OSError: not an image, or none of a kind that is read.
    """
    return decode_named(path.name, read_bytes(path), size)


def decode_named(name: str, data: bytes, size: int) -> NDArray[np.uint8]:
    """Decode the contents of an image file of that name, whose suffix tells drawings: uint8 (S, S, 3).

    Raises:
        ValueError, OSError: not an image, or none of a kind that is read.
    """
    media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return decode_image(data, media_type, size)
