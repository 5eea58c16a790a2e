"""A query and its nearest images on one picture."""

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

_CELL, _MARGIN, _LINE = 144, 12, 16


def contact_sheet(
    title: str, images: Sequence[NDArray[np.uint8]], captions: Sequence[str], columns: int = 5
) -> bytes:
    """Return a PNG of images, each uint8 (H, W, 3), in reading order below a title.

    Each image has its caption.
    """
    rows = -(-len(images) // columns)
    cell_height = _CELL + 2 * _LINE
    sheet = Image.new(
        "RGB", (columns * (_CELL + _MARGIN) + _MARGIN, 40 + rows * (cell_height + _MARGIN)), "white"
    )
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN, 12), title, fill="black", font=ImageFont.load_default(18))
    for place, (image, caption) in enumerate(zip(images, captions, strict=True)):
        x = _MARGIN + place % columns * (_CELL + _MARGIN)
        y = 40 + place // columns * (cell_height + _MARGIN)
        sheet.paste(Image.fromarray(image).resize((_CELL, _CELL), Image.Resampling.LANCZOS), (x, y))
        for line, text in enumerate(_wrap(caption, 24)[:2]):
            draw.text((x, y + _CELL + 2 + line * _LINE), text, fill="#444", font=ImageFont.load_default(11))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def _wrap(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) + 1 > width and lines[-1]:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()[:width]
    return lines
