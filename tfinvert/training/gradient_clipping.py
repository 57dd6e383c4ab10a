"""Gradient clipping, spike suppression and float16 loss scaling."""

import math
from typing import Any

import keras
from keras import ops

from tfinvert.common.backend import Tensor

_MEAN_NORM_RATE = 0.02  # of the running mean of the norm: a memory of about fifty steps
_INITIAL_SCALE, _GROWTH_INTERVAL = 2.0**15, 2000


class GradientClipper:
    """Bounds the global norm of the gradient and discards gradients that are not finite.

    The norm is limited to `clip_norm` and to `spike_threshold` times its running mean. The second
    limit keeps one abnormal batch or rounding error from derailing Adam, since the resulting step
    has the usual size. Norms above the limit enter the running mean as the limit, so that the mean
    follows a lasting increase. A gradient that is not finite becomes zero.

    With `loss_scaling`, losses are multiplied by a dynamic scale before differentiation, so that
    small gradients do not underflow in float16. The scale is halved after a gradient that is not
    finite and doubled after 2000 finite ones.

    Create it in a strategy's scope; call `update` outside of the replicas.

    Args:
      clip_norm: largest global norm; inf disables the limit.
      spike_threshold: largest global norm as a multiple of its running mean; inf disables it.
      loss_scaling: whether to scale losses, for float16.

    Attributes:
      enabled: whether there is anything to do.
      mean_norm: running mean of the norm, float32 `[]`; 0 before the first step.
      num_suppressed: number of gradients so far that were spikes or not finite, integer `[]`.
      scale: multiplier of the losses, float32 `[]`.
    """

    def __init__(
        self,
        clip_norm: float = math.inf,
        spike_threshold: float = math.inf,
        loss_scaling: bool = False,
    ):
        self._clip_norm, self._spike_threshold = clip_norm, spike_threshold
        self._loss_scaling = loss_scaling
        self.enabled = loss_scaling or min(clip_norm, spike_threshold) < math.inf
        self.mean_norm = keras.Variable(0.0, dtype="float32", trainable=False)
        self.num_suppressed = keras.Variable(0, dtype="int", trainable=False)
        scale = _INITIAL_SCALE if loss_scaling else 1.0
        self.scale = keras.Variable(scale, dtype="float32", trainable=False)
        self._finite_steps = keras.Variable(0, dtype="int", trainable=False)

    @property
    def trackables(self) -> dict[str, Any]:
        """Variables by their key in checkpoints."""
        return {
            "typical": self.mean_norm,
            "held_back": self.num_suppressed,
            "scale": self.scale,
            "_good": self._finite_steps,
        }

    def factor(self, norm: Tensor) -> Tensor:
        """Returns the factor that clips a gradient of this norm; 0 if it is not finite."""
        factor = ops.minimum(1.0, ops.minimum(self._clip_norm, self._spike_limit()) / norm)
        return ops.where(ops.isfinite(norm), factor, 0.0)

    def update(self, norm: Tensor) -> None:
        """Updates running mean, counter and loss scale with the norm of a step."""
        finite, limit, mean = ops.isfinite(norm), self._spike_limit(), self.mean_norm.value
        suppressed = ops.logical_or(ops.logical_not(finite), norm > limit)
        self.num_suppressed.assign_add(ops.cast(suppressed, self.num_suppressed.dtype))
        limited = ops.where(finite, ops.minimum(norm, limit), mean)
        rate = ops.where(mean > 0, _MEAN_NORM_RATE, 1.0)
        if self._loss_scaling:
            count = ops.where(finite, self._finite_steps.value + 1, 0)
            grow = ops.logical_and(finite, count >= _GROWTH_INTERVAL)
            change = ops.where(finite, ops.where(grow, 2.0, 1.0), 0.5)
            self.scale.assign(ops.maximum(self.scale.value * change, 1.0))
            self._finite_steps.assign(ops.where(grow, 0, count))
        self.mean_norm.assign_add(rate * (limited - mean))

    def log_values(self) -> dict[str, float]:
        """Returns the number of suppressed gradients for the history, if there were any."""
        count = int(self.num_suppressed.numpy())
        return {"held_back": count} if count else {}

    def _spike_limit(self) -> Tensor:
        """The largest norm that is not a spike; infinite before the first step."""
        mean = self.mean_norm.value
        return ops.where(mean > 0, self._spike_threshold * mean, math.inf)
