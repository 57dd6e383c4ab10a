"""A loss with a model of its own, which learns in the same steps as the inverter."""

import abc
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfinvert.networks.common import Feature
from tfinvert.training.gradient_clipping import GradientClipper
from tfinvert.training.settings import Settings

_NEWEST = 0.02  # share of a step in the loss that the history gets: some fifty steps


class TrainableLoss(abc.ABC):
    """A loss that also takes the feature, and has a model to train by a loss of the model's own.

    Attributes:
      name: of the model, in checkpoints and in the history.
      model: what learns; this and the following are made by `build`.
      optimizer: the model's own.
      guard: bounds its gradient, as the inverter's is bounded.
      loss: its loss, the running mean of some fifty steps; 0 before the first.
    """

    name: str
    model: keras.Model
    optimizer: keras.optimizers.Optimizer
    guard: GradientClipper
    loss: tf.Variable

    def build(self, feature: Feature, settings: Settings) -> None:
        """Makes all that a step changes, in a strategy's scope, from the random numbers' state."""
        self.model, self.optimizer = self._make(feature, settings)
        self.optimizer.build(self.variables)
        self.guard = GradientClipper(
            settings.clip_norm, settings.spike_threshold, settings.precision == "float16"
        )
        self.loss = tf.Variable(0.0, trainable=False)

    @abc.abstractmethod
    def __call__(
        self, images: tf.Tensor, reconstructions: tf.Tensor, features: tf.Tensor
    ) -> tf.Tensor:
        """What the inverter is to make small.

        Args:
          images: `[B, H, W, 3]` in [0, 1].
          reconstructions: of the same shape.
          features: of the images, standardised.

        Returns:
          `[B]`.
        """

    @abc.abstractmethod
    def own(self, images: tf.Tensor, reconstructions: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
        """What the model is to make small, of the same: `[B]`."""

    @abc.abstractmethod
    def _make(
        self, feature: Feature, settings: Settings
    ) -> tuple[keras.Model, keras.optimizers.Optimizer]:
        """The model and its optimiser."""

    @property
    def variables(self) -> list[keras.Variable]:
        """What the optimiser fits."""
        return self.model.trainable_variables

    @property
    def trackables(self) -> dict[str, Any]:
        """What a checkpoint holds, by the names there."""
        parts = {"optimizer": self.optimizer, "guard": self.guard, "loss": self.loss}
        return {self.name: self.model} | {f"{self.name}_{k}": part for k, part in parts.items()}

    def update(self, loss: tf.Tensor) -> None:
        """Takes a step's own loss into account; after the step, outside of replicas."""
        rate = tf.where(self.loss > 0, _NEWEST, 1.0)
        seen = tf.where(tf.math.is_finite(loss), loss, self.loss)
        self.loss.assign_add(rate * (seen - self.loss))

    def is_finite(self) -> bool:
        """Whether every weight of the model is a finite number."""
        return all(np.isfinite(weight).all() for weight in self.model.get_weights())

    def notes(self) -> dict[str, float]:
        """For the history: its loss, and what its guard says."""
        notes = {"loss": float(self.loss.numpy())} | self.guard.notes()
        return {f"{self.name}_{key}": value for key, value in notes.items()}
