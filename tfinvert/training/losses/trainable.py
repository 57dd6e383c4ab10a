"""Base class of losses with a model that trains along with the inverter."""

import abc
from typing import Any

import keras
import numpy as np
from keras import ops

from tfinvert.common.backend import Tensor
from tfinvert.networks.common import Feature
from tfinvert.training.gradient_clipping import GradientClipper
from tfinvert.training.settings import Settings

_MEAN_LOSS_RATE = 0.02  # of the running mean of the model's loss: a memory of about fifty steps


class TrainableLoss(abc.ABC):
    """A loss that depends on the feature and has a model, trained by a loss of its own.

    `build` creates all attributes but `name`.

    Attributes:
      name: name of the model in checkpoints and in the history.
      model: the trained model.
      optimizer: the model's optimiser.
      clipper: clips the model's gradient with the inverter's limits.
      mean_loss: running mean of `model_loss` over about fifty steps, float32 `[]`; 0 before the
        first step.
    """

    name: str
    model: keras.Model
    optimizer: keras.optimizers.Optimizer
    clipper: GradientClipper
    mean_loss: keras.Variable

    def build(self, feature: Feature, settings: Settings) -> None:
        """Creates model, optimiser and variables; call it in a strategy's scope, after seeding."""
        self.model, self.optimizer = self._build_model(feature, settings)
        self.optimizer.build(self.variables)
        self.clipper = GradientClipper(
            settings.clip_norm, settings.spike_threshold, settings.precision == "float16"
        )
        self.mean_loss = keras.Variable(0.0, trainable=False, dtype="float32")

    @abc.abstractmethod
    def __call__(self, images: Tensor, reconstructions: Tensor, features: Tensor) -> Tensor:
        """Computes the inverter's loss.

        Args:
          images: `[B, H, W, 3]` in [0, 1].
          reconstructions: `[B, H, W, 3]`.
          features: standardised features of the images.

        Returns:
          `[B]`.
        """

    @abc.abstractmethod
    def model_loss(self, images: Tensor, reconstructions: Tensor, features: Tensor) -> Tensor:
        """Computes the model's loss; arguments and result as in `__call__`."""

    @abc.abstractmethod
    def _build_model(
        self, feature: Feature, settings: Settings
    ) -> tuple[keras.Model, keras.optimizers.Optimizer]:
        """Creates the model and its optimiser."""

    @property
    def variables(self) -> list[keras.Variable]:
        """Trainable variables of the model."""
        return self.model.trainable_variables

    @property
    def trackables(self) -> dict[str, Any]:
        """Checkpointed objects by their key in checkpoints."""
        objects = {
            "optimizer": self.optimizer,
            "guard": self.clipper.trackables,
            "loss": self.mean_loss,
        }
        return {self.name: self.model} | {f"{self.name}_{k}": v for k, v in objects.items()}

    def update(self, loss: Tensor) -> None:
        """Updates the running mean with the model's loss in a step; call it outside of replicas."""
        mean = self.mean_loss.value
        rate = ops.where(mean > 0, _MEAN_LOSS_RATE, 1.0)
        finite = ops.where(ops.isfinite(loss), loss, mean)
        self.mean_loss.assign(mean + rate * (finite - mean))

    def is_finite(self) -> bool:
        """Returns whether all weights of the model are finite."""
        return all(np.isfinite(weight).all() for weight in self.model.get_weights())

    def log_values(self) -> dict[str, float]:
        """Returns the model's mean loss and its clipper's values, for the history."""
        values = {"loss": float(self.mean_loss.numpy())} | self.clipper.log_values()
        return {f"{self.name}_{key}": value for key, value in values.items()}
