"""Features that were computed elsewhere, such as the embeddings of a model behind an API."""

import copy
import hashlib
import math
import re
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from keras import ops

from tfinvert.common.backend import Tensor
from tfinvert.errors import InputError
from tfinvert.features.base import Feature, FeatureSpec, ImageShape

_FAMILY = "stored"


class Rows(Protocol):
    """Features that are read by row."""

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Returns float32 `[n, *shape]` for int `[n]`."""


class StoredFeature(Feature):
    """A feature without a function that computes it: training and inversion take its values.

    Its name is `stored/SHAPE`, for example "stored/384" or "stored/7x7x512". An inverter of it
    inverts features, and is saved and loaded as any other. It encodes and reconstructs only images
    whose features it was given, see `remember`.

    Args:
      feature_shape: (n,) of a vector, or (rows, columns, channels) of a grid.
      image_shape: (height, width, 3) of the images that have the feature.

    Raises:
      InputError: a shape is of another form.
    """

    in_graph = False
    differentiable = False

    def __init__(self, feature_shape: Sequence[int], image_shape: ImageShape = (64, 64, 3)):
        super().__init__(image_shape)
        shape = tuple(feature_shape)
        if len(shape) not in (1, 3) or not all(isinstance(n, int) and n > 0 for n in shape):
            raise InputError(
                "feature_shape must be (n,) of a vector or (rows, columns, channels) of a grid. "
                f"Received: {feature_shape}"
            )
        self.name = f"{_FAMILY}/{'x'.join(map(str, shape))}"
        self.decoder = "fully_connected" if len(shape) == 1 else "convolutional"
        self._shape = shape
        self._known: dict[bytes, tuple[Rows, int]] = {}

    @property
    def spec(self) -> FeatureSpec:
        """See `Feature.spec`."""
        return FeatureSpec(self._shape)

    def remember(self, images: np.ndarray, features: Rows, rows: np.ndarray) -> "StoredFeature":
        """Returns a copy that has the features of these images as well.

        Of equal images, the last one counts. A saved inverter does not contain features.

        Args:
          images: `[n, *image_shape]` float32 in [0, 1]; `compute` takes exactly these values.
          features: features by row, which are read when they are needed.
          rows: the row of each image, int `[n]`.
        """
        feature = copy.copy(self)
        found = {
            _digest(image): (features, int(row)) for image, row in zip(images, rows, strict=True)
        }
        feature._known = found | self._known
        return feature

    def compute(self, images: Tensor) -> Tensor:
        """Looks features up: `[B, *image_shape]` to `[B, *feature_shape]`.

        Raises:
          InputError: the feature of an image is unknown.
        """
        if not self._known:
            raise InputError(
                f"the feature {self.name} was computed elsewhere and cannot be computed from "
                f"images; call invert with features [B, {', '.join(map(str, self._shape))}]. "
                f"Received: {math.prod(images.shape[:1])} images"
            )
        found = [self._known.get(_digest(x)) for x in ops.convert_to_numpy(images)]
        if None in found:
            raise InputError(
                f"the feature {self.name} was computed elsewhere, for photographs in a file, and "
                f"cannot be computed from other images. Received: {found.count(None)} other images"
            )
        values = [features[np.array([row])] for features, row in found]
        return ops.convert_to_tensor(np.concatenate(values))


def _digest(image: np.ndarray) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(image, np.float32), digest_size=16).digest()


def find_stored(family: str) -> Callable[..., Feature] | None:
    """Returns the factory of `stored/SHAPE`, for `features.registry.register_finder`."""
    return _from_shape if family == _FAMILY else None


def _from_shape(shape: str, image_shape: ImageShape = (64, 64, 3)) -> StoredFeature:
    if not re.fullmatch(r"\d+(x\d+x\d+)?", shape):
        raise InputError(
            f"{_FAMILY}/SHAPE needs a shape such as {_FAMILY}/384 or {_FAMILY}/7x7x512. "
            f"Received: {_FAMILY}/{shape}"
        )
    return StoredFeature([int(side) for side in shape.split("x")], image_shape)
