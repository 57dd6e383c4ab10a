"""Python functions as features, run on the host."""

import concurrent.futures
import functools
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tfinvert.common import backend
from tfinvert.common.backend import Tensor
from tfinvert.errors import InputError
from tfinvert.features.base import Feature, FeatureSpec, ImageShape


def num_threads() -> int:
    """Returns the number of threads that compute features on the host.

    TF_NUM_INTRAOP_THREADS limits them where processes share the cores (docs/bulk.md).
    """
    return int(os.environ.get("TF_NUM_INTRAOP_THREADS", 0)) or os.cpu_count() or 1


@functools.cache
def _thread_pool() -> concurrent.futures.ThreadPoolExecutor:
    return concurrent.futures.ThreadPoolExecutor(num_threads(), "host-feature")


class HostFeature(Feature):
    """A Python function of images, run on the host, whose output shape is declared and checked.

    It trains like any other feature: the function runs in the `tf.data` pipeline. It cannot be
    served, because a model server runs no Python.

    Args:
      function: maps one image, float32 `[H, W, 3]` in [0, 1], to an array of `feature_shape` or, if
        `batched`, several `[B, H, W, 3]` to `[B, *feature_shape]`. It need not be differentiable
        and, unless `thread_safe` is set, need not be thread safe.
      feature_shape: the shape of the feature of one image.
      name: the name used in error messages, run directories and saved inverters. To load a saved
        inverter that uses it, call `tfinvert.features.register(name, factory)` first.
      image_shape: (height, width, 3) of the input images.
      batched: whether the function is called once for all images of a batch.

    Attributes:
      thread_safe: True in a subclass whose function may run in several threads at once and
        releases the GIL while it computes; the images of a batch are then processed in parallel.

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
        batched: bool = False,
    ):
        super().__init__(image_shape)
        self.name = name
        self.batched = batched
        self._function = function
        self._shape = tuple(int(side) for side in feature_shape)

    @property
    def spec(self) -> FeatureSpec:
        """The declared shape, float32."""
        return FeatureSpec(self._shape)

    def compute(self, images: Tensor) -> Tensor:
        """Calls the function, unless `batched` once per image.

        Args:
          images: `[B, *image_shape]`.

        Returns:
          `[B, *spec.shape]`.

        Raises:
          InputError: the function returned another shape or type than declared (in compiled
            functions and in `tf.data` this becomes an error of the backend with the same text).
        """
        shape = (images.shape[0], *self._shape)
        return backend.call_on_host(self._compute_batch, images, shape)

    def _compute_batch(self, images: np.ndarray) -> np.ndarray:
        if self.batched:
            return self._validate(self._function(images), (len(images), *self._shape))
        features = np.empty((len(images), *self._shape), np.float32)
        map_images = _thread_pool().map if self.thread_safe else map
        values = map_images(self._function, images)
        for row, value in zip(features, values, strict=True):
            row[...] = self._validate(value, self._shape)
        return features

    def _validate(self, value: Any, shape: tuple[int, ...]) -> np.ndarray:
        """Returns a value of the function as float32, after checking it."""
        value = np.asarray(value)
        if value.shape != shape:
            raise InputError(
                f"{self.name} must return the declared shape {shape}. Received: {value.shape}"
            )
        real = value.dtype.kind in "fiub"
        with np.errstate(over="ignore"):
            result = value.astype(np.float32, copy=False) if real else value
        if not real or not np.isfinite(result).all():
            raise InputError(
                f"{self.name} must return finite real numbers. Received: {value.dtype} with "
                f"{'non-finite values' if value.dtype.kind == 'f' else 'other values'}"
            )
        return result
