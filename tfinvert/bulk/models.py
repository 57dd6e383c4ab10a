"""Inverters and exported models for Beam's RunInference."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from apache_beam.ml.inference.base import ModelHandler, PredictionResult

from tfinvert import inverter
from tfinvert.data.augmentation import Size
from tfinvert.errors import InputError, first_line

_ENDPOINT, _INPUT, _OUTPUT = "serving_default", "images", "reconstruction"
_MIN_BATCH_SIZE, _MAX_BATCH_SIZE = 8, 64


@dataclasses.dataclass(frozen=True)
class Reconstructor:
    """A function from images to reconstructions, with their sizes.

    Attributes:
      size: (height, width) of the images.
      output_size: (height, width) of the reconstructions.
      reconstruct: `[B, *size, 3]` float32 in [0, 1] becomes `[B, *output_size, 3]`.
    """

    size: Size
    output_size: Size
    reconstruct: Callable[[np.ndarray], np.ndarray]


def load_reconstructor(path: str, side: int | None = None) -> Reconstructor:
    """Loads an inverter or an exported model.

    Args:
      path: the directory of an inverter, the name of a shipped inverter, or a SavedModel with the
        endpoint `serving_default`.
      side: side of the square images, for a model that accepts any size; an inverter defaults to
        the size that it was trained at.

    Raises:
      InputError: `path` is none of these, is damaged, or does not accept images of that size.
    """
    if not tf.saved_model.contains_saved_model(path):
        loaded = inverter.load(path)
        loaded = loaded.at((side, side)) if side else loaded
        return Reconstructor(
            tuple(loaded.feature.image_shape[:2]), loaded.output_size, loaded.reconstruct
        )
    try:
        model = tf.saved_model.load(path)
    except Exception as error:  # TensorFlow raises many types for a damaged model
        raise InputError(f"{path} cannot be loaded: {first_line(error)}") from error
    signature = model.signatures.get(_ENDPOINT)
    inputs = signature.structured_input_signature[1] if signature else {}
    if {*inputs} != {_INPUT} or _OUTPUT not in signature.structured_outputs:
        raise InputError(
            f"{path} has no endpoint {_ENDPOINT} from {_INPUT} to {_OUTPUT}; use the inverter that "
            "it was exported from"
        )
    size = _choose_size(path, inputs[_INPUT].shape[1:3], side)
    output_size = signature.structured_outputs[_OUTPUT].shape[1:3]

    def reconstruct(images: np.ndarray) -> np.ndarray:
        _ = model  # a signature does not keep its variables alive
        return signature(**{_INPUT: tf.constant(images)})[_OUTPUT].numpy()

    return Reconstructor(size, size if None in [*output_size] else tuple(output_size), reconstruct)


def _choose_size(path: str, accepted: tf.TensorShape, side: int | None) -> Size:
    """Returns the (height, width) of the images that a SavedModel is given."""
    any_size = None in [*accepted]
    if any_size and not side:
        raise InputError(f"{path} accepts images of any size; choose one with --image_size")
    if side and not accepted.is_compatible_with((side, side)):
        raise InputError(
            f"{path} accepts images of {accepted[0]}×{accepted[1]} pixels only. Received: "
            f"--image_size={side}"
        )
    return (side, side) if any_size else tuple(accepted)


class ReconstructionHandler(ModelHandler[np.ndarray, PredictionResult, Reconstructor]):
    """Reconstructs images `[*size, 3]` in batches.

    Args:
      path: the model, as `load_reconstructor` accepts it.
      side: side of the images, as `load_reconstructor` accepts it.
    """

    def __init__(self, path: str, side: int | None = None):
        super().__init__(min_batch_size=_MIN_BATCH_SIZE, max_batch_size=_MAX_BATCH_SIZE)
        self._path, self._side = path, side

    def load_model(self) -> Reconstructor:
        """Loads the model, once per process."""
        return load_reconstructor(self._path, self._side)

    def run_inference(
        self,
        batch: Sequence[np.ndarray],
        model: Reconstructor,
        inference_args: dict[str, Any] | None = None,
    ) -> Iterable[PredictionResult]:
        """Yields for each image a result whose `inference` is `[*output_size, 3]`."""
        reconstructions = model.reconstruct(np.stack(batch))
        for image, reconstruction in zip(batch, reconstructions, strict=True):
            yield PredictionResult(image, reconstruction)

    def get_num_bytes(self, batch: Sequence[np.ndarray]) -> int:
        """Returns the size of the images in bytes."""
        return sum(image.nbytes for image in batch)
