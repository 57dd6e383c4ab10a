"""`--optimizer` values → Keras optimisers, and the learning rate they all follow."""

import math
from collections.abc import Sequence
from typing import Any, Protocol

import keras
import tensorflow as tf
from keras import ops

MUON_MOMENTUM = 0.95
_ITERATIONS, _COEFFICIENTS = 5, (3.4445, -4.7750, 2.0315)
UPDATE_RMS = 0.2  # of an update, in learning rates: about what Adam's is
_LAST = ("image/", "spread/")  # the layers that give something, and no maps
MAX_MUON_SIDE = 1024  # rows or columns, whichever are fewer, of what is made orthogonal


class Muon(keras.optimizers.AdamW):
    """Kernels move by their gradient's momentum with all singular values made about equal.

    Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks", scaled as by Liu
    et al. 2025, "Muon is scalable for LLM training", section 2.2, so that Adam's learning rates and
    decays serve. A convolution's kernel counts as the matrix from its window to its channels. What
    is no kernel, the layers that give the image and its spread, and kernels of more than 1024 rows
    and columns, as in fully connected layers, on which the iterations would take long, get AdamW.
    `keras.optimizers.Muon` is for matrices alone.
    """

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Makes a momentum for each variable, and Adam's second moment for what is no kernel."""
        if self.built:
            return
        keras.optimizers.Optimizer.build(self, variables)  # Adam's own would make both for all
        self._momentums = [self.add_variable_from_reference(v, "momentum") for v in variables]
        self._velocities = [
            None if uses_muon(v.path, v.shape) else self.add_variable_from_reference(v, "velocity")
            for v in variables
        ]

    def update_step(self, gradient: Any, variable: keras.Variable, learning_rate: Any) -> None:
        """Moves one variable."""
        index = self._get_variable_index(variable)
        if self._velocities[index] is not None:
            super().update_step(gradient, variable, learning_rate)
            return
        momentum = self._momentums[index]
        rate = ops.cast(learning_rate, variable.dtype)
        gradient = ops.cast(gradient, variable.dtype)
        moved = gradient + MUON_MOMENTUM * momentum
        self.assign(momentum, moved)
        matrix = ops.reshape(gradient + MUON_MOMENTUM * moved, (-1, variable.shape[-1]))
        scale = UPDATE_RMS * math.sqrt(max(matrix.shape))
        self.assign_sub(variable, ops.reshape(rate * scale * orthogonalize(matrix), variable.shape))


def uses_muon(path: str, shape: Sequence[int], largest: int = MAX_MUON_SIDE) -> bool:
    """Whether a variable, by its path and shape, gets orthogonal updates."""
    if len(shape) < 2 or path.startswith(_LAST):
        return False
    return min(math.prod(shape[:-1]), shape[-1]) <= largest


@tf.function(autograph=False)  # so that kernels of one shape are traced once
def orthogonalize(matrix: tf.Tensor) -> tf.Tensor:
    """Nearly the nearest matrix with orthonormal rows or columns: singular values of 0.7 to 1.2.

    By Newton-Schulz iterations of the fifth degree; singular values far below the largest stay
    below that.
    """
    a, b, c = _COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    wide = tf.transpose(matrix) if tall else matrix
    wide /= tf.norm(wide) + 1e-7
    for _ in range(_ITERATIONS):
        square = tf.matmul(wide, wide, transpose_b=True)
        wide = a * wide + tf.matmul(b * square + c * tf.matmul(square, square), wide)
    return tf.transpose(wide) if tall else wide


class ScheduleSettings(Protocol):
    """The settings that say how the learning rate goes."""

    steps: int
    learning_rate: float
    warmup_steps: int


class OptimizerSettings(ScheduleSettings, Protocol):
    """And how strongly weights are drawn to 0, as a multiple of the rate."""

    weight_decay: float


def learning_rate_schedule(
    settings: ScheduleSettings,
) -> keras.optimizers.schedules.LearningRateSchedule:
    """The learning rate: a linear warm-up, then a cosine that ends at 0 with the last step."""
    warmup = min(settings.warmup_steps, settings.steps // 5)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=settings.learning_rate / 100,
        decay_steps=max(settings.steps - warmup, 1),
        warmup_target=settings.learning_rate,
        warmup_steps=warmup,
    )


def make_adam(settings: ScheduleSettings) -> keras.optimizers.Optimizer:
    """Adam as the paper has it: β 0.9 and 0.999."""
    return keras.optimizers.Adam(learning_rate_schedule(settings))


def make_adamw(settings: OptimizerSettings) -> keras.optimizers.Optimizer:
    """Adam with a weight decay of its own (Loshchilov & Hutter 2019), of weights and biases."""
    return keras.optimizers.AdamW(
        learning_rate_schedule(settings), weight_decay=settings.weight_decay
    )


def make_muon(settings: OptimizerSettings) -> keras.optimizers.Optimizer:
    """Orthogonal updates of kernels, with that decay; see `make_muon`."""
    return Muon(learning_rate_schedule(settings), weight_decay=settings.weight_decay)
