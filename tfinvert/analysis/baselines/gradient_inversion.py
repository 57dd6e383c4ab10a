"""Inversion by gradient descent on the pixels, after Mahendran & Vedaldi (CVPR 2015).

It searches for an image that has the given feature and looks natural: smooth, with pixels close to
mid-grey. This needs the derivative of the feature, and no training images.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from tfinvert.analysis.baselines.base import Baseline
from tfinvert.common.backend import Tensor, compile_function, input_gradient
from tfinvert.errors import InputError
from tfinvert.features.base import Feature

_NOISE_STD = 0.02  # of the grey noise from which a search starts
_MIN_ENERGY = 0.01  # lower bound of ‖φ‖² in the feature error, relative to ‖Φ(noise)‖²
_FINAL_RATE = 0.01  # relative to the first learning rate
# The derivative of HOG is discontinuous where an orientation changes its bin: with Adam's usual
# beta_1 of 0.9 the loss stays nearly twice as high.
_BETA_1, _BETA_2 = 0.5, 0.999
_TV_WEIGHT = 1.0
_LAYER_TV_WEIGHT = 25.0  # for a layer with as many values as the image


def default_tv_weight(feature: Feature) -> float:
    """The total-variation weight that gives good images from noise, chosen by the feature alone.

    It is 1 for hand-crafted features. For a layer of a network it is 25 times the number of values
    of the image over that of the layer: the fewer values, the more depends on the prior. For conv1
    to conv5, fc6 and fc8 of the compact AlexNet at 64 pixels this is within a factor of about three
    of whichever of 1, 3, 10, … 3 000 gives the lowest image error; with far smaller weights,
    colours and coarse shapes drown in high frequencies.
    """
    if feature.model is None:
        return _TV_WEIGHT
    return _LAYER_TV_WEIGHT * math.prod(feature.image_shape) / math.prod(feature.spec.shape)


class GradientInversion(Baseline):
    """Inversion by gradient descent on the pixels.

    For each image x in [0, 1] it minimises ‖Φ(x) - φ‖² / ‖φ‖² + tv_weight · TV + range_weight · R,
    where TV is the mean over pixels of (dx² + dy²)^(beta / 2), and R the mean over pixels of
    |2x - 1|⁶. A proximity_weight adds that multiple of the mean of (x - x₀)², where x₀ is the
    initial image: with x₀ from an inversion network this is the combination of both methods that
    Dosovitskiy & Brox 2016 leave to future work. Images are optimised in batches, independently of
    each other, by Adam on the pixels, which are clipped to [0, 1]; the learning rate decays
    geometrically to a hundredth.

    Args:
      feature: the representation, in operations with a derivative.
      steps: number of Adam steps, at least 1. The loss of HOG at 64 pixels falls from 0.46 to 0.037
        in 400 steps, and to 0.033 in 1 000.
      learning_rate: initial learning rate, in pixel values, above 0. Large ones find better images
        from noise, and lose a good initial image; 0.003 stays near it.
      tv_weight: weight of the total variation, at least 0. Layers of a network need more: see
        `default_tv_weight`.
      beta: exponent of the total variation, at least 1.
      range_weight: weight of the penalty on values far from mid-grey, at least 0.
      proximity_weight: weight of the squared distance from the initial image, at least 0.
      seed: random seed of the noise from which all images start.
      xla: whether XLA compiles the steps on TensorFlow; by default, if the feature supports it.
        Steps of HOG take nearly twice as long without.

    Raises:
      InputError: the feature has no useful derivative, or a number is out of range.
    """

    name = "gradient_inversion"

    def __init__(
        self,
        feature: Feature,
        *,
        steps: int = 1000,
        learning_rate: float = 0.2,
        tv_weight: float = _TV_WEIGHT,
        beta: float = 2.0,
        range_weight: float = 0.1,
        proximity_weight: float = 0.0,
        seed: int = 0,
        xla: bool | None = None,
    ):
        super().__init__(feature)
        if not feature.in_graph or not feature.differentiable:
            reason = (
                "is zero almost everywhere"
                if feature.in_graph
                else "is unknown, because it runs Python on the host"
            )
            raise InputError(
                f"{self.name} needs the derivative of the feature; choose another method. "
                f"Received: {feature.name}, whose derivative {reason}"
            )
        weights = (tv_weight, range_weight, proximity_weight)
        if steps < 1 or not learning_rate > 0 or beta < 1 or min(weights) < 0:
            raise InputError(
                f"{self.name} takes steps ≥ 1, learning_rate > 0, tv_weight ≥ 0, beta ≥ 1, "
                f"range_weight ≥ 0 and proximity_weight ≥ 0. Received: {steps}, {learning_rate}, "
                f"{tv_weight}, {beta}, {range_weight}, {proximity_weight}"
            )
        self.steps, self.learning_rate = int(steps), float(learning_rate)
        self.tv_weight, self.beta = float(tv_weight), float(beta)
        self.range_weight, self.proximity_weight = float(range_weight), float(proximity_weight)
        self.seed = int(seed)
        self._xla = feature.xla if xla is None else bool(xla)

    @functools.cached_property
    def _run(self) -> Callable[..., tuple[Tensor, Tensor]]:
        """`_optimize` as one graph for all batch sizes, since TensorFlow warns of retracing."""
        shapes = [(None, *self.feature.spec.shape), (None, *self.feature.image_shape)]
        variables = self.feature.model.variables if self.feature.model else ()
        return compile_function(self._optimize, shapes, variables, xla=self._xla)

    def invert(self, features: Any, initial: Any = None) -> np.ndarray:
        """Reconstructs images from features; see `Baseline.invert`.

        Args:
          features: `[B, *feature.spec.shape]`.
          initial: initial images, `[B, H, W, 3]`, floating point in [0, 1]; grey noise by default.

        Raises:
          InputError: the features or the initial images have another shape or are not finite.
        """
        return self.invert_with_error(features, initial)[0]

    def invert_with_error(
        self, features: Any, initial: Any = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Inverts features; also returns the final errors, ‖Φ(x̂) - φ‖² / ‖φ‖², float32 `[B]`."""
        features = self._check_features(features)
        images = self._check_initial(len(features), initial)
        found, errors = np.empty_like(images), np.empty(len(images), np.float32)
        for start in range(0, len(images), self._BATCH_SIZE):
            batch = slice(start, start + self._BATCH_SIZE)
            result = self._run(*map(ops.convert_to_tensor, (features[batch], images[batch])))
            found[batch], errors[batch] = map(np.asarray, result)
        return found, errors

    def initial_noise(self) -> np.ndarray:
        """The image from which a search starts by default: grey noise, float32 `[1, H, W, 3]`.

        It is the same for all images, so that none depends on its position in a batch.
        """
        rng = np.random.default_rng(self.seed)
        noise = rng.normal(0.5, _NOISE_STD, (1, *self.output_size, 1)).astype(np.float32)
        return np.repeat(noise, 3, -1)

    def _check_initial(self, count: int, initial: Any) -> np.ndarray:
        shape = (count, *self.feature.image_shape)
        if initial is None:
            return np.broadcast_to(self.initial_noise(), shape)
        initial = np.asarray(initial)
        if initial.shape != shape or initial.dtype.kind != "f" or not np.isfinite(initial).all():
            raise InputError(
                f"{self.name} takes finite floating-point initial images of shape {shape} for "
                f"{count} features. Received: {initial.dtype} {initial.shape}"
            )
        return np.clip(initial, 0.0, 1.0).astype(np.float32, copy=False)

    def _optimize(self, features: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
        """(images, feature errors) after all steps, from initial images."""
        axes = tuple(range(1, len(features.shape)))
        noise = self.feature(self.initial_noise())
        minimum = _MIN_ENERGY * ops.sum(ops.square(noise)) + 1e-12
        energy = ops.maximum(ops.sum(ops.square(features), axes), minimum)
        initial = images

        def feature_error(images: Tensor) -> Tensor:
            return ops.sum(ops.square(self.feature(images) - features), axes) / energy

        def loss(images: Tensor) -> Tensor:
            distance = ops.mean(ops.square(images - initial), (1, 2, 3))
            proximity = self.proximity_weight * distance
            return ops.sum(feature_error(images) + self._prior(images) + proximity)

        def descend(
            step: Tensor, state: tuple[Tensor, Tensor, Tensor]
        ) -> tuple[Tensor, Tensor, Tensor]:
            images, mean, squares = state
            step, gradient = ops.cast(step, "float32"), input_gradient(loss, images)
            mean = _BETA_1 * mean + (1.0 - _BETA_1) * gradient
            squares = _BETA_2 * squares + (1.0 - _BETA_2) * ops.square(gradient)
            deviation = ops.sqrt(squares / (1.0 - ops.power(_BETA_2, step))) + 1e-12
            rate = self.learning_rate * ops.power(_FINAL_RATE, (step - 1.0) / self.steps)
            images = images - rate * mean / (1.0 - ops.power(_BETA_1, step)) / deviation
            return ops.clip(images, 0.0, 1.0), mean, squares

        start = images, ops.zeros_like(images), ops.zeros_like(images)
        images = ops.fori_loop(1, self.steps + 1, descend, start)[0]
        return images, feature_error(images)

    def _prior(self, images: Tensor) -> Tensor:
        """Weighted total variation and range penalty of each image: `[B, H, W, 3]` → `[B]`."""
        down = ops.concatenate([images[:, 1:], images[:, -1:]], 1) - images
        right = ops.concatenate([images[:, :, 1:], images[:, :, -1:]], 2) - images
        # The offset avoids the infinite derivative of a root at zero.
        variation = ops.power(down * down + right * right + 1e-8, self.beta / 2.0)
        penalty = ops.power(2.0 * images - 1.0, 6.0)
        return ops.mean(self.tv_weight * variation + self.range_weight * penalty, (1, 2, 3))
