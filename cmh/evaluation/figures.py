"""Figures of a report, fit for a page of a paper: vector and bitmap, colour-blind safe, deterministic bytes.

Every function takes plain numbers and returns a matplotlib `Figure`; `render` turns it into a file's bytes,
and `panels` makes the numbers of a table.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "svg.hashsalt": "cmh",  # else every SVG has other ids
}
# Okabe and Ito's palette: told apart by readers of every colour vision.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = "os^Dv<>"
_TITLES = {
    "image_to_text": "image → text",
    "text_to_image": "text → image",
    "image_to_image": "image → image",
    "text_to_text": "text → text",
}

Curve = tuple[NDArray[np.float64], NDArray[np.float64]]


def _empty(width: float, height: float) -> Figure:
    """Return a figure of this size in inches."""
    from matplotlib.figure import Figure  # as below: half a second, which runs that draw nothing go without

    return Figure(figsize=(width, height), layout="constrained")


def _style(**others: Any) -> AbstractContextManager[None]:
    """Return what sets the style of figures within a block."""
    from matplotlib import rc_context

    return rc_context(_STYLE | others)


def _panels(directions: Sequence[str]) -> tuple[Figure, list[Axes]]:
    figure = _empty(3.3 * len(directions), 3.0)
    axes = figure.subplots(1, len(directions), sharey=True, squeeze=False)[0]
    for axis, direction in zip(axes, directions, strict=True):
        axis.set_title(_TITLES.get(direction, direction), fontsize=9)
        axis.set_prop_cycle(color=_COLOURS)
    return figure, list(axes)


def curves(
    panels: Mapping[str, Mapping[str, Curve]],
    *,
    x: str,
    y: str,
    logarithmic: bool = False,
    floor: float = 0.0,
) -> Figure:
    """Return one panel per direction, one line per label: PR curves, precision@N.

    Args:
        panels: direction → label → (x values, y values).
        x: name of the horizontal axis.
        y: name of the vertical axis.
        logarithmic: draw the horizontal axis in powers of ten.
        floor: what chance reaches; drawn as a dashed line where it is above 0.
    """
    with _style():
        figure, axes = _panels(list(panels))
        for axis, lines in zip(axes, panels.values(), strict=True):
            for label, (xs, ys) in lines.items():
                axis.plot(xs, ys, label=label)
            if floor:
                axis.axhline(floor, color="grey", linestyle="--", linewidth=1, label="chance")
            axis.set_xlabel(x)
            axis.set_ylim(0, 1)
            if logarithmic:
                axis.set_xscale("log")
        axes[0].set_ylabel(y)
        axes[-1].legend(fontsize=8)
        return figure


Points = Mapping[int, tuple[float, float, float]]
"""Bits → MAP, lower and upper end of its 95% interval."""


def map_by_bits(
    panels: Mapping[str, Mapping[str, Points]], floor: float = 0.0, measure: str = "MAP@all"
) -> Figure:
    """Draw MAP, or another measure, against code length, one panel per direction.

    There is one line per method or way of choosing the bits.

    Args:
        panels: direction → label → points.
        floor: what chance reaches; drawn as a dashed line where it is above 0.
        measure: name of the vertical axis.
    """
    many = len(next(iter(panels.values()), {})) > len(_COLOURS)
    with _style():
        figure, axes = _panels(list(panels))
        for axis, lines in zip(axes, panels.values(), strict=True):
            for place, (label, points) in enumerate(lines.items()):
                bits = sorted(points)
                values, lower, upper = np.array([points[b] for b in bits]).T
                # a colour comes again with another marker
                marker = _MARKERS[(place + place // len(_COLOURS)) % len(_MARKERS)]
                spread = [values - lower, upper - values]
                axis.errorbar(bits, values, spread, label=label, marker=marker, ms=4, capsize=2)
            if floor:
                axis.axhline(floor, color="grey", linestyle="--", linewidth=1, label="chance")
            axis.set_xscale("log", base=2)
            ticks = sorted({b for points in lines.values() for b in points})
            axis.set_xticks(ticks, [str(b) for b in ticks])
            axis.minorticks_off()
            axis.set_xlabel("bits")
        axes[0].set_ylabel(measure)
        if many:  # they would cover the lines
            labels = axes[0].get_legend_handles_labels()
            figure.set_size_inches(3.3 * len(axes) + 1.6, max(3.0, 0.4 + 0.18 * len(labels[1])))
            figure.legend(*labels, loc="outside right upper", fontsize=8)
        else:
            axes[-1].legend(fontsize=8)
        return figure


def map_by_method(
    panels: Mapping[str, Mapping[str, Points]], floor: float = 0.0, measure: str = "MAP@all"
) -> Figure:
    """Draw MAP, or another measure, at one length, one panel per direction, a row per method.

    The best of the first panel is on top.

    Args:
        panels: direction → method → a single point.
        floor: as of `map_by_bits`.
        measure: name of the horizontal axis.
    """
    (first, *_) = panels.values()

    def value(method: str) -> float:
        return next(iter(first[method].values()))[0]

    methods = sorted(first, key=value)
    with _style():
        figure, axes = _panels(list(panels))
        figure.set_size_inches(3.3 * len(axes) + 0.6, max(2.0, 0.8 + 0.18 * len(methods)))
        for axis, rows in zip(axes, panels.values(), strict=True):
            for row, method in enumerate(methods):
                ((middle, lower, upper),) = rows[method].values()
                spread = [[middle - lower], [upper - middle]]
                axis.errorbar(middle, row, xerr=spread, marker="o", ms=4, capsize=2, color=_COLOURS[0])
            if floor:
                axis.axvline(floor, color="grey", linestyle="--", linewidth=1, label="chance")
            axis.set_xlim(left=0)
            axis.set_xlabel(measure)
        axes[0].set_yticks(range(len(methods)), methods, fontsize=8)
        axes[0].set_ylim(-0.7, len(methods) - 0.3)
        if floor:
            axes[-1].legend(fontsize=8, loc="lower right")
        return figure


def training(
    epochs: Sequence[int], history: Mapping[str, Sequence[float]], validation: Mapping[str, Sequence[float]]
) -> Figure:
    """Return loss terms (left) and what was measured on validation items (right) by epoch."""
    with _style():
        figure = _empty(6.6, 3.0)
        for axis, lines, title in zip(
            figure.subplots(1, 2), (history, validation), ("training loss", "validation"), strict=True
        ):
            axis.set_prop_cycle(color=_COLOURS)
            for label, values in lines.items():
                axis.plot(epochs, np.array(values, np.float64), label=label.replace("_", " "))
            axis.set_title(title, fontsize=9)
            axis.set_xlabel("epoch")
            axis.legend(fontsize=7)
        return figure


def histogram(panels: Mapping[str, NDArray[np.floating[Any]]], score: str) -> Figure:
    """Return how many queries have which score, in [0, 1], one panel per direction; the mean is a line."""
    with _style():
        figure, axes = _panels(list(panels))
        for axis, values in zip(axes, panels.values(), strict=True):
            axis.hist(values, bins=20, range=(0, 1), color=_COLOURS[0])
            axis.axvline(float(np.mean(values)), color=_COLOURS[1], label="mean")
            axis.set_xlabel(score)
        axes[0].set_ylabel("queries")
        axes[-1].legend(fontsize=8)
        return figure


def attention(image_BHWC: NDArray[np.uint8], mask_BHW: NDArray[np.floating[Any]]) -> Figure:
    """Return images, masks, and what they attend to and leave out, one column per image: ADAH's figure 6.

    Args:
        image_BHWC: uint8 RGB.
        mask_BHW: of fewer places than the images have pixels, each shown as a square; in [0, 1].
    """
    with _style(**{"axes.grid": False}):
        figure = _empty(1.1 * len(image_BHWC), 4.8)
        axes = figure.subplots(4, len(image_BHWC), squeeze=False)
        for column, parts in enumerate(map(attention_parts, image_BHWC, mask_BHW)):
            for axis, (title, picture) in zip(axes[:, column], parts.items(), strict=True):
                axis.imshow(picture, cmap="gray", vmin=0, vmax=255)
                axis.set(xticks=[], yticks=[])
                if column == 0:
                    axis.set_ylabel(title)
        return figure


def attention_parts(
    image_HWC: NDArray[np.uint8], mask_HW: NDArray[np.floating[Any]]
) -> dict[str, NDArray[np.uint8]]:
    """Return the image, its mask at the image's size, and the attended and unattended pixels.

    Pixels that are left out are white.
    """
    height, width = image_HWC.shape[:2]
    rows, columns = (np.arange(n) * side // n for n, side in zip((height, width), mask_HW.shape, strict=True))
    weight_HW1 = mask_HW[rows][:, columns, None]

    def shown(weight: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
        blended: NDArray[np.uint8] = (image_HWC * weight + 255 * (1 - weight)).round().astype(np.uint8)
        return blended

    mask = np.broadcast_to((255 * weight_HW1).round().astype(np.uint8), (height, width, 3))
    return {
        "image": image_HWC,
        "mask": mask,
        "attended": shown(weight_HW1),
        "unattended": shown(1 - weight_HW1),
    }


def frequencies(items_by_label: Mapping[str, int], words_of_texts: Sequence[int]) -> Figure:
    """Return two panels: items of each of the commonest labels, and how many texts have how many words."""
    figure = _empty(7.2, 3.4)
    left, right = figure.subplots(1, 2)
    shown = dict(list(items_by_label.items())[:30])
    left.barh([label[:24] for label in shown], list(shown.values()), color=_COLOURS[0])
    left.tick_params(axis="y", labelsize=6)
    left.invert_yaxis()
    left.set_title(f"items of a label, {len(shown)} of {len(items_by_label)} labels", fontsize=9)
    most = max(words_of_texts, default=0)
    step = -(-(most + 1) // 40)  # whole numbers of words
    right.hist(words_of_texts, bins=np.arange(-0.5, most + step, step), color=_COLOURS[0])
    right.set_title("texts by number of words", fontsize=9)
    return figure


def render(figure: Figure, kind: Literal["png", "svg"]) -> bytes:
    """Return the figure as a file's bytes; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    with _style():
        figure.savefig(buffer, format=kind, dpi=160, metadata=metadata)
    return buffer.getvalue()


def panels(
    table: pa.Table, curve: str, directions: Sequence[str], unit: str = "bits"
) -> dict[str, dict[str, Curve]]:
    """Return one curve of a table (`cmh.evaluation.report.CURVES`) for `curves`; `unit` names lengths."""
    rows = [r for r in table.to_pylist() if r["curve"] == curve]
    return {
        direction: {
            f"{bits} {unit}": tuple(
                np.array(
                    [[r["x"], r["y"]] for r in rows if (r["direction"], r["bits"]) == (direction, bits)]
                ).T
            )
            for bits in sorted({r["bits"] for r in rows})
        }
        for direction in directions
    }
