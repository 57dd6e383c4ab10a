"""`tfinvert.training.optimizers.Muon` on lists of arrays; batches kernels of one shape."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from tfinvert.training.optimizers import (
    MAX_MUON_SIDE,
    MUON_MOMENTUM,
    UPDATE_RMS,
    orthogonalize,
    uses_muon,
)

_FIRST, _SECOND, _EPSILON = 0.9, 0.999, 1e-7
_CLIP_NORM = 1.0

Arrays = list[jax.Array]


class Moments(NamedTuple):
    """First and second moments of the gradients; the second is unused for kernels."""

    first: Arrays
    second: Arrays


def clipped(gradients: Arrays) -> Arrays:
    """Clips the global norm of gradients to 1; returns zeros if it is not finite."""
    norm = jnp.sqrt(sum(jnp.sum(jnp.square(gradient)) for gradient in gradients))
    finite = jnp.isfinite(norm)
    factor = jnp.where(finite, jnp.minimum(1.0, _CLIP_NORM / norm), 0.0)
    return [jnp.where(finite, gradient, 0.0) * factor for gradient in gradients]


def adams(
    gradient: jax.Array,
    first: jax.Array,
    second: jax.Array,
    step: jax.Array,
    epsilon: float = _EPSILON,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns Adam's direction and its two moments after a step, counted from 1."""
    first = _FIRST * first + (1 - _FIRST) * gradient
    second = _SECOND * second + (1 - _SECOND) * jnp.square(gradient)
    mean, square = first / (1 - _FIRST**step), second / (1 - _SECOND**step)
    return mean / (jnp.sqrt(square) + epsilon), first, second


def update(
    paths: Sequence[str],
    parameters: Arrays,
    gradients: Arrays,
    moments: Moments,
    step: jax.Array,
    rate: jax.Array,
    decay: float,
    adam: float = 1.0,
    largest: int = MAX_MUON_SIDE,
) -> tuple[Arrays, Moments]:
    """Returns parameters and moments after a step.

    Args:
      paths: paths of the parameters, which with their shapes select Muon or AdamW.
      parameters: current parameters.
      gradients: gradients of the loss.
      moments: current moments.
      step: number of the step, counted from 1.
      rate: learning rate.
      decay: decoupled weight decay, a multiple of the learning rate.
      adam: multiplier of the learning rate for parameters with AdamW.
      largest: largest smaller side of a kernel with Muon.
    """
    kept = [parameter * (1 - rate * decay) for parameter in parameters]
    first, second = list(moments.first), list(moments.second)
    alike: dict[tuple[int, ...], list[tuple[int, jax.Array]]] = {}
    for i, gradient in enumerate(gradients):
        if uses_muon(paths[i], gradient.shape, largest):
            first[i] = gradient + MUON_MOMENTUM * first[i]
            matrix = (gradient + MUON_MOMENTUM * first[i]).reshape(-1, gradient.shape[-1])
            alike.setdefault(matrix.shape, []).append((i, matrix))
            continue
        direction, first[i], second[i] = adams(gradient, first[i], second[i], step)
        kept[i] -= adam * rate * direction
    for shape, kernels in alike.items():
        moved = jax.vmap(orthogonalize)(jnp.stack([matrix for _, matrix in kernels]))
        for (i, _), direction in zip(kernels, moved, strict=True):
            kept[i] -= rate * UPDATE_RMS * math.sqrt(max(shape)) * direction.reshape(kept[i].shape)
    return kept, Moments(first, second)
