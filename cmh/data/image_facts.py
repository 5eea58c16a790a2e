"""What the header of an image file says of it that a person would want to know before it is decoded."""

import io
from dataclasses import dataclass
from pathlib import PurePath

from PIL import ExifTags, Image

from cmh.data import images

_SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"), "PNG": (".png",), "WEBP": (".webp",), "GIF": (".gif",),
    "BMP": (".bmp",), "TIFF": (".tif", ".tiff"), "AVIF": (".avif",), "HEIF": (".heic", ".heif"),
    "MPO": (".jpg", ".jpeg"),
}  # fmt: skip


@dataclass(frozen=True)
class ImageFacts:
    """The header of one image."""

    format: str
    mode: str  # as Pillow names it: RGB, CMYK, I;16, ...
    width: int
    height: int
    animated: bool
    turned: bool  # EXIF says that it is shown turned or mirrored

    def oddities(self, name: str) -> list[str]:
        """Return what is unusual about the image, and what becomes of it."""
        found = []
        suffix = PurePath(name).suffix.lower()
        if suffix and suffix not in _SUFFIXES.get(self.format, (suffix,)):
            found.append(f"named {suffix}, but is {self.format}: read by content")
        if self.mode == "CMYK":
            found.append("CMYK: converted to RGB without a colour profile")
        if self.mode.startswith("I"):
            found.append("16 bits of grey: scaled to 8")
        if self.mode == "F":
            found.append("grey in fractions: read as 0 to 255, and cut off beyond")
        if self.mode in ("LA", "PA", "RGBA", "RGBa", "La"):
            found.append("transparent: put on white")
        if self.animated:
            found.append("animated: only its first picture is read")
        if self.turned:
            found.append("turned by EXIF: read as it is shown")
        if max(self.width, self.height) > 3 * min(self.width, self.height):
            found.append("three times as long as wide, or more: the central square is read")
        return found


def read(data: bytes) -> ImageFacts | None:
    """Return the facts of an encoded image; None where even the header cannot be read, or of a drawing."""
    try:
        with Image.open(io.BytesIO(data), formats=images.formats()) as image:
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) not in (0, 1)
            animated = bool(getattr(image, "is_animated", False))
            return ImageFacts(str(image.format), image.mode, image.width, image.height, animated, turned)
    except (*images.UNREADABLE, OSError, ValueError):
        return None
