"""Figures: the bytes are files of their kind, deterministic, and show what they were given."""

import numpy as np
import pytest

from cmh import figures


def _map_by_bits():
    points = {16: (0.3, 0.28, 0.32), 32: (0.4, 0.38, 0.41), 64: (0.5, 0.49, 0.52)}
    return figures.map_by_bits({"image_to_text": {"least": points, "most": points}}, floor=0.1)


def _curves():
    line = (np.linspace(0.01, 1, 20), np.linspace(1, 0.1, 20))
    return figures.curves({"image_to_text": {"64 bits": line}}, x="recall", y="precision", floor=0.1)


@pytest.mark.parametrize("draw", [_map_by_bits, _curves])
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
