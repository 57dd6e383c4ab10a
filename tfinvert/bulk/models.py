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

_SIGNATURE, _IMAGES, _RECONSTRUCTION = "serving_default", "images", "reconstruction"
_BATCH = 64


@dataclasses.dataclass(frozen=True)
class Reconstructor:
    """Images → reconstructions.

    Attributes:
      size: (height, width) of the images it takes.
      output_size: of what it gives.
      reconstruct: `[B, *size, 3]` float32 in [0, 1] becomes `[B, *output_size, 3]`.
    """

    size: Size
    output_size: Size
    reconstruct: Callable[[np.ndarray], np.ndarray]


def load_reconstructor(path: str, side: int | None = None) -> Reconstructor:
    """An inverter's directory, a shipped inverter's name or a SavedModel with `serving_default`.

    Args:
      path: which.
      side: of the square images, for a model for any size; by default what an inverter was trained
        on.

    Raises:
      InputError: it is none of these, is damaged, or takes no images, or none of that size.
    """
    if not tf.saved_model.contains_saved_model(path):
        loaded = inverter.load(path)
        loaded = loaded.at((side, side)) if side else loaded
        return Reconstructor(
            tuple(loaded.feature.image_shape[:2]), loaded.output_size, loaded.reconstruct
        )
    try:
        model = tf.saved_model.load(path)
    except Exception as error:  # of many kinds, for a damaged one
        raise InputError(f"{path} cannot be loaded: {first_line(error)}") from error
    signature = model.signatures.get(_SIGNATURE)
    takes = signature.structured_input_signature[1] if signature else {}
    if {*takes} != {_IMAGES} or _RECONSTRUCTION not in signature.structured_outputs:
        raise InputError(
            f"{path} has no endpoint {_SIGNATURE} from {_IMAGES} to {_RECONSTRUCTION}; give the "
            "inverter that it was exported from"
        )

    size = _size(path, takes[_IMAGES].shape[1:3], side)
    made = signature.structured_outputs[_RECONSTRUCTION].shape[1:3]

    def reconstruct(images: np.ndarray) -> np.ndarray:
        _ = model  # the signature alone does not keep its variables
        return signature(**{_IMAGES: tf.constant(images)})[_RECONSTRUCTION].numpy()

    return Reconstructor(size, size if None in [*made] else tuple(made), reconstruct)


def _size(path: str, taken: tf.TensorShape, side: int | None) -> Size:
    """What images a SavedModel is given."""
    any_size = None in [*taken]
    if any_size and not side:
        raise InputError(f"{path} takes images of any size; say which with image_size")
    if side and not taken.is_compatible_with((side, side)):
        raise InputError(f"{path} takes images of {taken[0]}×{taken[1]}. Received: {side}×{side}")
    return (side, side) if any_size else tuple(taken)


class ReconstructionHandler(ModelHandler[np.ndarray, PredictionResult, Reconstructor]):
    """Images `[*size, 3]` → their reconstructions, in batches of at most 64.

    Args:
      path: of the model, as `load_reconstructor` takes it.
      side: of the images, likewise.
    """

    def __init__(self, path: str, side: int | None = None):
        super().__init__(min_batch_size=8, max_batch_size=_BATCH)
        self._path, self._side = path, side

    def load_model(self) -> Reconstructor:
        """Once a process."""
        return load_reconstructor(self._path, self._side)

    def run_inference(
        self,
        batch: Sequence[np.ndarray],
        model: Reconstructor,
        inference_args: dict[str, Any] | None = None,
    ) -> Iterable[PredictionResult]:
        """A batch of images → results whose `inference` is `[*output_size, 3]`."""
        for image, rebuilt in zip(batch, model.reconstruct(np.stack(batch)), strict=True):
            yield PredictionResult(image, rebuilt)

    def get_num_bytes(self, batch: Sequence[np.ndarray]) -> int:
        """Of the images."""
        return sum(image.nbytes for image in batch)
