"""What a run is made of while it trains, and its numbered checkpoints."""

import functools
import pathlib
from collections.abc import Callable
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

from tfinvert.common.files import atomic_path
from tfinvert.config.registry import OPTIMIZERS
from tfinvert.errors import InputError, first_line
from tfinvert.features.base import Feature
from tfinvert.features.standardization import Standardization
from tfinvert.networks import inversion, uncertainty
from tfinvert.training.gradient_clipping import GradientClipper
from tfinvert.training.losses import make_loss as make_loss
from tfinvert.training.settings import Settings


class TrainingState:
    """Network, averaged network, optimiser, loss, standardisation and step; made in a strategy's
    scope.

    Attributes:
      feature: what is inverted; a copy whose model is fitted too for an autoencoder.
      network: the network being fitted.
      averaged_feature: the same feature with the moving average of its weights.
      averaged: the same network, in float32, with the moving average of its weights.
      head: of the spread, where it is learnt, see `networks.spread`; else None.
      averaged_head: likewise its average.
      optimizer: with its schedule.
      guard: bounds the gradient.
      loss: what the network is fitted by, which may learn too.
      mean: of the feature, for its standardisation.
      scale: likewise.
      mean_image: of the images it was measured on.
      step: steps done.
    """

    def __init__(
        self,
        feature: Feature,
        settings: Settings,
        build: Callable[[str], keras.Model] | None = None,
    ):
        """`build` makes another network than the settings say, of a precision."""
        keras.utils.set_random_seed(settings.seed)
        self.feature = self.averaged_feature = feature
        if settings.train_encoder:
            self.feature, self.averaged_feature = feature.trainable_copy(), feature.trainable_copy()
        build = build or functools.partial(
            inversion.build, feature, None, settings.width, settings.hidden_units, settings.network
        )
        self.network, self.averaged = map(build, (settings.precision, "float32"))
        self.averaged.set_weights(self.network.get_weights())
        self._train_encoder, self._spread = settings.train_encoder, settings.uncertainty
        self.head = self.averaged_head = None
        if settings.uncertainty != "none":
            self.head = uncertainty.build_head(self.network, settings.precision)
            self.averaged_head = uncertainty.build_head(self.averaged)
            self.averaged_head.set_weights(self.head.get_weights())
        self.optimizer = OPTIMIZERS[settings.optimizer](settings)
        self.guard = GradientClipper(
            settings.clip_norm, settings.spike_threshold, settings.precision == "float16"
        )
        self.optimizer.build(self.variables)
        self.loss = make_loss(settings.loss, self.network.output_shape[1:3])
        for learner in self.loss.learners:
            learner.build(feature, settings)
        shape = (feature.spec.shape[-1],) if feature.standardize == "channel" else ()
        self.mean = tf.Variable(tf.zeros(shape), trainable=False)
        self.scale = tf.Variable(tf.ones(shape), trainable=False)
        self.mean_image = tf.Variable(tf.zeros(feature.image_shape), trainable=False)
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False)

    @property
    def variables(self) -> list[keras.Variable]:
        """What the optimiser fits."""
        models = [model for model, _ in self._pairs.values()]
        if self._spread == "frozen":
            models = [self.head]
        return [v for model in models for v in model.trainable_variables]

    @property
    def models(self) -> list[tuple[keras.Model, keras.Model]]:
        """The models that are fitted, each with its average."""
        return list(self._pairs.values())

    @property
    def _pairs(self) -> dict[str, tuple[keras.Model, keras.Model]]:
        """Likewise, by their names in a checkpoint."""
        pairs = {"network": (self.network, self.averaged)}
        if self._train_encoder:
            pairs["encoder"] = (self.feature.model, self.averaged_feature.model)
        if self.head is not None:
            pairs["spread"] = (self.head, self.averaged_head)
        return pairs

    @property
    def trackables(self) -> dict[str, Any]:
        """What a checkpoint holds beside the step, by the names there."""
        models = {}
        for name, (model, averaged) in self._pairs.items():
            models |= {name: model, f"averaged_{name}": averaged}
        # As it was called when it was the only one.
        models["averaged"] = models.pop("averaged_network")
        rest = {"optimizer": self.optimizer, "mean": self.mean, "scale": self.scale}
        rest |= {"mean_image": self.mean_image, "guard": self.guard}
        for learner in self.loss.learners:
            rest |= learner.trackables
        return {**models, **rest}

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
        own = all(np.isfinite(weight).all() for weight in weights)
        return own and all(learner.is_finite() for learner in self.loss.learners)

    def notes(self) -> dict[str, float]:
        """See `CheckpointedState`."""
        notes = self.guard.notes()
        for learner in self.loss.learners:
            notes |= learner.notes()
        return notes


_FOLDER = "checkpoints"  # in a run's directory


class CheckpointedState(Protocol):
    """What checkpoints are made of: see `TrainingState`."""

    step: tf.Variable

    @property
    def trackables(self) -> dict[str, Any]:
        """By the names in the checkpoint."""

    def is_finite(self) -> bool:
        """Whether every weight is a finite number."""

    def notes(self) -> dict[str, float]:
        """What the history is to hold of it beside the loss."""


def checkpoint_variables(state: CheckpointedState) -> list[tf.Variable]:
    """Everything a checkpoint holds, one by one."""
    found = [state.step]
    for tracked in state.trackables.values():
        found += [tracked] if isinstance(tracked, tf.Variable) else tracked.variables
    return [each.value if isinstance(each, keras.Variable) else each for each in found]


def has_checkpoint(workdir: pathlib.Path) -> bool:
    """Whether a run's directory holds a checkpoint, from which the run goes on."""
    return bool(_present(workdir / _FOLDER))


class Checkpoints:
    """Numbered checkpoints of a state in a run's directory.

    A run resumes from the newest that is whole.
    TensorFlow's manager writes the files first and then moves the pointer to them, so a run that
    is killed while writing resumes from the checkpoint before. A pointer that is damaged is made
    anew from the files there are.

    Attributes:
      state: what they are of.
      losses: of the steps since the last entry of the history, which it will need.
    """

    def __init__(self, state: CheckpointedState, workdir: pathlib.Path, keep: int = 3):
        self._folder, self._keep = workdir / _FOLDER, keep
        self.state = state
        self.losses: list[float] = []
        self._losses = tf.Variable([], shape=(None,), dtype=tf.float32, trainable=False)
        self._checkpoint = tf.train.Checkpoint(
            **state.trackables, step=state.step, losses=self._losses
        )
        try:
            self._manager = self._manage()
            damaged = self.latest is None and bool(_present(self._folder))
        except (tf.errors.OpError, ValueError):
            damaged = True
        if damaged:
            self._point_to(_present(self._folder))

    @property
    def latest(self) -> str | None:
        """The newest checkpoint's path prefix."""
        return self._manager.latest_checkpoint

    def save(self, step: int) -> None:
        """Writes the state as it is after so many steps, and `losses`.

        Raises:
          InputError: it cannot be written; the checkpoints before are what they were.
        """
        self.state.step.assign(step)
        self._losses.assign(self.losses)
        try:
            self._manager.save(checkpoint_number=step)
        except (tf.errors.OpError, OSError) as error:
            kept = f"the last one is {self.latest}" if self.latest else "there is none yet"
            raise InputError(
                f"checkpoint step-{step} cannot be written: {first_line(error)}; {kept}, and the "
                "same command goes on from there"
            ) from error

    def restore(self) -> int:
        """Brings the state to the newest checkpoint that can be read; 0 where there is none.

        One that cannot be read is named, and the one before is taken.

        Returns:
          Its step.

        Raises:
          InputError: there are checkpoints, and none can be read.
        """
        present = [
            path for path in self._manager.checkpoints if tf.compat.v1.train.checkpoint_exists(path)
        ]
        lost = len(self._manager.checkpoints) - len(present)
        problems = [f"{lost} files are missing"] if lost else []
        for path in reversed(present):
            name = pathlib.Path(path).name
            try:
                self._checkpoint.restore(path).assert_consumed()
            except (tf.errors.OpError, IndexError, ValueError, AssertionError) as error:
                self._check_parts(path)
                problems.append(f"checkpoint {name} cannot be read")
                last = error
                continue
            if problems:
                print(f"{self._folder}: {', '.join(problems)}; going on from {name}")
                self._point_to(present[: present.index(path) + 1])
            self.losses = self._losses.numpy().tolist()
            return int(self.state.step.numpy())
        if not problems and not _present(self._folder):
            return 0
        raise InputError(
            f"{self._folder}: {', '.join(problems) or 'no checkpoint is whole'}; there is none to "
            "go on from; give another --workdir, or remove this one to begin anew"
        ) from (last if present else None)

    def _check_parts(self, path: str) -> None:
        """Refuses a checkpoint that is whole, and of a run with fewer parts."""
        try:
            held = _parts(path)
        except (tf.errors.OpError, IndexError, ValueError):
            return  # damaged: that is said by whom it concerns
        if absent := [name for name in self.state.trackables if name not in held]:
            raise InputError(
                f"{self._folder}: checkpoint {pathlib.Path(path).name} holds no "
                f"{', no '.join(absent)}: it is of a run with other settings, and is left as it "
                "is; give those, or another --workdir"
            )

    def _manage(self) -> tf.train.CheckpointManager:
        return tf.train.CheckpointManager(
            self._checkpoint, self._folder, max_to_keep=self._keep, checkpoint_name="step"
        )

    def _point_to(self, paths: list[str]) -> None:
        """Makes the pointer anew, to the last of these."""
        names = [pathlib.Path(path).name for path in paths]
        # As TensorFlow writes it; there is no function for it that is not deprecated.
        lines = [f'model_checkpoint_path: "{name}"' for name in names[-1:]]
        lines += [f'all_model_checkpoint_paths: "{name}"' for name in names]
        lines += [f"all_model_checkpoint_timestamps: {i}.0" for i in range(len(names))]
        with atomic_path(self._folder / "checkpoint") as pointer:
            pointer.write_text("\n".join(lines) + "\n", encoding="utf-8")
        self._manager = self._manage()


def _parts(path: str) -> set[str]:
    """The names of what a checkpoint was made of."""
    graph = TrackableObjectGraph.FromString(
        tf.train.load_checkpoint(path).get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH")
    )
    return {child.local_name for child in graph.nodes[0].children}


def _present(folder: pathlib.Path) -> list[str]:
    """Path prefixes by step."""
    steps = sorted(int(path.stem.split("-")[1]) for path in folder.glob("step-*.index"))
    return [str(folder / f"step-{step}") for step in steps]
