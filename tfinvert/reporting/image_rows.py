"""Rows of images with names beside and above them, for papers and pages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from tfinvert.common.images import resize_images
from tfinvert.reporting import report
from tfinvert.reporting.figure_style import figure_style, render_pixels, render_svg
from tfinvert.reporting.grids import to_uint8, validate_rows

_CELL = 0.8  # inches an image is wide
_PIXELS = 128  # the same in pixels, at least
_MOST = 1000  # pixels of a row's images together: what a page shows; with more, reports grow
_GAP = 0.06
_FONT = 10.0  # points
_LETTER = 0.6 * _FONT / 72  # inches, about, of one letter
_LINE = 1.5 * _FONT / 72
_STEEP = 60.0  # degrees by which names too long for their column are turned


def image_rows(
    rows: Mapping[str, np.ndarray],
    *,
    title: str,
    caption: str,
    columns: Sequence[str] = (),
) -> report.Figure:
    """Draws one labelled row of images per entry.

    Images are reduced where a row of them would be much wider than a page.

    Args:
        rows: From a row's name, for example a layer's, to its images [N, H, W, 3], float in
            [0, 1] (values outside are clipped) or uint8. Every row has the same N, H and W.
        title: Heading of the figure.
        caption: What to see in it.
        columns: Names of the columns, N of them; none leaves them unnamed.

    Returns:
        A figure as vectors, with the images' pixels in it, and as pixels.

    Raises:
        ValueError: As `grids.image_grid`, or if there are names for another number of columns.
    """
    images = {name: _reduced(batch) for name, batch in validate_rows(rows).items()}
    count, height, width, _ = next(iter(images.values())).shape
    if columns and len(columns) != count:
        raise ValueError(f"`columns` must name {count} columns. Received: {len(columns)}")
    cell_h = _CELL * height / width
    left = max(len(name) for name in images) * _LETTER + 3 * _GAP
    longest = max(map(len, columns), default=0) * _LETTER
    steep = longest > _CELL
    above = (longest * np.sin(np.radians(_STEEP)) if steep else _LINE if columns else 0.0) + _GAP
    total_w = left + count * (_CELL + _GAP)
    if steep:
        total_w += max(0.0, longest * np.cos(np.radians(_STEEP)) - _CELL / 2)
    total_h = above + len(images) * (cell_h + _GAP)
    with figure_style(f"{title} {list(images)} {columns}"):
        figure = Figure(figsize=(total_w, total_h))
        for i, (name, batch) in enumerate(images.items()):
            top = above + i * (cell_h + _GAP)
            figure.text(
                (left - 2 * _GAP) / total_w,
                1 - (top + cell_h / 2) / total_h,
                " ".join(name.split()),
                ha="right",
                va="center",
                fontsize=_FONT,
            )
            for j, image in enumerate(batch):
                place = (left + j * (_CELL + _GAP), total_h - top - cell_h, _CELL, cell_h)
                axes = figure.add_axes(np.divide(place, (total_w, total_h) * 2))
                axes.set_axis_off()
                axes.imshow(image, interpolation="none", aspect="auto")
        for j, name in enumerate(columns):
            figure.text(
                (left + j * (_CELL + _GAP) + _CELL / 2) / total_w,
                1 - (above - _GAP) / total_h,
                name,
                ha="left" if steep else "center",
                va="bottom",
                rotation=_STEEP if steep else 0,
                rotation_mode="anchor",
                fontsize=_FONT,
            )
        # Dots of whole fractions of the images' pixels: others would show some pixels twice.
        dots = width * math.ceil(_PIXELS / width) / _CELL
        svg, image = render_svg(figure, title), render_pixels(figure, dots)
    return report.Figure(title, caption, image=image, svg=svg)


def _reduced(batch: np.ndarray) -> np.ndarray:
    """`[N, H, W, 3]` of bytes, at most as wide as a row of N has room for."""
    count, height, width, _ = batch.shape
    room = max(_MOST // count, _PIXELS // 2)
    if width <= room:
        return batch
    return to_uint8(resize_images(batch / np.float32(255), (round(height * room / width), room)))
