"""Keras optimisers by `--optimizer` value, including Muon, and their learning-rate schedule."""

import math
from collections.abc import Sequence
from typing import Any, Protocol

import keras
from keras import ops

from tfinvert.common.backend import BACKEND, Tensor, trace_once

MUON_MOMENTUM = 0.95
UPDATE_RMS = 0.2  # of a Muon update, in units of the learning rate: about that of an Adam update
MAX_MUON_SIDE = 1024  # largest smaller side of a matrix that Muon orthogonalises
_NEWTON_SCHULZ_STEPS, _NEWTON_SCHULZ_COEFFICIENTS = 5, (3.4445, -4.7750, 2.0315)
_OUTPUT_LAYERS = ("image/", "spread/")  # path prefixes of the output layers' variables


class ScheduleSettings(Protocol):
    """Settings that define the learning-rate schedule."""

    steps: int
    learning_rate: float
    warmup_steps: int


class OptimizerSettings(ScheduleSettings, Protocol):
    """Settings of an optimiser with decoupled weight decay, a multiple of the learning rate."""

    weight_decay: float


def learning_rate_schedule(
    settings: ScheduleSettings,
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Returns a linear warm-up followed by a cosine decay to 0 at the last step."""
    warmup = min(settings.warmup_steps, settings.steps // 5)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=settings.learning_rate / 100,
        decay_steps=max(settings.steps - warmup, 1),
        warmup_target=settings.learning_rate,
        warmup_steps=warmup,
    )


class Muon(keras.optimizers.AdamW):
    """Muon for convolutional networks: orthogonalised momentum for kernels, AdamW for the rest.

    Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks". Updates are
    scaled as in Liu et al. 2025, "Muon is scalable for LLM training", section 2.2, so that learning
    rates and weight decays tuned for Adam apply. The kernel of a convolution is reshaped to a
    matrix of shape [window × input channels, output channels].

    AdamW updates biases and other vectors, the output layers (image and uncertainty), and kernels
    whose smaller side exceeds 1024, such as those of large fully connected layers, for which the
    Newton-Schulz iterations would be slow. `keras.optimizers.Muon` supports 2-D kernels only.

    Args:
      learning_rate: a number or a schedule.
      adam_lr_ratio: multiplier of the learning rate of AdamW's variables, not of their decay.
      max_side: the largest smaller side of a kernel with Muon.
      **kwargs: arguments of `keras.optimizers.AdamW`, such as `weight_decay`.
    """

    def __init__(
        self,
        learning_rate: Any = 1e-3,
        *,
        adam_lr_ratio: float = 1.0,
        max_side: int = MAX_MUON_SIDE,
        **kwargs: Any,
    ):
        super().__init__(learning_rate, **kwargs)
        self.adam_lr_ratio, self.max_side = adam_lr_ratio, max_side

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        own = {"adam_lr_ratio": self.adam_lr_ratio, "max_side": self.max_side}
        return super().get_config() | own

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Creates a momentum per variable and, for AdamW's variables, a second moment."""
        if self.built:
            return
        # Not AdamW's own build, which would create both for all variables.
        keras.optimizers.Optimizer.build(self, variables)
        self._momentums = [self.add_variable_from_reference(v, "momentum") for v in variables]
        self._velocities = [
            None
            if uses_muon(v.path, v.shape, self.max_side)
            else self.add_variable_from_reference(v, "velocity")
            for v in variables
        ]

    def update_step(self, gradient: Any, variable: keras.Variable, learning_rate: Any) -> None:
        """Updates one variable."""
        if self._has_velocity(variable):
            super().update_step(gradient, variable, self.adam_lr_ratio * learning_rate)
        else:
            matrix = self._accumulate(gradient, variable)
            self._descend(variable, orthogonalize(matrix), learning_rate)

    def _backend_update_step(
        self,
        grads: Sequence[Tensor],
        trainable_variables: Sequence[keras.Variable],
        learning_rate: Any,
    ) -> None:
        """Updates all variables; on JAX, kernels of one shape together, as a GPU is faster then."""
        if BACKEND == "jax":
            others, alike = [], {}
            for gradient, variable in zip(grads, trainable_variables, strict=True):
                if self._has_velocity(variable):
                    others.append((gradient, variable))
                else:
                    matrix = self._accumulate(gradient, variable)
                    alike.setdefault(matrix.shape, []).append((variable, matrix))
            for kernels in alike.values():
                matrices = ops.stack([matrix for _, matrix in kernels])
                directions = ops.vectorized_map(orthogonalize, matrices)
                for (variable, _), direction in zip(kernels, directions, strict=True):
                    self._descend(variable, direction, learning_rate)
            grads, trainable_variables = zip(*others, strict=True) if others else ((), ())
        super()._backend_update_step(grads, trainable_variables, learning_rate)

    def _has_velocity(self, variable: keras.Variable) -> bool:
        """Returns whether AdamW updates a variable."""
        return self._velocities[self._get_variable_index(variable)] is not None

    def _accumulate(self, gradient: Tensor, variable: keras.Variable) -> Tensor:
        """Updates a kernel's momentum; returns Nesterov's gradient as a matrix."""
        momentum = self._momentums[self._get_variable_index(variable)]
        gradient = ops.cast(gradient, variable.dtype)
        accumulated = gradient + MUON_MOMENTUM * momentum
        self.assign(momentum, accumulated)
        return ops.reshape(gradient + MUON_MOMENTUM * accumulated, (-1, variable.shape[-1]))

    def _descend(self, variable: keras.Variable, direction: Tensor, learning_rate: Any) -> None:
        """Moves a kernel against an orthogonalised matrix."""
        rate = ops.cast(learning_rate, variable.dtype)
        scale = UPDATE_RMS * math.sqrt(max(direction.shape))
        self.assign_sub(variable, ops.reshape(rate * scale * direction, variable.shape))


def uses_muon(path: str, shape: Sequence[int], max_side: int = MAX_MUON_SIDE) -> bool:
    """Returns whether a variable of this path and shape gets Muon's updates, not AdamW's."""
    if len(shape) < 2 or path.startswith(_OUTPUT_LAYERS):
        return False
    return min(math.prod(shape[:-1]), shape[-1]) <= max_side


@trace_once
def orthogonalize(matrix: Tensor) -> Tensor:
    """Approximates the nearest matrix with orthonormal rows or columns.

    Five quintic Newton-Schulz iterations map most singular values into [0.7, 1.2]; those far below
    the largest stay smaller.

    Args:
      matrix: `[m, n]`.

    Returns:
      `[m, n]`.
    """
    a, b, c = _NEWTON_SCHULZ_COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    wide = ops.transpose(matrix) if tall else matrix
    wide = wide / (ops.sqrt(ops.sum(ops.square(wide))) + 1e-7)
    for _ in range(_NEWTON_SCHULZ_STEPS):
        gram = ops.matmul(wide, ops.transpose(wide))
        wide = a * wide + ops.matmul(b * gram + c * ops.matmul(gram, gram), wide)
    return ops.transpose(wide) if tall else wide


def make_adam(settings: ScheduleSettings) -> keras.optimizers.Optimizer:
    """Creates the paper's optimiser: Adam with β₁ = 0.9 and β₂ = 0.999."""
    return keras.optimizers.Adam(learning_rate_schedule(settings))


def make_adamw(settings: OptimizerSettings) -> keras.optimizers.Optimizer:
    """Creates AdamW (Loshchilov & Hutter 2019), which also decays biases."""
    rate = learning_rate_schedule(settings)
    return keras.optimizers.AdamW(rate, weight_decay=settings.weight_decay)


def make_muon(settings: OptimizerSettings) -> keras.optimizers.Optimizer:
    """Creates `Muon`, whose decoupled weight decay also applies to biases."""
    return Muon(learning_rate_schedule(settings), weight_decay=settings.weight_decay)
