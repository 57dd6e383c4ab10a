"""Labelled grids of images, for comparing originals and reconstructions."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tfinvert.common.files import atomic_path

_BACKGROUND = 255
_INK = (40, 40, 40)
_MIN_FONT_SIZE = 11
_MAX_FONT_SIZE = 22
# The gap between wrapped blocks as a multiple of the padding, and its minimum in pixels, so that
# blocks are visibly separate even if the padding is small.
_BLOCK_GAP = 4
_MIN_BLOCK_GAP = 8


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Converts an image or a batch of images to uint8.

    Args:
      image: `[..., 3]`, float in [0, 1] (values outside are clipped) or uint8 (returned unchanged).

    Returns:
      A uint8 array with the shape of `image`.

    Raises:
      ValueError: the last axis is not 3, the dtype is neither float nor uint8, or a value is NaN.
    """
    image = np.asarray(image)
    if image.ndim < 1 or image.shape[-1] != 3:
        raise ValueError(f"Images must be RGB, [..., 3]. Received: shape={image.shape}")
    if image.dtype == np.uint8:
        return image
    if not np.issubdtype(image.dtype, np.floating):
        raise ValueError(f"Images must be float or uint8. Received: dtype={image.dtype}")
    if np.isnan(image).any():
        count = int(np.isnan(image).sum())
        raise ValueError(f"Images must not contain NaN. Received: {count} NaN of {image.size}")
    return np.rint(np.clip(image.astype(np.float64), 0.0, 1.0) * 255.0).astype(np.uint8)


def image_grid(
    rows: Mapping[str, np.ndarray],
    *,
    scale: int = 1,
    padding: int = 4,
    columns: int | None = None,
) -> np.ndarray:
    """Arranges images on white, in one labelled row per entry.

    Args:
      rows: maps a row's label to its images `[N, H, W, 3]`, float in [0, 1] (values outside are
        clipped) or uint8. N, H and W are equal in all rows. If all labels are empty, there is no
        label column.
      scale: integer factor >= 1 by which the images are enlarged (nearest neighbour).
      padding: width of the white margin around and between the images in pixels, >= 0.
      columns: images per line; further images wrap into blocks of all rows, with a larger gap
        between blocks. None puts all N on one line.

    Returns:
      uint8 `[height, width, 3]`.

    Raises:
      ValueError: `rows` is empty, an array is not `[N, H, W, 3]` with N, H, W >= 1, the shapes
        differ, a value is NaN, or `scale`, `padding` or `columns` is out of range.
    """
    _check_integer("scale", scale, 1)
    _check_integer("padding", padding, 0)
    if columns is not None:
        _check_integer("columns", columns, 1)
    images = validate_rows(rows)
    count, height, width, _ = next(iter(images.values())).shape

    # With fewer images than columns, no cells stay empty.
    columns = min(columns or count, count)
    blocks = math.ceil(count / columns)
    cell_h, cell_w = height * scale, width * scale
    font = _font(cell_h)
    label_w = _label_width(images, font, padding)
    block_h = len(images) * (cell_h + padding) - padding
    gap = max(_BLOCK_GAP * padding, _MIN_BLOCK_GAP)

    canvas = np.full(
        (
            2 * padding + blocks * block_h + (blocks - 1) * gap,
            2 * padding + label_w + columns * (cell_w + padding) - padding,
            3,
        ),
        _BACKGROUND,
        np.uint8,
    )
    picture = Image.fromarray(canvas)
    draw = ImageDraw.Draw(picture)
    for block in range(blocks):
        for index, (label, batch) in enumerate(images.items()):
            top = padding + block * (block_h + gap) + index * (cell_h + padding)
            if text := _label_text(label):
                place = (padding, top + cell_h // 2)
                draw.text(place, text, fill=_INK, font=font, anchor="lm")
            for column, image in enumerate(batch[block * columns : (block + 1) * columns]):
                left = padding + label_w + column * (cell_w + padding)
                enlarged = image.repeat(scale, axis=0).repeat(scale, axis=1)
                picture.paste(Image.fromarray(enlarged), (left, top))
    return np.array(picture)


def sample_rows(samples: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the rows of an `image_grid` for samples `[B, n, H, W, 3]`, numbered from 1."""
    return {f"sample {k}": samples[:, k - 1] for k in range(1, samples.shape[1] + 1)}


def stack_vertically(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Stacks pictures of any size, uint8 `[H, W, 3]`, vertically and left-aligned on white."""
    width = max(picture.shape[1] for picture in pictures)
    return np.concatenate(
        [
            np.pad(
                picture,
                [(0, 0), (0, width - picture.shape[1]), (0, 0)],
                constant_values=_BACKGROUND,
            )
            for picture in pictures
        ]
    )


def write_png(path: str | os.PathLike[str], image: np.ndarray) -> None:
    """Writes an image to a PNG file atomically.

    Args:
      path: path of the file; its folder is created if missing.
      image: `[H, W, 3]`, float in [0, 1] (values outside are clipped) or uint8.

    Raises:
      ValueError: `image` has another shape or dtype, or contains NaN.
      OSError: the file cannot be written.
    """
    picture = to_pillow(image)
    with atomic_path(path) as temporary:
        picture.save(temporary, format="PNG", optimize=True)


def to_pillow(image: np.ndarray) -> Image.Image:
    """Converts an image to an RGB Pillow image.

    Args:
      image: `[H, W, 3]`, float in [0, 1] (values outside are clipped) or uint8.

    Raises:
      ValueError: `image` has another shape or dtype, or contains NaN.
    """
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[-1] != 3 or 0 in image.shape:
        raise ValueError(f"`image` must be [H, W, 3]. Received: shape={image.shape}")
    return Image.fromarray(np.ascontiguousarray(to_uint8(image)))


def validate_rows(rows: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Converts the rows of an `image_grid` to uint8.

    Raises:
      ValueError: see `image_grid`.
    """
    if not rows:
        raise ValueError(f"`rows` must have at least one row. Received: rows={rows}")
    images: dict[str, np.ndarray] = {}
    first = None
    for label, batch in rows.items():
        batch = np.asarray(batch)
        if batch.ndim != 4 or batch.shape[-1] != 3 or 0 in batch.shape:
            raise ValueError(f"Row {label!r} must be [N, H, W, 3]. Received: shape={batch.shape}")
        if first is not None and batch.shape != first:
            raise ValueError(
                f"Row {label!r} must have the shape of the first row, {first}. "
                f"Received: shape={batch.shape}"
            )
        first = batch.shape
        try:
            images[label] = to_uint8(batch)
        except ValueError as error:
            raise ValueError(f"Row {label!r}: {error}") from None
    return images


def _check_integer(name: str, value: int, minimum: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < minimum:
        raise ValueError(f"`{name}` must be an integer >= {minimum}. Received: {name}={value!r}")


def _font(cell_height: int) -> ImageFont.FreeTypeFont:
    size = min(max(cell_height // 7, _MIN_FONT_SIZE), _MAX_FONT_SIZE)
    return ImageFont.load_default(size=size)


def _label_text(label: str) -> str:
    # On one line, because a row is only as high as its images.
    return " ".join(label.split())


def _label_width(labels: Mapping[str, object], font: ImageFont.FreeTypeFont, padding: int) -> int:
    texts = [_label_text(label) for label in labels]
    widest = max(math.ceil(font.getbbox(text)[2]) if text else 0 for text in texts)
    # A margin between the text and the first image, even without padding.
    return widest + max(2 * padding, 8) if widest else 0
