"""Any Python function as a Feature, through `tf.py_function`."""

import concurrent.futures
import functools
import os
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from tfinvert.errors import InputError
from tfinvert.features.base import Feature, ImageShape


@functools.cache
def _threads() -> concurrent.futures.ThreadPoolExecutor:
    # As many as TensorFlow is given where several processes share the cores (docs/bulk.md).
    count = int(os.environ.get("TF_NUM_INTRAOP_THREADS", 0)) or os.cpu_count()
    return concurrent.futures.ThreadPoolExecutor(count, "host-feature")


class HostFeature(Feature):
    """A Python function of one image, run on the host and held to a declared shape.

    It trains like any other feature: the function runs in the `tf.data` pipeline. It cannot be
    served, because a model server runs no Python.

    Args:
      function: takes one image, float32 `[H, W, 3]` in [0, 1], and returns an array of
        `feature_shape`. It need be neither differentiable nor, unless the class says so, thread
        safe.
      feature_shape: the shape of the feature of one image.
      name: how errors, run directories and saved inverters call it. To load a saved inverter that
        uses it, `tfinvert.features.register(name, factory)` first.
      image_shape: (height, width, 3) of the images it takes.

    Attributes:
      thread_safe: True in a subclass whose function may run in several threads at once, and lets
        go of Python's lock while it works; the images of a batch are then shared among the cores.

    Example:
      edges = HostFeature(skimage_edges, (64, 64, 1), name="edges", image_shape=(64, 64, 3))
    """

    in_graph = False
    differentiable = False
    thread_safe = False

    def __init__(
        self,
        function: Callable[[np.ndarray], np.ndarray],
        feature_shape: Sequence[int],
        *,
        name: str,
        image_shape: ImageShape = (64, 64, 3),
    ):
        super().__init__(image_shape)
        self.name = name
        self._function = function
        self._shape = tuple(int(side) for side in feature_shape)

    @property
    def spec(self) -> tf.TensorSpec:
        """The declared shape, float32."""
        return tf.TensorSpec(self._shape, tf.float32, name=self.name)

    def compute(self, images: tf.Tensor) -> tf.Tensor:
        """`[B, *image_shape]` becomes `[B, *spec.shape]`, one call of the function an image.

        Raises:
          InputError: the function returned something else than it declared (in a graph this
            arrives as `tf.errors.InvalidArgumentError` with the same text).
        """
        if tf.executing_eagerly():
            return tf.convert_to_tensor(self._batch(images))
        features = tf.py_function(self._batch, [images], tf.float32)
        return tf.ensure_shape(features, (images.shape[0], *self._shape))

    def _batch(self, images: tf.Tensor | np.ndarray) -> np.ndarray:
        features = np.empty((len(images), *self._shape), np.float32)
        spread = _threads().map if self.thread_safe else map
        for row, value in zip(features, spread(self._function, np.asarray(images)), strict=True):
            row[...] = self._checked(np.asarray(value))
        return features

    def _checked(self, value: np.ndarray) -> np.ndarray:
        if value.shape != self._shape:
            raise InputError(
                f"{self.name} declared features of shape {self._shape}. Received: {value.shape}"
            )
        if value.dtype.kind not in "fiub" or not np.isfinite(value).all():
            raise InputError(
                f"{self.name} must return finite real numbers. Received: {value.dtype} with "
                f"{'non-finite values' if value.dtype.kind == 'f' else 'other values'}"
            )
        return value
