"""Images and features as users give them, converted to checked arrays."""

import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from keras import ops
from PIL import Image

from tfinvert.common.files import user_path
from tfinvert.data.cropping import crop_and_resize
from tfinvert.data.decode import pillow_to_rgb, read_rgb
from tfinvert.errors import InputError
from tfinvert.inverter.decoder import Decoder

_TOLERANCE = 0.01  # beyond [0, 1]; the rounding errors of 16-bit floats are smaller


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


def read_images(decoder: Decoder, images: Any) -> Batch:
    """Converts images to float32 in [0, 1]; see `Inverter.encode` for what is accepted.

    Raises:
      InputError: a file cannot be read; the images have the wrong shape or type, or a pixel is
        outside [0, 1], NaN or infinite.
    """
    if not isinstance(images, list | tuple):
        return _read(decoder, images)
    if not images:
        raise InputError(f"{decoder.feature.name}: no images. Received: an empty list")
    batches = [_read(decoder, image) for image in images]
    if not all(batch.single for batch in batches):
        raise InputError(
            f"{decoder.feature.name}: a list must contain single images [H, W, 3]. Received: "
            f"{next(batch.values.shape for batch in batches if not batch.single)}"
        )
    return _join([batch.values[0] for batch in batches])


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


def read_features(decoder: Decoder, features: Any, any_size: bool) -> Batch:
    """Converts features to float32; see `Inverter.invert` for what is accepted.

    Args:
      decoder: the features are of its feature.
      features: an array, or a list of arrays.
      any_size: whether grids of other sizes than the feature's are accepted.

    Raises:
      InputError: they are not numbers, have the wrong shape or, if not `any_size`, several shapes.
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
    except ValueError as error:
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
    return Batch(values, single)


def _join(arrays: list[np.ndarray]) -> Batch:
    shapes = {array.shape for array in arrays}
    return Batch(np.stack(arrays) if len(shapes) == 1 else arrays)


def _read(decoder: Decoder, images: Any) -> Batch:
    """Reads one image, or a batch that is an array."""
    if isinstance(images, str | os.PathLike | Image.Image):
        size = None if decoder.any_size else decoder.feature.image_shape[:2]
        images = read_photograph(images, size)
    array = ops.convert_to_numpy(images) if ops.is_tensor(images) else np.asarray(images)
    single = array.ndim == 3
    batch = array[np.newaxis] if single else array
    if not _has_image_shape(decoder, batch):
        feature = decoder.feature
        height, width = feature.image_shape[:2]
        wanted = (
            f"[B, H, W, 3] or [H, W, 3] of at least {feature.cell_size}×{feature.cell_size} pixels"
            if decoder.any_size
            else f"[B, {height}, {width}, 3] or [{height}, {width}, 3], or files, which are "
            "cropped and resized"
        )
        received = array.shape if array.dtype.kind in "biuf" else type(images).__name__
        raise InputError(f"{feature.name} takes RGB images {wanted}. Received: {received}")
    return Batch(_to_float(decoder, batch), single)


def _has_image_shape(decoder: Decoder, batch: np.ndarray) -> bool:
    if batch.ndim != 4 or batch.shape[-1] != 3:
        return False
    if decoder.any_size:
        return min(batch.shape[1:3]) >= decoder.feature.cell_size
    return batch.shape[1:] == decoder.feature.image_shape


def _to_float(decoder: Decoder, images: np.ndarray) -> np.ndarray:
    if images.dtype == np.uint8:
        return images / np.float32(255)
    rule = f"{decoder.feature.name} takes images that are uint8, or floating point in [0, 1]"
    if images.dtype.kind != "f":
        raise InputError(f"{rule}. Received: {images.dtype}")
    if images.size:
        low, high = images.min(), images.max()
        if not np.isfinite(low + high):
            raise InputError(f"{rule}. Received: pixels that are NaN or infinite")
        if low < -_TOLERANCE or high > 1 + _TOLERANCE:
            raise InputError(
                f"{rule}; divide 8-bit values by 255, or clip. Received: values from {low:.4g} to "
                f"{high:.4g}"
            )
    return images.astype(np.float32, copy=False)
