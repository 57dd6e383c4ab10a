"""Inversion by gradient descent on the pixels, after Mahendran & Vedaldi (CVPR 2015).

An image is sought whose feature is the given one and that looks natural: smooth, and of pixels
not far from mid-grey. That takes the feature's derivative, and no examples.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfinvert.analysis.baselines.base import Baseline
from tfinvert.errors import InputError
from tfinvert.features.base import Feature

_NOISE = 0.02  # standard deviation of the grey noise an image starts from
_NEGLIGIBLE = 0.01  # of the noise's ‖Φ‖²: a feature of less counts as one of so much
_LAST_RATE = 0.01  # of the first learning rate
# HOG's derivative jumps where an orientation changes its bin: with Adam's usual momentum of 0.9 the
# loss stays nearly twice as high.
_MOMENTUM, _SQUARES = 0.5, 0.999
_SMOOTHNESS = 1.0
_LAYER_SMOOTHNESS = 25.0  # where a layer has as many values as the image


def default_smoothness(feature: Feature) -> float:
    """A weight of the variation that gives good images from noise, by the feature alone.

    1 for hand-crafted features. For a network's layer 25 times the image's values over the layer's:
    the fewer there are, the more is left to the prior. With conv1 to conv5, fc6 and fc8 of the
    compact AlexNet at 64 pixels, that of 1, 3, 10, … 3 000 which gives the lowest image error is
    at most a factor of about three away; with much less, colours and coarse shapes drown in high
    frequencies.
    """
    if feature.model is None:
        return _SMOOTHNESS
    return _LAYER_SMOOTHNESS * math.prod(feature.image_shape) / math.prod(feature.spec.shape)


class GradientInversion(Baseline):
    """Minimises ‖Φ(x) - φ‖² / ‖φ‖² + smoothness · variation + containment · range for each image.

    Variation is the mean over pixels of (dx² + dy²)^(beta / 2), range that of |2x - 1|⁶, for x in
    [0, 1]. A nearness adds that multiple of the mean of (x - x₀)², x₀ being the image that a search
    starts from: with an inversion network's x₀ this is the combination of both methods which
    Dosovitskiy & Brox 2016 leave to future work. Images are sought together and do not influence
    each other. The method is Adam on the pixels, which are kept in [0, 1], with a learning rate
    that falls geometrically to a hundredth.

    Args:
      feature: what is inverted: TensorFlow ops with a derivative.
      steps: of Adam. The loss of HOG at 64 pixels comes down from 0.46 to 0.037 in 400, and to
        0.033 in 1 000.
      learning_rate: of the first step, in units of the pixels. Large ones find better images from
        noise, and lose a good initial image, which 0.003 stays near.
      smoothness: weight of the variation; layers of a network want more: see `default_smoothness`.
      beta: its exponent, at least 1.
      containment: weight of the range.
      nearness: weight of the squared distance from the initial image.
      seed: of the noise that every image starts from.
      xla: whether XLA compiles the steps, of which HOG's take nearly twice as long without; by
        default what the feature says.

    Raises:
      InputError: the feature has no derivative to follow, or a number is out of its range.
    """

    name = "gradient_inversion"

    def __init__(
        self,
        feature: Feature,
        *,
        steps: int = 1000,
        learning_rate: float = 0.2,
        smoothness: float = _SMOOTHNESS,
        beta: float = 2.0,
        containment: float = 0.1,
        nearness: float = 0.0,
        seed: int = 0,
        xla: bool | None = None,
    ):
        super().__init__(feature)
        if not feature.in_graph or not feature.differentiable:
            reason = (
                "is zero wherever it exists"
                if feature.in_graph
                else "is unknown, as it runs Python on the host"
            )
            raise InputError(
                f"{self.name} follows the derivative of a feature; that of {feature.name} {reason}"
            )
        weights = (smoothness, containment, nearness)
        if steps < 1 or not learning_rate > 0 or beta < 1 or min(weights) < 0:
            raise InputError(
                f"{self.name} takes steps ≥ 1, learning_rate > 0, smoothness ≥ 0, beta ≥ 1, "
                f"containment ≥ 0 and nearness ≥ 0. Received: {steps}, {learning_rate}, "
                f"{smoothness}, {beta}, {containment}, {nearness}"
            )
        self.steps, self.learning_rate = int(steps), float(learning_rate)
        self.smoothness, self.beta = float(smoothness), float(beta)
        self.containment, self.nearness = float(containment), float(nearness)
        self.seed = int(seed)
        self._xla = feature.xla if xla is None else bool(xla)

    @functools.cached_property
    def _descend(self) -> Callable[..., tuple[tf.Tensor, tf.Tensor]]:
        """`_descent` in a graph: one for any batch, since TensorFlow warns of many."""
        shapes = self.feature.spec.shape, self.feature.image_shape
        specs = [tf.TensorSpec((None, *shape), tf.float32) for shape in shapes]
        return tf.function(self._descent, jit_compile=self._xla).get_concrete_function(*specs)

    def invert(self, features: Any, initial: Any = None) -> np.ndarray:
        """As `Baseline.invert`, from initial images `[B, H, W, 3]` in [0, 1], or from grey noise.

        Raises:
          InputError: the features or the initial images are of another shape or not finite.
        """
        return self.invert_with_error(features, initial)[0]

    def invert_with_error(
        self, features: Any, initial: Any = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `invert`; beside the images, the ‖Φ(x̂) - φ‖² / ‖φ‖² they end with, float32 `[B]`."""
        features = self._checked(features)
        images = self._initial(len(features), initial)
        found, errors = np.empty_like(images), np.empty(len(images), np.float32)
        for begin in range(0, len(images), self._BATCH):
            part = slice(begin, begin + self._BATCH)
            found[part], errors[part] = self._descend(features[part], images[part])
        return found, errors

    def _noise(self) -> np.ndarray:
        """`[1, H, W, 3]`, the same for all images, so that none depends on its place in a batch."""
        rng = np.random.default_rng(self.seed)
        noise = rng.normal(0.5, _NOISE, (1, *self.output_size, 1)).astype(np.float32)
        return np.repeat(noise, 3, -1)

    def _initial(self, count: int, initial: Any) -> np.ndarray:
        shape = (count, *self.feature.image_shape)
        if initial is None:
            return np.broadcast_to(self._noise(), shape)
        initial = np.asarray(initial)
        if initial.shape != shape or initial.dtype.kind != "f" or not np.isfinite(initial).all():
            raise InputError(
                f"{self.name} starts {count} features from finite floating point images of shape "
                f"{shape}. Received: {initial.dtype} {initial.shape}"
            )
        return np.clip(initial, 0.0, 1.0).astype(np.float32, copy=False)

    def _descent(self, features: tf.Tensor, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """(images, their feature errors) after all steps, from initial images."""
        axes = list(range(1, len(features.shape)))
        least = _NEGLIGIBLE * tf.reduce_sum(tf.square(self.feature(self._noise()))) + 1e-12
        energy = tf.maximum(tf.reduce_sum(tf.square(features), axes), least)

        def feature_error(images: tf.Tensor) -> tf.Tensor:
            return tf.reduce_sum(tf.square(self.feature(images) - features), axes) / energy

        initial = images
        mean, squares = tf.zeros_like(images), tf.zeros_like(images)
        for step in tf.range(1.0, self.steps + 1.0):
            with tf.GradientTape() as tape:
                tape.watch(images)
                near = self.nearness * tf.reduce_mean(tf.square(images - initial), (1, 2, 3))
                loss = feature_error(images) + self._prior(images) + near
            gradient = tape.gradient(loss, images)
            mean = _MOMENTUM * mean + (1.0 - _MOMENTUM) * gradient
            squares = _SQUARES * squares + (1.0 - _SQUARES) * tf.square(gradient)
            deviation = tf.sqrt(squares / (1.0 - tf.pow(_SQUARES, step))) + 1e-12
            rate = self.learning_rate * tf.pow(_LAST_RATE, (step - 1.0) / self.steps)
            images -= rate * mean / (1.0 - tf.pow(_MOMENTUM, step)) / deviation
            images = tf.clip_by_value(images, 0.0, 1.0)
        return images, feature_error(images)

    def _prior(self, images: tf.Tensor) -> tf.Tensor:
        """Weighted variation and range of each image: `[B, H, W, 3]` becomes `[B]`."""
        down = tf.concat([images[:, 1:], images[:, -1:]], 1) - images
        right = tf.concat([images[:, :, 1:], images[:, :, -1:]], 2) - images
        # Kept off zero, where a root has no derivative.
        variation = tf.pow(down * down + right * right + 1e-8, self.beta / 2.0)
        values = tf.pow(2.0 * images - 1.0, 6.0)
        return tf.reduce_mean(self.smoothness * variation + self.containment * values, (1, 2, 3))
