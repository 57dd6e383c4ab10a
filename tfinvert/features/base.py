"""The interface of a representation Φ: images in, features out."""

import abc
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import keras
import numpy as np
from keras import ops
from PIL import Image

from tfinvert.common import backend
from tfinvert.common.backend import Tensor
from tfinvert.common.images import check_images, to_float
from tfinvert.config.registry import FEATURE_TOOLS
from tfinvert.errors import InputError

ImageShape = tuple[int, int, int]


def validate_image_shape(image_shape: Sequence[int]) -> ImageShape:
    """Returns the shape of RGB images as a tuple of integers.

    Raises:
      InputError: `image_shape` is not (height, width, 3) with positive sides.
    """
    shape = tuple(int(side) for side in image_shape)
    if len(shape) != 3 or shape[2] != 3 or min(shape) < 1:
        raise InputError(
            f"image_shape must be (height, width, 3) with positive sides. Received: {image_shape}"
        )
    return shape


class FeatureSpec(NamedTuple):
    """The shape and dtype of the feature of one image, without a batch axis."""

    shape: tuple[int, ...]
    dtype: str = "float32"


class Stem(NamedTuple):
    """A feature split in two, the first part being the one worth caching on disk.

    Attributes:
      feature: the first part.
      tail: operations from `[B, *feature.spec.shape]` to the whole feature.
    """

    feature: "Feature"
    tail: Callable[[Tensor], Tensor]


class Feature(abc.ABC):
    """A representation of images: maps `[B, H, W, 3]` in [0, 1] to `[B, *spec.shape]`.

    A feature implements its own input range, resizing, conversion to grey, channel order and mean
    subtraction, and declares how its values are best standardised. Callers pass RGB images,
    float32 in [0, 1], NHWC.

    Attributes:
      name: the registered name, for example "hog".
      image_shape: (height, width, 3) of the input images.
      in_graph: True if the feature consists of the backend's operations only, so that it runs on
        the device, inside the training step, and can be served; False if it runs Python on the
        host.
      differentiable: whether its gradient is useful for optimising an image.
      xla: whether compiling it with XLA pays off.
      standardize: "channel" for a mean and scale per entry of the last axis, "layer" for a single
        mean and scale for the whole feature.
      parts: the lengths of joined layers along the last axis, each of which has its own mean and
        scale if `standardize` is "layer"; empty for a single layer.
      log_floor: for probabilities, which are standardised in their logarithm, the constant added
        before taking it; 0 for other features.
      decoder: the family of inversion networks that suits it; see `tfinvert.networks.inversion`.
      model: the Keras model that computes it, if there is one.
      cell_size: pixels per cell side, for a grid feature that accepts images of any size (see
        `at`); 0 for a feature restricted to `image_shape`.
      receptive_field_radius: for such a grid feature, the distance in cells beyond which a pixel
        has no influence on a cell; None if every pixel may influence every cell.
      portable: whether `get_config` suffices to rebuild the feature wherever the package is
        installed; if False, a saved inverter includes the model.
      keras_layer: the class of the Keras layer that wraps a feature. Set by
        `features/keras_layer.py`, because that layer depends on the registry and this module
        does not.
    """

    name: str
    in_graph: bool = True
    differentiable: bool = True
    xla: bool = True
    standardize: Literal["channel", "layer"] = "channel"
    parts: tuple[int, ...] = ()
    log_floor: float = 0.0
    decoder: str = "two_stream"
    model: keras.Model | None = None
    portable: bool = True
    cell_size: int = 0
    receptive_field_radius: int | None = None
    keras_layer: ClassVar[Callable[["Feature"], keras.layers.Layer]]

    def __init__(self, image_shape: ImageShape = (64, 64, 3)):
        self.image_shape: ImageShape = validate_image_shape(image_shape)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "reach" in vars(cls):  # the attribute's name up to version 0.3
            warnings.warn(
                f"{cls.__name__}.reach is now called receptive_field_radius",
                DeprecationWarning,
                stacklevel=2,
            )
            cls.receptive_field_radius = vars(cls)["reach"]

    @property
    @abc.abstractmethod
    def spec(self) -> FeatureSpec:
        """The shape and dtype of the feature of one image; a `tf.TensorSpec` is accepted too."""

    @abc.abstractmethod
    def compute(self, images: Tensor) -> Tensor:
        """Computes Φ: `[B, *image_shape]` float32 in [0, 1] to `[B, *spec.shape]` float32."""

    def __call__(self, images: Any) -> Any:
        """Validates the images and computes the feature.

        Args:
          images: `[B, *image_shape]` or one image `image_shape`, uint8 or floating point in [0, 1]:
            an array, a tensor or, to build a functional model, a symbolic Keras tensor with a batch
            axis; the path of a JPEG or PNG file or a Pillow image, which are cropped centrally and
            resized; or a list of single images.

        Returns:
          `[B, *spec.shape]` float32, a tensor of the Keras backend; `[*spec.shape]` for one image.

        Raises:
          InputError: a file cannot be read; the images have another type, are not of `image_shape`
            or, unless a function is being compiled, have values outside [0, 1], see
            `common.images.OVERSHOOT`.
        """
        if isinstance(images, keras.KerasTensor):
            return self.keras_layer(self)(images)
        with backend.default_settings:
            images = self._to_tensor(images)
            single = not backend.is_traced(images) and len(images.shape) == 3
            features = self._compute_checked(images[None] if single else images)
            return features[0] if single else features

    def _to_tensor(self, images: Any) -> Tensor:
        """Converts images to a float32 tensor of their own shape."""
        if isinstance(images, list | tuple):
            arrays = [self._to_array(image) for image in images]
            shapes = {array.shape for array in arrays}
            if len(shapes) != 1:
                raise InputError(
                    f"a list for {self.name} must contain images of one shape. Received: "
                    f"{', '.join(map(str, shapes)) or 'an empty list'}"
                )
            return ops.convert_to_tensor(np.stack(arrays))
        if not ops.is_tensor(images):
            return ops.convert_to_tensor(self._to_array(images))
        subject, dtype = f"images of {self.name}", keras.backend.standardize_dtype(images.dtype)
        if dtype == "uint8":
            return ops.cast(images, "float32") / 255.0
        if not keras.backend.is_float_dtype(dtype):
            raise InputError(
                f"{subject} must be uint8, or floating point in [0, 1]. Received: {dtype}"
            )
        images = ops.cast(images, "float32")
        if not backend.is_traced(images):
            check_images(ops.convert_to_numpy(images), subject)
        return images

    def _to_array(self, images: Any) -> np.ndarray:
        if isinstance(images, str | os.PathLike | Image.Image):
            return FEATURE_TOOLS["read_photograph"](images, self.image_shape[:2])
        images = np.asarray(images)
        check_images(images, f"images of {self.name}")
        return to_float(images)

    def _compute_checked(self, images: Tensor) -> Tensor:
        """Computes the feature of a batch, after checking its shape."""
        if not backend.fits_shape(images, (None, *self.image_shape)):
            raise InputError(
                f"{self.name} was built for images of shape [B, "
                f"{', '.join(map(str, self.image_shape))}]. Received: {images.shape}"
            )
        # Restores the static shape that a tf.data pipeline may have lost.
        images = backend.ensure_shape(images, (None, *self.image_shape))
        features = self.compute(images)
        return backend.ensure_shape(features, (None, *self.spec.shape))

    def at(self, size: Sequence[int]) -> "Feature":
        """Returns the feature for images of another (height, width).

        Raises:
          InputError: the feature is restricted to one image size, or does not support this one.
        """
        if tuple(size) == self.image_shape[:2]:
            return self
        if not self.cell_size:
            raise InputError(
                f"{self.name} takes images of {self.image_shape[0]}×{self.image_shape[1]} pixels. "
                f"Received: {size[0]}×{size[1]}"
            )
        return self.from_config({**self.get_config(), "image_shape": [*size, 3]})

    def trainable_copy(self) -> "Feature":
        """Returns a copy with its own trainable weights, for training an autoencoder.

        Raises:
          InputError: the feature has no weights.
        """
        raise InputError(
            f"{self.name} has no weights to train; an autoencoder needs a network layer such as "
            "alexnet/fc6"
        )

    def stem(self) -> Stem:
        """Splits off the part to cache; features with the same stem share one cache."""
        return Stem(self, lambda features: features)

    def identity(self) -> Mapping[str, Any]:
        """Returns JSON values that differ whenever the feature's values differ: a cache key."""
        return {"name": self.name, "config": self.get_config()}

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor arguments that rebuild this feature, as JSON values."""
        return {"image_shape": list(self.image_shape)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Feature":
        """Rebuilds a feature from `get_config`."""
        return cls(**config)
