"""Images and features as users give them, converted to checked arrays."""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops
from PIL import Image

from tfinvert.common.images import check_images, to_float
from tfinvert.data.cropping import read_photograph
from tfinvert.errors import InputError
from tfinvert.inverter.decoder import Decoder

_FILES = str | os.PathLike | Image.Image


class Batch(NamedTuple):
    """Images or features.

    Attributes:
      values: an array `[B, ...]` or, if the shapes differ, a list of arrays.
      single: True for one image or feature that came without a batch axis; B is 1.
    """

    values: np.ndarray | list[np.ndarray]
    single: bool = False

    def map(self, function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray | list[np.ndarray]:
        """Applies a function of batches.

        Returns:
          An array, without a batch axis if `single`, or a list of arrays for a list.
        """
        if isinstance(self.values, list):
            return [function(value[np.newaxis])[0] for value in self.values]
        results = function(self.values)
        return results[0] if self.single else results


def read_images(decoder: Decoder, images: Any, any_size: bool = True) -> Batch:
    """Converts images to float32 in [0, 1]; see `Inverter.encode` for what is accepted.

    Args:
      decoder: the images are for its feature.
      images: one or several.
      any_size: False for images of the feature's size only, to which files are cropped and resized
        then; True for images of all sizes that the decoder accepts.

    Raises:
      InputError: a file cannot be read; the images have the wrong shape or type, or a pixel is
        outside [0, 1], NaN or infinite.
    """
    any_size = any_size and decoder.any_size
    if not isinstance(images, list | tuple):
        return _read(decoder, images, any_size)
    if not images:
        raise InputError(f"{decoder.feature.name}: no images. Received: an empty list")
    batches = [_read(decoder, image, any_size) for image in images]
    if not all(batch.single for batch in batches):
        raise InputError(
            f"{decoder.feature.name}: a list must contain single images [H, W, 3]. Received: "
            f"{next(batch.values.shape for batch in batches if not batch.single)}"
        )
    return _join([batch.values[0] for batch in batches])


def are_images(decoder: Decoder, values: Any) -> bool:
    """Returns whether values are images, rather than features of the decoder.

    Files and Pillow images are; so are arrays `[H, W, 3]` and `[B, H, W, 3]`, unless the feature
    has three channels itself; and lists of these.
    """
    if isinstance(values, list | tuple):
        return len(values) > 0 and all(are_images(decoder, value) for value in values)
    if isinstance(values, _FILES):
        return True
    shape = tuple(getattr(values, "shape", ()))
    return len(shape) in (3, 4) and shape[-1] == 3 and decoder.feature.spec.shape[-1] != 3


def read_features(decoder: Decoder, features: Any, any_size: bool) -> Batch:
    """Converts features to float32; see `Inverter.invert` for what is accepted.

    Args:
      decoder: the features are of its feature.
      features: an array, or a list of arrays.
      any_size: whether grids of other sizes than the feature's are accepted.

    Raises:
      InputError: they are not finite numbers, have the wrong shape or, if not `any_size`, several
        shapes.
    """
    if isinstance(features, list | tuple) and any_size and len(features):
        batches = [read_features(decoder, each, any_size) for each in features]
        if all(batch.single for batch in batches):
            return _join([batch.values[0] for batch in batches])
    name = decoder.feature.name
    network = decoder.any_size_network if any_size else decoder.network
    shape = tuple(network.input_shape[1:])
    try:
        values = np.asarray(features, np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"features of {name} must be numbers, and of one shape: {error}"
        ) from error
    single = values.ndim == len(shape)
    values = values[np.newaxis] if single else values
    if values.ndim != len(shape) + 1 or any(
        want is not None and want != have
        for want, have in zip(shape, values.shape[1:], strict=True)
    ):
        sides = ", ".join(str(side or "any") for side in shape)
        received = values.shape[1:] if single else values.shape
        raise InputError(
            f"features of {name} must have the shape [B, {sides}] or [{sides}]. Received: "
            f"{received}"
        )
    is_finite = np.isfinite(values).all(tuple(range(1, values.ndim)))
    if not is_finite.all():
        raise InputError(
            f"features of {name} must be finite. Received: NaN or infinite values in feature "
            f"{int(is_finite.argmin())} of {len(values)}"
        )
    return Batch(values, single)


def _join(arrays: list[np.ndarray]) -> Batch:
    shapes = {array.shape for array in arrays}
    return Batch(np.stack(arrays) if len(shapes) == 1 else arrays)


def _read(decoder: Decoder, images: Any, any_size: bool) -> Batch:
    """Reads one image, or a batch that is an array."""
    if isinstance(images, _FILES):
        images = read_photograph(images, None if any_size else decoder.feature.image_shape[:2])
    array = _to_array(images)
    single = array.ndim == 3
    batch = array[np.newaxis] if single else array
    if not _has_image_shape(decoder, batch, any_size):
        feature = decoder.feature
        height, width = feature.image_shape[:2]
        wanted = (
            f"[B, H, W, 3] or [H, W, 3] of at least {feature.cell_size}×{feature.cell_size} pixels"
            if any_size
            else f"[B, {height}, {width}, 3] or [{height}, {width}, 3], or files, which are "
            "cropped and resized"
        )
        received = array.shape if array.dtype.kind in "biuf" else type(images).__name__
        raise InputError(f"{feature.name} takes RGB images {wanted}. Received: {received}")
    check_images(batch, f"images of {decoder.feature.name}")
    return Batch(to_float(batch), single)


def _has_image_shape(decoder: Decoder, batch: np.ndarray, any_size: bool) -> bool:
    if batch.ndim != 4 or batch.shape[-1] != 3:
        return False
    if any_size:
        return min(batch.shape[1:3]) >= decoder.feature.cell_size
    return batch.shape[1:] == decoder.feature.image_shape


def _to_array(images: Any) -> np.ndarray:
    if not ops.is_tensor(images):
        return np.asarray(images)
    if keras.backend.standardize_dtype(images.dtype) == "bfloat16":  # which NumPy lacks
        images = ops.cast(images, "float32")
    return ops.convert_to_numpy(images)
