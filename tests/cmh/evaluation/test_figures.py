"""Figures: the bytes are files of their kind, deterministic, and show what they were given."""

import numpy as np
import pytest

from cmh.evaluation import figures


def _map_by_bits():
    points = {16: (0.3, 0.28, 0.32), 32: (0.4, 0.38, 0.41), 64: (0.5, 0.49, 0.52)}
    return figures.map_by_bits({"image_to_text": {"least": points, "most": points}}, floor=0.1)


def _many(lengths=(16, 32), methods=22):
    """As many methods as there are, both directions."""
    points = {
        f"method {n:02}": {b: ((n * 7 % 22 + 1) / 23, 0.0, 1.0) for b in lengths} for n in range(methods)
    }
    return {"image_to_text": points, "text_to_image": points}


def _map_by_method():
    return figures.map_by_method(_many((32,)), floor=0.1)


def _map_of_many():
    return figures.map_by_bits(_many(), floor=0.1)


def _curves():
    line = (np.linspace(0.01, 1, 20), np.linspace(1, 0.1, 20))
    return figures.curves({"image_to_text": {"64 bits": line}}, x="recall", y="precision", floor=0.1)


@pytest.mark.parametrize("draw", [_map_by_bits, _map_of_many, _map_by_method, _curves])
@pytest.mark.parametrize(("kind", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_rendering_is_deterministic(draw, kind, magic):
    """The same numbers give the same bytes, of the kind that was asked for."""
    first, second = figures.render(draw(), kind), figures.render(draw(), kind)
    assert first.startswith(magic)
    assert first == second


def test_every_line_and_chance_are_in_the_legend():
    """A reader can tell every line, and what chance reaches."""
    legend = _map_by_bits().axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["chance", "least", "most"]


def test_many_methods_are_told_apart_beside_the_panels():
    """Every line in the legend, no two alike, and the panels keep their room."""
    figure = _map_of_many()
    figures.render(figure, "png")
    (legend,) = figure.legends
    assert len(legend.get_texts()) == 23
    looks = {(c[0].get_color(), c[0].get_marker()) for c in figure.axes[0].containers}
    assert len(looks) == 22
    for axis in figure.axes:
        box = axis.get_window_extent()
        assert box.width > 300
        assert box.height > 300
        assert not box.overlaps(legend.get_window_extent())


def test_methods_at_one_length_are_rows_by_their_map():
    """The best on top, in both panels the same row."""
    figure = _map_by_method()
    figures.render(figure, "png")
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    values = [float(c[0].get_xdata()[0]) for c in figure.axes[1].containers]
    assert values == sorted(values)
    assert names[-1] == "method 03"
    assert figure.axes[0].get_window_extent().height > 300


def test_attention_shows_each_pixel_in_one_part_only() -> None:
    """Of a 2 x 2 mask over 4 x 6 pixels: every pixel is attended or not, as its place is; else white."""
    image = np.random.default_rng(0).integers(0, 250, (4, 6, 3), dtype=np.uint8)
    mask = np.array([[1.0, 0.0], [0.0, 1.0]])
    parts = figures.attention_parts(image, mask)
    for h in range(4):
        for w in range(6):
            chosen = mask[h // 2, w // 3] == 1
            assert np.array_equal(parts["attended"][h, w], image[h, w] if chosen else [255] * 3)
            assert np.array_equal(parts["unattended"][h, w], [255] * 3 if chosen else image[h, w])
            assert (parts["mask"][h, w] == 255 * chosen).all()
    drawn = figures.render(figures.attention(np.stack([image] * 3), np.stack([mask] * 3)), "png")
    assert drawn.startswith(b"\x89PNG")
