"""A small data set, and ten kinds of damage that people's data have; each says what it does in a sentence."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

COUNT = 40
WORDS = ("red", "green", "blue", "white")


def pixels(number: int) -> np.ndarray:
    """A drawing of its own colour and noise, uint8 (96, 128, 3)."""
    colour = np.random.default_rng(number % 4).integers(40, 200, 3)
    noise = np.random.default_rng(100 + number).integers(-40, 40, (12, 16, 3))
    small = np.clip(colour + noise, 0, 255).astype(np.uint8)
    return np.asarray(Image.fromarray(small).resize((128, 96), Image.Resampling.BICUBIC))


def make(folder: Path) -> Path:
    """Forty photos and their table."""
    (folder / "photos").mkdir(parents=True)
    rows = ["image,text,labels"]
    for number in range(COUNT):
        Image.fromarray(pixels(number)).save(folder / "photos" / f"{number:02}.jpg", quality=90)
        rows.append(f"{number:02}.jpg,a {WORDS[number % 4]} thing number {number % 7},{WORDS[number % 4]}")
    (folder / "items.csv").write_text("\n".join(rows) + "\n")
    return folder


def truncated(folder: Path) -> None:
    """A file that ends in the middle, as after a download that broke off."""
    path = folder / "photos" / "03.jpg"
    path.write_bytes(path.read_bytes()[:700])


def wrong_suffix(folder: Path) -> None:
    """A PNG that is called .jpg: read by content."""
    Image.fromarray(pixels(3)).save(folder / "photos" / "03.jpg", "PNG")


def cmyk(folder: Path) -> None:
    """A JPEG in CMYK, as print shops make them."""
    Image.fromarray(pixels(3)).convert("CMYK").save(folder / "photos" / "03.jpg")


def sixteen_bits(folder: Path) -> None:
    """A grey image of 16 bits, as scanners and microscopes make them."""
    grey = pixels(3)[..., 0].astype(np.uint16) * 257
    Image.fromarray(grey).save(folder / "photos" / "03.jpg", "PNG")


def animated(folder: Path) -> None:
    """A GIF of three pictures."""
    frames = [Image.fromarray(pixels(n)) for n in (3, 4, 5)]
    frames[0].save(folder / "photos" / "03.jpg", "GIF", save_all=True, append_images=frames[1:])


def zero_bytes(folder: Path) -> None:
    """An empty file, as a full disk leaves it."""
    (folder / "photos" / "03.jpg").write_bytes(b"")


def turned(folder: Path) -> None:
    """A photo that its camera turns by EXIF."""
    image = Image.fromarray(pixels(3))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(folder / "photos" / "03.jpg", exif=exif)


def missing_label_row(folder: Path) -> None:
    """A row whose last cell is not there, not even empty."""
    lines = (folder / "items.csv").read_text().splitlines()
    lines[5] = lines[5].rpartition(",")[0]
    (folder / "items.csv").write_text("\n".join(lines) + "\n")


def wrong_height(folder: Path) -> None:
    """Features in matrices, of which the labels have a row less."""
    savemat(folder / "items.mat", {
        "image": np.random.default_rng(0).random((COUNT, 8)),
        "text": np.random.default_rng(1).random((COUNT, 4)),
        "labels": np.eye(4, dtype=np.uint8)[np.arange(COUNT - 1) % 4],
    })  # fmt: skip
    (folder / "items.csv").unlink()


def double_id(folder: Path) -> None:
    """Two rows with one id."""
    lines = (folder / "items.csv").read_text().splitlines()
    ids = ["id", *(str(number) for number in range(COUNT))]
    ids[9] = ids[8]
    (folder / "items.csv").write_text(
        "".join(f"{one},{line}\n" for one, line in zip(ids, lines, strict=True))
    )


DAMAGES: dict[str, Callable[[Path], None]] = {
    damage.__name__: damage
    for damage in (truncated, wrong_suffix, cmyk, sixteen_bits, animated, zero_bytes, turned,
                   missing_label_row, wrong_height, double_id)
}  # fmt: skip
