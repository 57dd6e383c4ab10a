"""`--optimizer` values → Keras optimisers, and the learning rate they all follow."""

from collections.abc import Callable
from typing import Protocol

import keras

from tfinvert.training.muon import Muon


class Rate(Protocol):
    """The settings that say how the learning rate goes."""

    steps: int
    learning_rate: float
    warmup_steps: int


class Decayed(Rate, Protocol):
    """And how strongly weights are drawn to 0, as a multiple of the rate."""

    weight_decay: float


def schedule(settings: Rate) -> keras.optimizers.schedules.LearningRateSchedule:
    """The learning rate: a linear warm-up, then a cosine that ends at 0 with the last step."""
    warmup = min(settings.warmup_steps, settings.steps // 5)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=settings.learning_rate / 100,
        decay_steps=max(settings.steps - warmup, 1),
        warmup_target=settings.learning_rate,
        warmup_steps=warmup,
    )


def adam(settings: Rate) -> keras.optimizers.Optimizer:
    """Adam as the paper has it: β 0.9 and 0.999."""
    return keras.optimizers.Adam(schedule(settings))


def adamw(settings: Decayed) -> keras.optimizers.Optimizer:
    """Adam with a weight decay of its own (Loshchilov & Hutter 2019), of weights and biases."""
    return keras.optimizers.AdamW(schedule(settings), weight_decay=settings.weight_decay)


def muon(settings: Decayed) -> keras.optimizers.Optimizer:
    """Orthogonal updates of kernels, with that decay; see `muon`."""
    return Muon(schedule(settings), weight_decay=settings.weight_decay)


OPTIMIZERS: dict[str, Callable[[Decayed], keras.optimizers.Optimizer]] = {
    "adam": adam,
    "adamw": adamw,
    "muon": muon,
}
