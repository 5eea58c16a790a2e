"""Drawings of one's own to try things on, of which the picture of the page in docs/service.md was made.

python -m tests.bench.drawings FOLDER
cd FOLDER
cmh run --images photos --items items.csv --training.epochs 15
cmh index photos --to my-drawings --columns columns.csv
cmh serve my-drawings
"""

import csv
import math
import random
from pathlib import Path

import cyclopts
from PIL import Image, ImageDraw

COUNT, SIDE = 630, 512
COLOURS = {
    "red": "#e5484d", "orange": "#f76b15", "yellow": "#ffc53d", "green": "#30a46c", "blue": "#3e63dd",
    "violet": "#8e4ec6", "pink": "#e93d82", "brown": "#ad7f58", "black": "#1c2024",
}  # fmt: skip
GROUNDS = {
    "sand": "#f1e9d6", "sky": "#dbeafe", "mint": "#dcf5e7", "rose": "#fde4ec", "fog": "#eceef2",
    "dusk": "#3b3a5c",
}  # fmt: skip
CORNERS = {"square": 4, "triangle": 3, "star": 10}
SHAPES = ("circle", "ring", "moon", "heart", *CORNERS)
RADII = {"small": 68, "large": 144}


def main(folder: Path) -> None:
    """Write photos/, items.csv and columns.csv."""
    rng = random.Random(7)
    (folder / "photos").mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(COUNT):
        shape, colour, ground = SHAPES[number % len(SHAPES)], rng.choice([*COLOURS]), rng.choice([*GROUNDS])
        size, count = rng.choice([*RADII]), rng.choice([1, 1, 1, 3])
        image = Image.new("RGB", (SIDE, SIDE), GROUNDS[ground])
        for place in range(count):
            x = SIDE * (place + 0.7) / 3.4 if count == 3 else SIDE / 2
            middle = x + rng.uniform(-30, 30), SIDE / 2 + rng.uniform(-100, 100)
            radius = RADII[size] * rng.uniform(0.85, 1.1) * (0.62 if count == 3 else 1)
            draw(ImageDraw.Draw(image), shape, middle, radius, rng.uniform(-0.5, 0.5), colour, ground)
        name = f"{number:03}.png"
        image.resize((SIDE // 2, SIDE // 2), Image.Resampling.LANCZOS).save(folder / "photos" / name)
        what = f"three {size} {colour} {shape}s" if count == 3 else f"a {size} {colour} {shape}"
        rows.append((name, f"{what} on {ground}", f"{colour}|{shape}|{ground}", rng.randint(2019, 2026)))
    for file, head, width in (
        ("items.csv", ("image", "text", "labels"), 3),
        ("columns.csv", ("image", "caption", "labels", "year"), 4),
    ):
        with (folder / file).open("w", newline="") as out:
            csv.writer(out).writerows([head, *(row[:width] for row in rows)])


def draw(
    on: ImageDraw.ImageDraw, shape: str, middle: tuple[float, float], radius: float, turn: float, colour: str,
    ground: str,
) -> None:  # fmt: skip
    """Draw one shape."""

    def disc(dx: float, dy: float, part: float, fill: str) -> None:
        x, y, r = middle[0] + dx * radius, middle[1] + dy * radius, part * radius
        on.ellipse((x - r, y - r, x + r, y + r), fill=fill)

    def corner(number: int, corners: int) -> tuple[float, float]:
        r = radius * (0.42 if shape == "star" and number % 2 else 1)
        angle = turn + 2 * math.pi * number / corners
        return middle[0] + r * math.sin(angle), middle[1] - r * math.cos(angle)

    fill, back = COLOURS[colour], GROUNDS[ground]
    if shape in CORNERS:
        on.polygon([corner(number, CORNERS[shape]) for number in range(CORNERS[shape])], fill=fill)
    elif shape == "heart":
        disc(-0.47, -0.37, 0.53, fill)
        disc(0.47, -0.37, 0.53, fill)
        points = ((-0.93, -0.1), (0.93, -0.1), (0, 1))
        on.polygon([(middle[0] + dx * radius, middle[1] + dy * radius) for dx, dy in points], fill=fill)
    else:
        disc(0, 0, 1, fill)
        if shape == "ring":
            disc(0, 0, 0.55, back)
        if shape == "moon":
            disc(0.5, -0.2, 0.88, back)


if __name__ == "__main__":
    cyclopts.run(main)
