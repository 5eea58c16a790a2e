"""The contact sheet: a readable PNG with every image on it."""

import io

import numpy as np
from PIL import Image

from cmh.evaluation.contact_sheet import contact_sheet


def test_every_image_is_on_the_sheet():
    """Each of seven plainly coloured images is found on the sheet, at its place in reading order."""
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255), (255, 0, 255), (9, 9, 9)]
    images = [np.full((8, 8, 3), colour, np.uint8) for colour in colours]
    captions = ["a caption that needs more than one line"] * 7
    sheet = np.asarray(Image.open(io.BytesIO(contact_sheet("query", images, captions, columns=5))))
    places = [np.argwhere((sheet == colour).all(-1)).mean(0) for colour in colours]
    rows, columns = np.array(places).T
    assert len(set(rows[:5])) == 1
    assert rows[5] > rows[0]
    assert (np.diff(columns[:5]) > 0).all()
    assert columns[5] == columns[0]
