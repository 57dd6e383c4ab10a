"""The largest central crop of a photograph, resized, without TensorFlow."""

import numpy as np
from keras import ops


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
        crop = ops.convert_to_numpy(ops.image.resize(crop, size, antialias=True))  # bilinear
    return np.round(np.float32(255) * np.clip(crop, 0.0, 1.0)) / np.float32(255)
