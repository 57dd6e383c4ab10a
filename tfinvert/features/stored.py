"""Features that were computed elsewhere, such as the embeddings of a model behind an API."""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from tfinvert.errors import InputError
from tfinvert.features.base import Feature, FeatureSpec, ImageShape

_FAMILY = "stored"


class StoredFeature(Feature):
    """A feature without a function that computes it: training and inversion take its values.

    Its name is `stored/SHAPE`, for example "stored/384" or "stored/7x7x512". An inverter of it
    inverts features, and is saved and loaded as any other; it can neither encode nor reconstruct
    images.

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

    @property
    def spec(self) -> FeatureSpec:
        """See `Feature.spec`."""
        return FeatureSpec(self._shape)

    def compute(self, images: Any) -> NoReturn:
        """Raises an error, as there is no function.

        Raises:
          InputError: always.
        """
        raise InputError(
            f"the feature {self.name} was computed elsewhere and cannot be computed from images; "
            f"call invert with features [B, {', '.join(map(str, self._shape))}]. Received: "
            f"{math.prod(images.shape[:1])} images"
        )


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
