"""Draw sixty small pictures, and the table of their texts and labels: a dataset of your own.

python examples/own_dataset/make_drawings.py          # writes drawings/ and items.csv beside this file
"""

import csv
from pathlib import Path

from PIL import Image, ImageDraw

FOLDER = Path(__file__).parent
COLOURS, SHAPES = ("red", "green", "blue", "orange"), ("circle", "square", "triangle")


def main(folder: Path = FOLDER) -> None:
    """Write the pictures and the table into a folder."""
    (folder / "drawings").mkdir(exist_ok=True)
    rows = [("image", "text", "labels")]
    for number in range(60):
        colour, shape, inset = COLOURS[number % 4], SHAPES[number % 3], 6 + number % 9
        picture = Image.new("RGB", (64, 64), "white")
        draw, box = ImageDraw.Draw(picture), (inset, inset, 64 - inset, 64 - inset)
        if shape == "circle":
            draw.ellipse(box, fill=colour)
        elif shape == "square":
            draw.rectangle(box, fill=colour)
        else:
            draw.polygon([(inset, 64 - inset), (32, inset), (64 - inset, 64 - inset)], fill=colour)
        name = f"{number:02}.png"
        picture.save(folder / "drawings" / name)
        rows.append((name, f"a {colour} {shape}, number {number % 9}", f"{colour}|{shape}"))
    with (folder / "items.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    print(
        f"{len(rows) - 1} drawings in {folder / 'drawings'}, their texts and labels in {folder / 'items.csv'}"
    )


if __name__ == "__main__":
    main()
