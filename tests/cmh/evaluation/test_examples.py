"""Queries that a report shows: which ones, their picture, and their texts made harmless."""

import io

import numpy as np
import pytest
from PIL import Image

from cmh.evaluation import examples
from cmh.evaluation.examples import Example


@pytest.mark.parametrize("count", [0, 1, 3, 5, 6, 40])
def test_each_query_is_shown_once(count: int) -> None:
    """Two of each kind, as long as there are so many; the best first, the worst last."""
    score_Q = np.random.default_rng(0).random(count)
    chosen = examples.choose(score_Q)
    places = [place for _, place in chosen]
    assert len(set(places)) == len(places) == min(count, 6)
    if count:
        assert score_Q[places[0]] == score_Q.max()
        assert score_Q[places[-1]] == score_Q.min() or count < 6
    if count == 40:
        median = [score_Q[place] for kind, place in chosen if kind == "median"]
        assert np.mean(median) == pytest.approx(np.median(score_Q))


def test_the_picture_frames_what_is_right() -> None:
    """One row of a query and five hits; the second hit in green, the others on white."""
    one = Example("best", 0.5, 0, (1, 2, 3, 4, 5), (False, True, False, False, False))
    grey = np.full((9, 5, 3), 128, np.uint8)
    sheet = np.asarray(Image.open(io.BytesIO(examples.sheet([one], [[grey] * 6]))))
    framed = {tuple(pixel) for pixel in sheet[6, :, :]}
    assert framed == {(255, 255, 255), (0, 0, 0), (0, 0x9E, 0x73)}
    green = np.flatnonzero((sheet[6] == (0, 0x9E, 0x73)).all(axis=1))
    assert len(green) == 72 + 6
    assert green[0] == 8 + 2 * 80 + 8 - 3


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("two  lines\nof\x00 text", "two lines of text"),
        ("<img src=x onerror=alert(1)>", r"&lt;img src=x onerror=alert\(1\)&gt;"),
        ("a | b `c` [d](http://e) ![f](g) *h* _i_", None),
        ("x" * 100, "x" * 69 + "…"),
        ("\u202eevil", "evil"),
    ],
)
def test_a_text_is_one_harmless_line(text: str, shown: str | None) -> None:
    """Of bounded length; no tag, link, picture, table cell or emphasis of it is left."""
    plain = examples.plain(text)
    assert shown is None or plain == shown
    for sign in "|`[]()*_!":
        assert plain.count(sign) == plain.count(f"\\{sign}")
    assert "\n" not in plain
    assert "<" not in plain
