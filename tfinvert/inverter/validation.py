"""Checks of the arrays that an inverter is given."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfinvert.errors import InputError
from tfinvert.features.base import Feature


def check_images(feature: Feature, images: Any, any_size: bool) -> np.ndarray | list[np.ndarray]:
    """Converts images to one array or, if their sizes differ, to a list of arrays.

    Images of the feature's own size are left for the feature to check.

    Raises:
      InputError: the images have the wrong shape, or are not floating point or not finite.
    """
    if isinstance(images, (list, tuple)):
        images = [np.asarray(image) for image in images]
        num_shapes = len({image.shape for image in images})
        if num_shapes > 1 and not any_size:
            height, width = feature.image_shape[:2]
            raise InputError(
                f"{feature.name} accepts images of {height}×{width} pixels only. Received: images "
                f"of {num_shapes} shapes"
            )
        if num_shapes > 1:
            for image in images:
                _check_any_size(feature, image[np.newaxis])
            return images
    images = np.asarray(images)
    if any_size and images.shape[1:] != feature.image_shape:
        _check_any_size(feature, images)
    return images


def to_float_array(feature: Feature, features: Any) -> np.ndarray:
    """Converts features to a float32 array.

    Raises:
      InputError: they are not numbers, or their shapes differ.
    """
    try:
        return np.asarray(features, np.float32)
    except ValueError as error:
        raise InputError(
            f"features of {feature.name} must be numbers, and of one shape: {error}"
        ) from error


def check_features(feature: Feature, features: np.ndarray, shape: Sequence[int | None]) -> None:
    """Checks the shape of a batch of features.

    Args:
      feature: the feature that they should be of.
      features: the batch.
      shape: the expected shape without the batch axis; None for a side of any length.

    Raises:
      InputError: the shape is another one.
    """
    if not tf.TensorShape((None, *shape)).is_compatible_with(features.shape):
        raise InputError(
            f"features of {feature.name} must have the shape [B, "
            f"{', '.join(str(side or 'any') for side in shape)}]. Received: {features.shape}"
        )


def _check_any_size(feature: Feature, images: np.ndarray) -> None:
    cell, name = feature.cell_size, feature.name
    if images.ndim != 4 or images.shape[-1] != 3 or min(images.shape[1:3]) < cell:
        raise InputError(
            f"{name} takes RGB images [B, H, W, 3] of at least {cell}×{cell} pixels. Received: "
            f"{images.shape}"
        )
    if images.dtype.kind != "f" or not np.isfinite(images).all():
        found = "pixels that are NaN or infinite" if images.dtype.kind == "f" else images.dtype
        raise InputError(
            f"{name} takes floating point images in [0, 1]; divide uint8 images by 255. "
            f"Received: {found}"
        )
