"""What a run is made of while it trains, and its numbered checkpoints."""

import pathlib

import keras
import tensorflow as tf

from tfinvert.errors import InputError
from tfinvert.features.base import Feature
from tfinvert.features.standardization import Standardization
from tfinvert.networks import inversion
from tfinvert.training.settings import Settings


class State:
    """Network, averaged network, optimiser, standardisation and step; made in a strategy's scope.

    Attributes:
      network: the network being fitted.
      averaged: the same network with the moving average of its weights.
      optimizer: Adam with its schedule.
      standardization: of the feature, measured once on the training set.
    """

    def __init__(self, feature: Feature, settings: Settings, standardization: Standardization):
        keras.utils.set_random_seed(settings.seed)
        self.network = inversion.build(feature, width=settings.width)
        self.averaged = keras.models.clone_model(self.network)
        self.averaged.set_weights(self.network.get_weights())
        self.optimizer = keras.optimizers.Adam(_schedule(settings))
        self.optimizer.build(self.network.trainable_variables)
        self.standardization = standardization
        self._step = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._mean = tf.Variable(standardization.mean, trainable=False)
        self._scale = tf.Variable(standardization.scale, trainable=False)
        self.checkpoint = tf.train.Checkpoint(
            network=self.network,
            averaged=self.averaged,
            optimizer=self.optimizer,
            step=self._step,
            mean=self._mean,
            scale=self._scale,
        )

    @property
    def step(self) -> int:
        """Steps done."""
        return int(self._step.numpy())


class Checkpoints:
    """Numbered checkpoints of a State in a folder; the newest complete one is where a run resumes.

    TensorFlow's manager writes the files first and then moves the pointer to them, so a run that
    is killed while writing resumes from the checkpoint before.
    """

    def __init__(self, state: State, folder: pathlib.Path, keep: int = 3):
        self._state = state
        self._manager = tf.train.CheckpointManager(
            state.checkpoint, folder, max_to_keep=keep, checkpoint_name="step"
        )

    @property
    def latest(self) -> str | None:
        """The newest complete checkpoint's path prefix."""
        return self._manager.latest_checkpoint

    def save(self, step: int) -> None:
        """Writes the state as it is after so many steps."""
        self._state.checkpoint.step.assign(step)
        self._manager.save(checkpoint_number=step)

    def restore(self) -> int:
        """Brings the state to the newest checkpoint and returns its step; 0 where there is none.

        Raises:
          InputError: the checkpoint is damaged, or of another network.
        """
        if self.latest is None:
            return 0
        try:
            self._state.checkpoint.restore(self.latest).assert_consumed()
        except (tf.errors.OpError, IndexError, ValueError, AssertionError) as error:
            others = [path for path in self._manager.checkpoints if path != self.latest]
            raise InputError(
                f"checkpoint {self.latest} cannot be read "
                f"({type(error).__name__}: {str(error).splitlines()[0][:120]}); "
                + (f"an earlier one is {others[-1]}; " if others else "")
                + "take it away with its line in the file named checkpoint, or give another "
                "--workdir"
            ) from error
        self._state.standardization = Standardization(
            self._state.checkpoint.mean.numpy(), self._state.checkpoint.scale.numpy()
        )
        return self._state.step


def _schedule(settings: Settings) -> keras.optimizers.schedules.LearningRateSchedule:
    warmup = min(settings.warmup_steps, settings.steps // 5)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=settings.learning_rate / 100,
        decay_steps=max(settings.steps - warmup, 1),
        warmup_target=settings.learning_rate,
        warmup_steps=warmup,
    )
