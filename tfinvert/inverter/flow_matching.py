"""Flow matching: samples images around a reconstruction by moving noise along a velocity field.

Lipman et al. 2023, "Flow Matching for Generative Modeling", with straight paths from noise at time
0 to data at time 1. Many paths cross at a point; a network learns their mean direction, the
velocity, and integrating it from noise samples an image. The data are residuals, image minus
reconstruction, divided by their standard deviation over many images, so that both ends of a path
have a variance of about 1.
"""

import dataclasses
from collections.abc import Callable, Sequence

import keras
import numpy as np
from keras import ops

from tfinvert.common.backend import Tensor

Velocity = Callable[[Tensor, Tensor], Tensor]  # (state `[B, H, W, 3]`, time `[B, 1]`)

DEFAULT_STEPS = 8


@dataclasses.dataclass(frozen=True)
class FlowSampler:
    """A trained velocity network, which samples images around a reconstruction.

    Attributes:
      network: a model as built by `networks.velocity.build`.
      residual_std: root mean square over many images of image minus reconstruction.
    """

    network: keras.Model
    residual_std: float

    def sample(self, mean: Tensor, features: Tensor, noise: Tensor, steps: int | Tensor) -> Tensor:
        """Samples images: `[B, H, W, 3]` in [0, 1].

        Args:
          mean: reconstructions, `[B, H, W, 3]`.
          features: standardised features, `[B, *feature.spec.shape]`.
          noise: standard normal noise, `[B, H, W, 3]`.
          steps: number of integration steps, see `integrate_heun`.
        """

        def velocity(state: Tensor, time: Tensor) -> Tensor:
            return self.network([state, time, mean, features], training=False)

        residual = integrate_heun(velocity, noise, steps)
        return ops.clip(mean + self.residual_std * residual, 0.0, 1.0)


def interpolant(noise: Tensor, residual: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
    """Point on the straight path from noise to a residual at a time, and the path's velocity.

    Args:
      noise: `[B, H, W, 3]`.
      residual: `[B, H, W, 3]`.
      time: `[B, 1]` in [0, 1].

    Returns:
      Two tensors `[B, H, W, 3]`.
    """
    time = time[:, :, None, None]
    return (1.0 - time) * noise + time * residual, residual - noise


def integrate_heun(velocity: Velocity, noise: Tensor, steps: int | Tensor) -> Tensor:
    """Integrates a velocity field from time 0 to 1 with Heun's method.

    Each step follows the mean of the velocity at its beginning and at the end of Euler's step, and
    so evaluates the velocity twice.

    Args:
      velocity: velocity of states at times.
      noise: `[B, H, W, 3]`, the states at time 0.
      steps: number of steps of equal size.

    Returns:
      `[B, H, W, 3]`, the states at time 1.
    """
    size = 1.0 / ops.cast(steps, "float32")

    def velocity_at(state: Tensor, step: Tensor) -> Tensor:
        time = ops.cast(step, "float32") * size
        return velocity(state, ops.full((ops.shape(state)[0], 1), time))

    def advance(step: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        first = velocity_at(state, step)
        second = velocity_at(state + size * first, step + 1)
        return step + 1, state + 0.5 * size * (first + second)

    start = ops.convert_to_tensor(0, "int32"), ops.convert_to_tensor(noise)
    return ops.while_loop(lambda step, _: step < steps, advance, start)[1]


def seeded_noise(seeds: Sequence[int], shape: Sequence[int]) -> np.ndarray:
    """Standard normal float32 noise, determined by non-negative integers."""
    return np.random.default_rng([*seeds]).standard_normal(shape, np.float32)
