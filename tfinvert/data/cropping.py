"""Photographs as arrays: whole, or the largest central crop resized, without TensorFlow."""

import os
from collections.abc import Sequence

import numpy as np
from keras import ops
from PIL import Image

from tfinvert.common.files import user_path
from tfinvert.data.decode import pillow_to_rgb, read_rgb


def read_photograph(
    photograph: str | os.PathLike[str] | Image.Image, size: Sequence[int] | None
) -> np.ndarray:
    """Reads a file or converts a Pillow image: float32 `[H, W, 3]` in [0, 1].

    Args:
      photograph: path of a JPEG or PNG file, or a Pillow image.
      size: (height, width) of the result, which is the largest central crop with that aspect
        ratio, resized; None for the whole photograph.

    Raises:
      InputError: see `data.decode.read_rgb`.
    """
    is_image = isinstance(photograph, Image.Image)
    pixels = pillow_to_rgb(photograph) if is_image else read_rgb(user_path(photograph))
    return pixels / np.float32(255) if size is None else crop_and_resize(pixels, size)


def crop_and_resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes the largest central crop: uint8 `[H, W, 3]` to float32 `[*size, 3]` in [0, 1].

    It equals `pipeline.center_crop_and_resize`, which consists of TensorFlow ops for the graphs of
    tf.data and of model servers.

    Args:
      image: the photograph.
      size: (height, width) in pixels.
    """
    extent, size = image.shape[:2], tuple(size)
    window = []
    for axis, side in enumerate(extent):
        length = max(min(side, extent[1 - axis] * size[axis] // size[1 - axis]), 1)
        begin = (side - length) // 2
        window.append(slice(begin, begin + length))
    crop = image[tuple(window)] / np.float32(255)
    if crop.shape[:2] != size:
        crop = ops.image.resize(crop, size, antialias=True, data_format="channels_last")  # bilinear
        crop = ops.convert_to_numpy(crop)
    return np.round(np.float32(255) * np.clip(crop, 0.0, 1.0)) / np.float32(255)
