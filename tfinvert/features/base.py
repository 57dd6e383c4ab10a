"""The contract of a representation Φ: photographs in, features out."""

import abc
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import keras
import tensorflow as tf

from tfinvert.errors import InputError

ImageShape = tuple[int, int, int]


def validate_image_shape(image_shape: Sequence[int]) -> ImageShape:
    """The shape of RGB images.

    Raises:
      InputError: it is not (height, width, 3).
    """
    shape = tuple(int(side) for side in image_shape)
    if len(shape) != 3 or shape[2] != 3 or min(shape) < 1:
        raise InputError(
            f"image_shape must be (height, width, 3) with positive sides. Received: {image_shape}"
        )
    return shape


class Stem(NamedTuple):
    """A feature in two parts, the first worth keeping on disk.

    Attributes:
      feature: the first part.
      rest: TensorFlow ops from `[B, *feature.spec.shape]` to the whole.
    """

    feature: "Feature"
    rest: Callable[[tf.Tensor], tf.Tensor]


class Feature(abc.ABC):
    """A representation of images: `[B, H, W, 3]` in [0, 1] becomes `[B, *spec.shape]`.

    A feature owns its facts: the input range, resizing, grey conversion, channel order, mean and
    how its values are best standardised. Callers hand over RGB images, float32 in [0, 1], NHWC.

    Attributes:
      name: the registered name, for example "hog".
      image_shape: (height, width, 3) of the images it takes.
      in_graph: True if it is made of TensorFlow ops alone, so that it can run on the device, inside
        the training step, and can be served; False if it runs Python on the host.
      differentiable: whether its derivative tells in which direction to change an image.
      xla: whether it is worth compiling with XLA.
      standardize: "channel" for one mean and scale for each entry of the last axis, "layer" for one
        scale for the whole feature.
      log_floor: for probabilities, whose logarithm is what is standardised, a number added to them
        first; 0 for other features.
      decoder: which family of inversion networks fits it; see `tfinvert.networks.inversion`.
      model: the Keras model that computes it, where one does.
      cell_size: for a feature on a grid that takes images of any size (see `at`), the pixels along
        a cell; 0 for one whose images all have `image_shape`.
      reach: of such a feature, cells from a cell beyond which no pixel counts for it; None where
        all do.
      portable: whether `get_config` makes it again wherever the package is installed; if not, a
        saved inverter carries the model.
      keras_layer: what makes a Keras layer of it, put here by `features/layer.py`: that layer needs
        the registered names, and the contract needs none.
    """

    name: str
    in_graph: bool = True
    differentiable: bool = True
    xla: bool = True
    standardize: Literal["channel", "layer"] = "channel"
    log_floor: float = 0.0
    decoder: str = "two_stream"
    model: keras.Model | None = None
    portable: bool = True
    cell_size: int = 0
    reach: int | None = None
    keras_layer: ClassVar[Callable[["Feature"], keras.layers.Layer]]

    def __init__(self, image_shape: ImageShape = (64, 64, 3)):
        self.image_shape: ImageShape = validate_image_shape(image_shape)

    @property
    @abc.abstractmethod
    def spec(self) -> tf.TensorSpec:
        """The feature of one image, without a batch axis."""

    @abc.abstractmethod
    def compute(self, images: tf.Tensor) -> tf.Tensor:
        """Φ itself: `[B, *image_shape]` float32 in [0, 1] becomes `[B, *spec.shape]` float32."""

    def __call__(self, images: Any) -> Any:
        """Checks and computes: `[B, *image_shape]` in [0, 1] becomes `[B, *spec.shape]`.

        Takes a tensor, an array or, to build a functional model, a symbolic Keras tensor.

        Raises:
          InputError: the images are not floating point, not of `image_shape` or, where that can
            be seen (eagerly), not finite.
        """
        if isinstance(images, keras.KerasTensor):
            return self.keras_layer(self)(images)
        images = tf.convert_to_tensor(images)
        if not images.dtype.is_floating:
            raise InputError(
                f"{self.name} takes floating point images in [0, 1]; divide uint8 images by 255. "
                f"Received: {images.dtype.name}"
            )
        if not images.shape.is_compatible_with((None, *self.image_shape)):
            raise InputError(
                f"{self.name} was made for images of shape [B, "
                f"{', '.join(map(str, self.image_shape))}]. Received: {images.shape}"
            )
        images = tf.ensure_shape(images, (None, *self.image_shape))  # where a pipeline forgot it
        if tf.executing_eagerly() and not tf.reduce_all(tf.math.is_finite(images)):
            raise InputError(
                f"{self.name} takes images in [0, 1]. Received: pixels that are NaN or infinite"
            )
        features = self.compute(tf.cast(images, tf.float32))
        return tf.ensure_shape(features, (None, *self.spec.shape))

    def at(self, size: Sequence[int]) -> "Feature":
        """The same feature of images of another (height, width).

        Raises:
          InputError: the feature takes images of one size, or not of that one.
        """
        if tuple(size) == self.image_shape[:2]:
            return self
        if not self.cell_size:
            raise InputError(
                f"{self.name} takes images of {self.image_shape[0]}×{self.image_shape[1]} pixels. "
                f"Received: {size[0]}×{size[1]}"
            )
        return self.from_config({**self.get_config(), "image_shape": [*size, 3]})

    def to_train(self) -> "Feature":
        """A copy with weights of its own, for an autoencoder.

        Raises:
          InputError: the feature has no weights.
        """
        raise InputError(
            f"{self.name} has no weights to train; autoencoders take a layer, as alexnet/fc6"
        )

    def stem(self) -> Stem:
        """What a cache keeps, shared by several features where they begin alike."""
        return Stem(self, tf.identity)

    def identity(self) -> Mapping[str, Any]:
        """What tells its values from another feature's, as JSON values."""
        return {"name": self.name, "config": self.get_config()}

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this feature again."""
        return {"image_shape": list(self.image_shape)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Feature":
        """The inverse of `get_config`."""
        return cls(**config)
