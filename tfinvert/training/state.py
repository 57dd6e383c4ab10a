"""What a run is made of while it trains, and its numbered checkpoints."""

import pathlib
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from tfinvert.errors import InputError
from tfinvert.features.base import Feature
from tfinvert.features.standardization import Standardization
from tfinvert.networks import inversion
from tfinvert.training.settings import Settings


class State:
    """Network, averaged network, optimiser, standardisation and step; made in a strategy's scope.

    Attributes:
      feature: what is inverted; a copy whose model is fitted too for an autoencoder.
      network: the network being fitted.
      averaged_feature: the same feature with the moving average of its weights.
      averaged: the same network with the moving average of its weights.
      optimizer: Adam with its schedule.
      mean: of the feature, for its standardisation.
      scale: likewise.
      step: steps done.
    """

    def __init__(self, feature: Feature, settings: Settings):
        keras.utils.set_random_seed(settings.seed)
        self.feature = self.averaged_feature = feature
        if settings.train_encoder:
            self.feature, self.averaged_feature = feature.to_train(), feature.to_train()
        self.network = inversion.build(feature, width=settings.width, units=settings.units)
        self.averaged = keras.models.clone_model(self.network)
        self.averaged.set_weights(self.network.get_weights())
        self._train_encoder = settings.train_encoder
        self.optimizer = keras.optimizers.Adam(schedule(settings))
        self.optimizer.build(self.variables)
        shape = (feature.spec.shape[-1],) if feature.standardize == "channel" else ()
        self.mean = tf.Variable(tf.zeros(shape), trainable=False)
        self.scale = tf.Variable(tf.ones(shape), trainable=False)
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False)

    @property
    def variables(self) -> list[keras.Variable]:
        """What the optimiser fits."""
        return [v for model, _ in self.models for v in model.trainable_variables]

    @property
    def models(self) -> list[tuple[keras.Model, keras.Model]]:
        """The models that are fitted, each with its average."""
        pairs = [(self.network, self.averaged)]
        if self._train_encoder:
            pairs.append((self.feature.model, self.averaged_feature.model))
        return pairs

    @property
    def trackables(self) -> dict[str, Any]:
        """What a checkpoint holds beside the step, by the names there."""
        models = [model for pair in self.models for model in pair]
        rest = {"optimizer": self.optimizer, "mean": self.mean, "scale": self.scale}
        return {**dict(zip(_NAMES, models, strict=False)), **rest}

    @property
    def standardization(self) -> Standardization:
        """Mean and scale as they are now."""
        return Standardization(self.mean.numpy(), self.scale.numpy(), self.feature.log_floor)

    @standardization.setter
    def standardization(self, measured: Standardization) -> None:
        self.mean.assign(measured.mean)
        self.scale.assign(measured.scale)

    def is_finite(self) -> bool:
        """Whether every weight is a finite number."""
        weights = (weight for model, _ in self.models for weight in model.get_weights())
        return all(np.isfinite(weight).all() for weight in weights)


_NAMES = ("network", "averaged", "encoder", "averaged_encoder")  # in a checkpoint


class Tracked(Protocol):
    """What checkpoints are made of: see `State`."""

    step: tf.Variable

    @property
    def trackables(self) -> dict[str, Any]:
        """By the names in the checkpoint."""


def variables(state: Tracked) -> list[tf.Variable]:
    """Everything a checkpoint holds, one by one."""
    found = [state.step]
    for tracked in state.trackables.values():
        found += [tracked] if isinstance(tracked, tf.Variable) else tracked.variables
    return [each.value if isinstance(each, keras.Variable) else each for each in found]


class Checkpoints:
    """Numbered checkpoints of a state in a folder; the newest complete one is where a run resumes.

    TensorFlow's manager writes the files first and then moves the pointer to them, so a run that
    is killed while writing resumes from the checkpoint before.

    Raises:
      InputError: there are checkpoints and no readable pointer to the newest.
    """

    def __init__(self, state: Tracked, folder: pathlib.Path, keep: int = 3):
        self._folder = folder
        self.state = state
        self._checkpoint = tf.train.Checkpoint(**state.trackables, step=state.step)
        try:
            self._manager = tf.train.CheckpointManager(
                self._checkpoint, folder, max_to_keep=keep, checkpoint_name="step"
            )
        except (tf.errors.OpError, ValueError) as error:
            raise InputError(self._advice("the pointer to the newest is damaged")) from error
        if self.latest is None and self._present():
            raise InputError(self._advice("the pointer to the newest is missing or damaged"))

    @property
    def latest(self) -> str | None:
        """The newest complete checkpoint's path prefix."""
        return self._manager.latest_checkpoint

    def save(self, step: int) -> None:
        """Writes the state as it is after so many steps."""
        self.state.step.assign(step)
        self._manager.save(checkpoint_number=step)

    def restore(self) -> int:
        """Brings the state to the newest checkpoint and returns its step; 0 where there is none.

        Raises:
          InputError: the checkpoint is damaged, or of another network.
        """
        if self.latest is None:
            return 0
        try:
            self._checkpoint.restore(self.latest).assert_consumed()
        except (tf.errors.OpError, IndexError, ValueError, AssertionError) as error:
            name = pathlib.Path(self.latest).name
            raise InputError(self._advice(f"checkpoint {name} cannot be read")) from error
        return int(self.state.step.numpy())

    def _present(self) -> list[str]:
        steps = sorted(int(path.stem.split("-")[1]) for path in self._folder.glob("step-*.index"))
        return [f"step-{step}" for step in steps]

    def _advice(self, problem: str) -> str:
        return (
            f"{self._folder}: {problem}; there are {', '.join(self._present()) or 'none'}; to go "
            f"on from one of them, say step-N, let the file {self._folder / 'checkpoint'} hold "
            'just the line model_checkpoint_path: "step-N"; or give another --workdir'
        )


def schedule(settings: Settings) -> keras.optimizers.schedules.LearningRateSchedule:
    """The learning rate: a linear warm-up, then a cosine that ends at 0 with the last step."""
    warmup = min(settings.warmup_steps, settings.steps // 5)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=settings.learning_rate / 100,
        decay_steps=max(settings.steps - warmup, 1),
        warmup_target=settings.learning_rate,
        warmup_steps=warmup,
    )
