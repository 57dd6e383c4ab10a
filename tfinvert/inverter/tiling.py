"""Padding to whole cells, and overlapping tiles for large images.

Tiles overlap by the receptive field, so that the result equals that of the whole image and shows no
seams.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from keras import ops

from tfinvert.common.backend import Tensor

BatchFunction = Callable[[np.ndarray], Tensor]

MAX_TILE_PIXELS = 2**22  # processed at once, over all images of a batch
MAX_BATCH_SIZE = 64


def batch_size_for(size: Sequence[int]) -> int:
    """Number of images of a (height, width) that are processed in one batch."""
    return max(1, min(MAX_BATCH_SIZE, MAX_TILE_PIXELS // math.prod(size)))


def run_in_batches(
    function: BatchFunction,
    values: np.ndarray,
    output_shape: Sequence[int],
    batch_size: int = MAX_BATCH_SIZE,
) -> np.ndarray:
    """Applies a function to batches of an array and concatenates the results.

    Args:
      function: maps `[b, ...]` to `[b, *output_shape]`.
      values: `[B, ...]`; B may be 0.
      output_shape: shape of the result for one element.
      batch_size: largest b.

    Returns:
      `[B, *output_shape]`.
    """
    if not len(values):
        return np.zeros((0, *output_shape), np.float32)
    begins = range(0, len(values), batch_size)
    return np.concatenate(
        [ops.convert_to_numpy(function(values[i : i + batch_size])) for i in begins]
    )


def pad_to_multiple(images: np.ndarray, multiple: int) -> np.ndarray:
    """Pads `[B, H, W, 3]` by reflection, below and to the right, to multiples of a side length."""
    padding = [(0, -side % multiple) for side in images.shape[1:3]]
    if not np.any(padding):
        return images
    return np.pad(images, [(0, 0), *padding, (0, 0)], "symmetric")


def compute_feature_tiled(
    compute: BatchFunction, image: np.ndarray, cell_size: int, radius: int | None
) -> np.ndarray:
    """Computes the feature of one image in bands of rows: `[H, W, 3]` becomes `[h, w, c]`.

    Args:
      compute: the feature of `[1, H, W, 3]`.
      image: `[H, W, 3]` with sides divisible by `cell_size`.
      cell_size: pixels per cell side.
      radius: receptive-field radius of the feature in cells; None computes the image as a whole.
    """
    rows, columns = image.shape[0] // cell_size, image.shape[1] // cell_size
    band = max(1, MAX_TILE_PIXELS // (columns * cell_size**2)) if radius is not None else rows
    bands = []
    for begin, end, low, high in _intervals(rows, band, radius or 0, 1):
        values = compute(image[np.newaxis, low * cell_size : high * cell_size])
        bands.append(ops.convert_to_numpy(values)[0, begin - low : end - low])
    return np.concatenate(bands)


def decode_tiled(
    decode: BatchFunction, features: np.ndarray, scale: int, radius: int, multiple: int
) -> np.ndarray:
    """Decodes the features of one image tile by tile: `[h, w, c]` becomes `[H, W, 3]`.

    Args:
      decode: the image of `[1, h, w, c]`.
      features: `[h, w, c]`.
      scale: output pixels per cell side.
      radius: receptive-field radius of the network in cells.
      multiple: number of cells that both sides of a tile must be divisible by.
    """
    rows, columns = features.shape[:2]
    image = np.empty((rows * scale, columns * scale, 3), np.float32)
    side = max(1, int(MAX_TILE_PIXELS**0.5) // scale // multiple) * multiple
    for top, bottom, low, high in _intervals(rows, side, radius, multiple):
        for left, right, near, far in _intervals(columns, side, radius, multiple):
            tile = ops.convert_to_numpy(decode(features[np.newaxis, low:high, near:far]))[0]
            image[top * scale : bottom * scale, left * scale : right * scale] = tile[
                (top - low) * scale : (bottom - low) * scale,
                (left - near) * scale : (right - near) * scale,
            ]
    return image


def _intervals(
    count: int, size: int, margin: int, multiple: int
) -> Iterator[tuple[int, int, int, int]]:
    """Yields (begin, end, low, high): intervals of an axis, and each with its margins."""
    margin = -(-margin // multiple) * multiple
    for begin in range(0, count, size):
        end = min(begin + size, count)
        yield begin, end, max(0, begin - margin), min(count, end + margin)
