"""Flow matching: noise is carried to what an image has beyond the mean of those with its feature.

Lipman et al. 2023, "Flow Matching for Generative Modeling", with straight lines between noise at
time 0 and data at time 1. Many lines cross; a network learns their mean direction, the velocity,
and to follow it from noise on draws an image. The data are residuals: image less the inverter's
image, divided by their deviation over many images, so that both ends have about the variance 1.
"""

import dataclasses
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

Velocity = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]  # of states at times `[B, 1]`

DEFAULT_STEPS = 8


@dataclasses.dataclass(frozen=True)
class FlowSampler:
    """What draws images around an inverter's.

    Attributes:
      network: a model as of `networks.velocity.build`.
      deviation: of images from the inverter's, root mean square over many.
    """

    network: keras.Model
    deviation: float

    def draw(
        self, mean: tf.Tensor, features: tf.Tensor, noise: tf.Tensor, steps: int | tf.Tensor
    ) -> tf.Tensor:
        """Images in a graph: `[B, H, W, 3]` in [0, 1].

        Args:
          mean: the inverter's images, `[B, H, W, 3]`.
          features: standardised, `[B, *feature.spec.shape]`.
          noise: of variance 1, `[B, H, W, 3]`.
          steps: of the integration, see `integrate_heun`.
        """

        def velocity(state: tf.Tensor, time: tf.Tensor) -> tf.Tensor:
            return self.network([state, time, mean, features], training=False)

        residual = integrate_heun(velocity, noise, steps)
        return tf.clip_by_value(mean + self.deviation * residual, 0.0, 1.0)


def interpolant(
    noise: tf.Tensor, residual: tf.Tensor, time: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Where the straight line from noise to a residual is at a time, and its direction.

    Two of `[B, H, W, 3]` and `[B, 1]` become two of `[B, H, W, 3]`.
    """
    time = time[:, :, tf.newaxis, tf.newaxis]
    return (1.0 - time) * noise + time * residual, residual - noise


def integrate_heun(velocity: Velocity, noise: tf.Tensor, steps: int | tf.Tensor) -> tf.Tensor:
    """Noise `[B, H, W, 3]` carried along a velocity from time 0 to 1 by so many steps of Heun's.

    Each goes by the mean of the velocity where it begins and where Euler's step would end, so it
    asks for two.
    """
    size = 1.0 / tf.cast(steps, tf.float32)

    def at(state: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        time = tf.cast(step, tf.float32) * size
        return velocity(state, tf.fill((tf.shape(state)[0], 1), time))

    def advance(step: tf.Tensor, state: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        first = at(state, step)
        second = at(state + size * first, step + 1)
        return step + 1, state + 0.5 * size * (first + second)

    start = tf.constant(0), tf.convert_to_tensor(noise)
    return tf.while_loop(lambda step, _: step < steps, advance, start)[1]


def seeded_noise(keys: Sequence[int], shape: Sequence[int]) -> np.ndarray:
    """What a drawing begins with: float32 of variance 1, fixed by whole numbers from 0 on."""
    return np.random.default_rng([*keys]).standard_normal(shape, np.float32)
