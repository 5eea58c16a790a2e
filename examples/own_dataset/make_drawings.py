"""Draw sixty small pictures, and write the table of their texts and labels: a dataset of your own.

python examples/own_dataset/make_drawings.py          # writes drawings/ and items.csv beside this file
"""

import csv
from pathlib import Path

from PIL import Image, ImageDraw

FOLDER = Path(__file__).parent
COLOURS, SHAPES, ITEMS, SIDE = ("red", "green", "blue", "yellow"), ("circle", "square", "triangle"), 60, 64


def draw(colour: str, shape: str, inset: int) -> Image.Image:
    """Return a picture of one shape on white, so many pixels away from the edges."""
    picture, far = Image.new("RGB", (SIDE, SIDE), "white"), SIDE - inset
    pen = ImageDraw.Draw(picture)
    if shape == "circle":
        pen.ellipse((inset, inset, far, far), fill=colour)
    elif shape == "square":
        pen.rectangle((inset, inset, far, far), fill=colour)
    else:
        pen.polygon([(inset, far), (SIDE // 2, inset), (far, far)], fill=colour)
    return picture


def main(folder: Path = FOLDER) -> None:
    """Write the pictures and the table into a folder."""
    (folder / "drawings").mkdir(exist_ok=True)
    rows = [("image", "text", "labels")]
    for number in range(ITEMS):
        colour, shape = COLOURS[number % len(COLOURS)], SHAPES[number % len(SHAPES)]
        inset = 6 + 3 * (number // 12)  # each of the twelve kinds in five sizes
        size = "large" if inset < 12 else "small"
        name = f"{number:02}.png"
        draw(colour, shape, inset).save(folder / "drawings" / name)
        rows.append((name, f"a {size} {colour} {shape}", f"{colour}|{shape}"))
    with (folder / "items.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    print(f"{ITEMS} drawings in {folder / 'drawings'}, their texts and labels in {folder / 'items.csv'}")


if __name__ == "__main__":
    main()
