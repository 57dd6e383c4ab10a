"""What stands between a gradient and the weights: clipping, spikes, and float16's loss scale."""

import math

import tensorflow as tf

_RATE = 0.02  # of the running mean of the norm: it remembers some fifty steps
_FIRST_SCALE, _GROW_AFTER = 2.0**15, 2000


class GradientClipper(tf.Module):
    """Bounds the gradient's norm, also by what is usual, and leaves out what is not finite.

    A norm may be at most `clip_norm`, and at most `spike` times its running mean: a batch or a
    rounding that makes one gradient far larger than those before cannot throw Adam off its way,
    since the step it gets is one of the usual size. In that mean a larger norm counts as the
    bound, so that it follows when norms stay large. A gradient that is not finite counts as zero.

    With `scaled`, losses are multiplied by a scale before the gradient is taken, so that small
    gradients are numbers in float16 too: it is halved when a gradient is not finite and doubled
    after 2 000 steps without.

    Its variables are part of a checkpoint; made in a strategy's scope, updated outside of replicas.

    Attributes:
      typical: the running mean of the norm; 0 before the first step.
      held_back: gradients so far that were a spike, or not finite.
      scale: what losses are multiplied by.
    """

    def __init__(self, clip_norm: float = math.inf, spike: float = math.inf, scaled: bool = False):
        super().__init__()
        self._clip_norm, self._spike, self._scaled = clip_norm, spike, scaled
        self.needed = scaled or min(clip_norm, spike) < math.inf
        self.typical = tf.Variable(0.0, trainable=False)
        self.held_back = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.scale = tf.Variable(_FIRST_SCALE if scaled else 1.0, trainable=False)
        self._good = tf.Variable(0, dtype=tf.int64, trainable=False)

    def factor(self, norm: tf.Tensor) -> tf.Tensor:
        """What to multiply a gradient of that norm with; 0 where it is not finite."""
        factor = tf.minimum(1.0, tf.minimum(self._clip_norm, self._usual()) / norm)
        return tf.where(tf.math.is_finite(norm), factor, 0.0)

    def update(self, norm: tf.Tensor) -> None:
        """Takes a step's norm into account; after the step."""
        finite, usual = tf.math.is_finite(norm), self._usual()
        self.held_back.assign_add(tf.cast(tf.logical_or(~finite, norm > usual), tf.int64))
        seen = tf.where(finite, tf.minimum(norm, usual), self.typical)
        rate = tf.where(self.typical > 0, _RATE, 1.0)
        if self._scaled:
            good = tf.where(finite, self._good + 1, 0)
            grow = tf.logical_and(finite, good >= _GROW_AFTER)
            changed = tf.where(finite, tf.where(grow, 2.0, 1.0), 0.5)
            self.scale.assign(tf.maximum(self.scale * changed, 1.0))
            self._good.assign(tf.where(grow, tf.zeros_like(good), good))
        self.typical.assign_add(rate * (seen - self.typical))

    def notes(self) -> dict[str, float]:
        """For the history: how many gradients were held back so far, if any."""
        count = int(self.held_back.numpy())
        return {"held_back": count} if count else {}

    def _usual(self) -> tf.Tensor:
        """The largest norm that is no spike; none is before the first step."""
        return tf.where(self.typical > 0, self._spike * self.typical, math.inf)
