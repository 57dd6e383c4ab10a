"""Labelled grids of images, for comparing originals and reconstructions at a glance."""

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
# The gap between wrapped blocks, in paddings (and never under _MIN_BLOCK_GAP pixels), so that
# a block reads as one group even where the padding is tiny.
_BLOCK_GAP = 4
_MIN_BLOCK_GAP = 8


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Turns an image or a batch of images into bytes.

    Args:
        image: [..., 3], float in [0, 1] (values outside are clipped) or uint8 (returned as is).

    Returns:
        uint8 array of the same shape.

    Raises:
        ValueError: If the last axis is not 3, the dtype is neither float nor uint8, or a value
            is NaN.
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
    """Lays images out on white, one labelled row per entry.

    Args:
        rows: From a row's label to its images [N, H, W, 3], float in [0, 1] (values outside are
            clipped) or uint8. Every row has the same N, H and W. If every label is empty
            there is no label column.
        scale: Whole factor >= 1 by which the images are enlarged (nearest neighbour).
        padding: White pixels >= 0 around and between the images.
        columns: Images per line; more wrap into further blocks, each of which repeats all the
            rows, with a larger gap between blocks. None puts all N on one line.

    Returns:
        uint8 [height, width, 3].

    Raises:
        ValueError: If `rows` is empty, an array is not [N, H, W, 3] with N, H, W >= 1, the
            shapes differ, a value is NaN, or `scale`, `padding` or `columns` is out of range.
    """
    _check_whole("scale", scale, 1)
    _check_whole("padding", padding, 0)
    if columns is not None:
        _check_whole("columns", columns, 1)
    images = validate_rows(rows)
    count, height, width, _ = next(iter(images.values())).shape

    # Fewer images than columns leave no empty places.
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
    """Rows of `image_grid` of samples `[B, n, H, W, 3]`, by their number from 1 on."""
    return {f"sample {k}": samples[:, k - 1] for k in range(1, samples.shape[1] + 1)}


def stack_vertically(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures of any size, uint8 [H, W, 3], one below the other, from the left, on white."""
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
    """Writes an image as a PNG file, replacing an older one only once it is complete.

    Args:
        path: Where the file goes; its folder is made if missing.
        image: [H, W, 3], float in [0, 1] (values outside are clipped) or uint8.

    Raises:
        ValueError: If `image` has another shape or dtype, or contains NaN.
        OSError: If the file cannot be written.
    """
    picture = to_pillow(image)
    with atomic_path(path) as temporary:
        picture.save(temporary, format="PNG", optimize=True)


def to_pillow(image: np.ndarray) -> Image.Image:
    """Makes a Pillow image.

    Args:
        image: [H, W, 3], float in [0, 1] (values outside are clipped) or uint8.

    Returns:
        The RGB image.

    Raises:
        ValueError: If `image` has another shape or dtype, or contains NaN.
    """
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[-1] != 3 or 0 in image.shape:
        raise ValueError(f"`image` must be [H, W, 3]. Received: shape={image.shape}")
    return Image.fromarray(np.ascontiguousarray(to_uint8(image)))


def validate_rows(rows: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The rows as bytes; raises what `image_grid` says."""
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


def _check_whole(name: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"`{name}` must be a whole number >= {least}. Received: {name}={value!r}")


def _font(cell_height: int) -> ImageFont.FreeTypeFont:
    size = min(max(cell_height // 7, _MIN_FONT_SIZE), _MAX_FONT_SIZE)
    return ImageFont.load_default(size=size)


def _label_text(label: str) -> str:
    # One line: a row is only as high as its images.
    return " ".join(label.split())


def _label_width(labels: Mapping[str, object], font: ImageFont.FreeTypeFont, padding: int) -> int:
    texts = [_label_text(label) for label in labels]
    widest = max(math.ceil(font.getbbox(text)[2]) if text else 0 for text in texts)
    # Room between the text and the first image, even without padding.
    return widest + max(2 * padding, 8) if widest else 0
