"""Figures with rows of images, labelled at the left and above."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from tfinvert.common.images import resize_images
from tfinvert.reporting import report
from tfinvert.reporting.figure_style import figure_style, render_pixels, render_svg
from tfinvert.reporting.grids import to_uint8, validate_rows

_CELL_WIDTH = 0.8  # of an image, in inches
_MIN_CELL_PIXELS = 128  # minimum width of an image in the rendered figure
_MAX_ROW_PIXELS = 1000  # of all images in a row: the width of a page; more only enlarges reports
_GAP = 0.06  # inches
_FONT_SIZE = 10.0  # points
_LETTER_WIDTH = 0.6 * _FONT_SIZE / 72  # approximate, in inches
_LINE_HEIGHT = 1.5 * _FONT_SIZE / 72  # inches
_TILT = 60.0  # angle in degrees of column names that are wider than their column


def image_rows(
    rows: Mapping[str, np.ndarray],
    *,
    title: str,
    caption: str,
    columns: Sequence[str] = (),
) -> report.Figure:
    """Draws one labelled row of images per entry.

    Images are reduced if a row would be much wider than a page.

    Args:
      rows: maps a row's name, for example that of a layer, to its images `[N, H, W, 3]`, float in
        [0, 1] (values outside are clipped) or uint8. N, H and W are equal in all rows.
      title: heading of the figure.
      caption: description of the figure.
      columns: names of the N columns; empty for unnamed columns.

    Returns:
      A figure as SVG, in which the images' pixels are embedded, and as pixels.

    Raises:
      ValueError: see `grids.image_grid`, or the number of column names is not N.
    """
    images = {name: _reduce(batch) for name, batch in validate_rows(rows).items()}
    count, height, width, _ = next(iter(images.values())).shape
    if columns and len(columns) != count:
        raise ValueError(f"`columns` must name {count} columns. Received: {len(columns)}")
    cell_h = _CELL_WIDTH * height / width
    left = max(len(name) for name in images) * _LETTER_WIDTH + 3 * _GAP
    longest = max(map(len, columns), default=0) * _LETTER_WIDTH
    tilted = longest > _CELL_WIDTH
    if tilted:
        above = longest * np.sin(np.radians(_TILT)) + _GAP
    else:
        above = (_LINE_HEIGHT if columns else 0.0) + _GAP
    total_w = left + count * (_CELL_WIDTH + _GAP)
    if tilted:
        total_w += max(0.0, longest * np.cos(np.radians(_TILT)) - _CELL_WIDTH / 2)
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
                fontsize=_FONT_SIZE,
            )
            for j, image in enumerate(batch):
                x = left + j * (_CELL_WIDTH + _GAP)
                box = (x, total_h - top - cell_h, _CELL_WIDTH, cell_h)
                axes = figure.add_axes(np.divide(box, (total_w, total_h) * 2))
                axes.set_axis_off()
                axes.imshow(image, interpolation="none", aspect="auto")
        for j, name in enumerate(columns):
            figure.text(
                (left + j * (_CELL_WIDTH + _GAP) + _CELL_WIDTH / 2) / total_w,
                1 - (above - _GAP) / total_h,
                name,
                ha="left" if tilted else "center",
                va="bottom",
                rotation=_TILT if tilted else 0,
                rotation_mode="anchor",
                fontsize=_FONT_SIZE,
            )
        # An integer number of dots per image pixel: otherwise some pixels would be drawn wider.
        dpi = width * math.ceil(_MIN_CELL_PIXELS / width) / _CELL_WIDTH
        svg, image = render_svg(figure, title), render_pixels(figure, dpi)
    return report.Figure(title, caption, image=image, svg=svg)


def _reduce(batch: np.ndarray) -> np.ndarray:
    """Reduces images, uint8 `[N, H, W, 3]`, to the width that a row of N has room for."""
    count, height, width, _ = batch.shape
    max_width = max(_MAX_ROW_PIXELS // count, _MIN_CELL_PIXELS // 2)
    if width <= max_width:
        return batch
    size = round(height * max_width / width), max_width
    return to_uint8(resize_images(batch / np.float32(255), size))
