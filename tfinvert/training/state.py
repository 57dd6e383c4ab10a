"""The state of a training run and its numbered checkpoints."""

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
from tfinvert.training.losses import make_loss
from tfinvert.training.settings import Settings

_FOLDER = "checkpoints"  # in a run's directory


class TrainingState:
    """Networks, their moving averages, optimiser, loss, standardisation and step.

    Create it in a strategy's scope.

    Args:
      feature: the feature to invert.
      settings: hyperparameters.
      build: creates another network than that of the settings, given a precision.

    Attributes:
      feature: the feature; with `settings.train_encoder`, a copy whose model is trained too.
      ema_feature: the feature with the moving average (EMA) of its model's weights.
      network: the trained network.
      ema_network: the same network in float32, with the moving average of its weights.
      head: the uncertainty head (see `networks.uncertainty`), or None.
      ema_head: the head with the moving average of its weights, or None.
      optimizer: optimiser with its learning-rate schedule.
      clipper: clips the gradient.
      loss: the network's loss, which may have a trainable model.
      mean: mean of the feature, for its standardisation; per channel, or a scalar.
      scale: scale of the feature, of the same shape.
      mean_image: mean of the images that the standardisation was computed from.
      step: number of completed steps.
    """

    def __init__(
        self,
        feature: Feature,
        settings: Settings,
        build: Callable[[str], keras.Model] | None = None,
    ):
        keras.utils.set_random_seed(settings.seed)
        self.feature = self.ema_feature = feature
        if settings.train_encoder:
            self.feature, self.ema_feature = feature.trainable_copy(), feature.trainable_copy()
        build = build or functools.partial(
            inversion.build, feature, None, settings.width, settings.hidden_units, settings.network
        )
        self.network, self.ema_network = map(build, (settings.precision, "float32"))
        self.ema_network.set_weights(self.network.get_weights())
        self._train_encoder = settings.train_encoder
        self._head_only = settings.uncertainty == "frozen"
        self.head = self.ema_head = None
        if settings.uncertainty != "none":
            self.head = uncertainty.build_head(self.network, settings.precision)
            self.ema_head = uncertainty.build_head(self.ema_network)
            self.ema_head.set_weights(self.head.get_weights())
        self.optimizer = OPTIMIZERS[settings.optimizer](settings)
        self.clipper = GradientClipper(
            settings.clip_norm, settings.spike_threshold, settings.precision == "float16"
        )
        self.optimizer.build(self.variables)
        self.loss = make_loss(settings.loss, self.network.output_shape[1:3])
        for loss in self.loss.trainable_losses:
            loss.build(feature, settings)
        shape = (feature.spec.shape[-1],) if feature.standardize == "channel" else ()
        self.mean = tf.Variable(tf.zeros(shape), trainable=False)
        self.scale = tf.Variable(tf.ones(shape), trainable=False)
        self.mean_image = tf.Variable(tf.zeros(feature.image_shape), trainable=False)
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False)

    @property
    def variables(self) -> list[keras.Variable]:
        """Variables that the optimiser updates."""
        models = [self.head] if self._head_only else [model for model, _ in self.models]
        return [v for model in models for v in model.trainable_variables]

    @property
    def models(self) -> list[tuple[keras.Model, keras.Model]]:
        """Pairs of a model and the model with its moving average."""
        return list(self._named_models.values())

    @property
    def _named_models(self) -> dict[str, tuple[keras.Model, keras.Model]]:
        """The pairs of `models` by their key in checkpoints."""
        pairs = {"network": (self.network, self.ema_network)}
        if self._train_encoder:
            pairs["encoder"] = (self.feature.model, self.ema_feature.model)
        if self.head is not None:
            pairs["spread"] = (self.head, self.ema_head)
        return pairs

    @property
    def trackables(self) -> dict[str, Any]:
        """Checkpointed objects but for the step, by their key in checkpoints."""
        objects = {}
        for name, (model, average) in self._named_models.items():
            objects |= {name: model, f"averaged_{name}": average}
        objects["averaged"] = objects.pop("averaged_network")  # the key of the first checkpoints
        objects |= {"optimizer": self.optimizer, "guard": self.clipper.trackables}
        objects |= {"mean": self.mean, "scale": self.scale, "mean_image": self.mean_image}
        for loss in self.loss.trainable_losses:
            objects |= loss.trackables
        return objects

    @property
    def standardization(self) -> Standardization:
        """Current standardisation of the feature."""
        return Standardization(self.mean.numpy(), self.scale.numpy(), self.feature.log_floor)

    @standardization.setter
    def standardization(self, standardization: Standardization) -> None:
        self.mean.assign(standardization.mean)
        self.scale.assign(standardization.scale)

    def is_finite(self) -> bool:
        """Returns whether all weights are finite."""
        weights = (weight for model, _ in self.models for weight in model.get_weights())
        return all(np.isfinite(weight).all() for weight in weights) and all(
            loss.is_finite() for loss in self.loss.trainable_losses
        )

    def log_values(self) -> dict[str, float]:
        """Returns values for the history besides the loss."""
        values = self.clipper.log_values()
        for loss in self.loss.trainable_losses:
            values |= loss.log_values()
        return values


class CheckpointedState(Protocol):
    """A state that `Checkpoints` can save, such as `TrainingState`."""

    step: tf.Variable

    @property
    def trackables(self) -> dict[str, Any]:
        """Checkpointed objects but for the step, by their key in checkpoints."""

    def is_finite(self) -> bool:
        """Returns whether all weights are finite."""

    def log_values(self) -> dict[str, float]:
        """Returns values for the history besides the loss."""


def checkpoint_variables(state: CheckpointedState) -> list[tf.Variable]:
    """Returns all variables of a state's checkpoints."""
    variables = [state.step]
    for trackable in tf.nest.flatten(state.trackables):
        variables += [trackable] if isinstance(trackable, tf.Variable) else trackable.variables
    return [each.value if isinstance(each, keras.Variable) else each for each in variables]


def has_checkpoint(workdir: pathlib.Path) -> bool:
    """Returns whether a run's directory has a checkpoint to resume from."""
    return bool(_find_checkpoints(workdir / _FOLDER))


class Checkpoints:
    """Numbered checkpoints of a state in a run's directory.

    A run resumes from the newest readable checkpoint. `tf.train.CheckpointManager` writes the files
    of a checkpoint before it moves its pointer, the file "checkpoint", so that a run that is killed
    meanwhile resumes from the previous one. A damaged pointer is rebuilt from the existing files.

    Args:
      state: the state to save and restore.
      workdir: directory of the run.
      keep: number of checkpoints to keep.

    Attributes:
      state: the state to save and restore.
      losses: losses of the steps since the last entry of the history, saved for the next entry.
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
            self._manager = self._make_manager()
            damaged = not self._manager.checkpoints and bool(_find_checkpoints(self._folder))
        except (tf.errors.OpError, ValueError):
            damaged = True
        if damaged:
            self._rewrite_pointer(_find_checkpoints(self._folder))

    @property
    def latest(self) -> str | None:
        """Path prefix of the newest checkpoint."""
        return self._manager.latest_checkpoint

    def save(self, step: int) -> None:
        """Saves the state after a step, and `losses`.

        Raises:
          InputError: the checkpoint cannot be written; previous ones are unchanged.
        """
        self.state.step.assign(step)
        self._losses.assign(self.losses)
        try:
            self._manager.save(checkpoint_number=step)
        except (tf.errors.OpError, OSError) as error:
            kept = f"the last one is {self.latest}" if self.latest else "there is none yet"
            raise InputError(
                f"checkpoint step-{step} cannot be written: {first_line(error)}; {kept}; run the "
                "same command to resume"
            ) from error

    def restore(self) -> int:
        """Restores the newest readable checkpoint; reports unreadable ones.

        Returns:
          The checkpoint's step; 0 if there are no checkpoints.

        Raises:
          InputError: there are checkpoints, but none is readable.
        """
        present = [
            path for path in self._manager.checkpoints if tf.compat.v1.train.checkpoint_exists(path)
        ]
        missing = len(self._manager.checkpoints) - len(present)
        problems = [f"{missing} files are missing"] if missing else []
        for path in reversed(present):
            name = pathlib.Path(path).name
            try:
                self._checkpoint.restore(path).assert_consumed()
            except (tf.errors.OpError, IndexError, ValueError, AssertionError) as error:
                self._check_objects(path)
                problems.append(f"checkpoint {name} cannot be read")
                last = error
                continue
            if problems:
                print(f"{self._folder}: {', '.join(problems)}; resuming from {name}")
                self._rewrite_pointer(present[: present.index(path) + 1])
            self.losses = self._losses.numpy().tolist()
            return int(self.state.step.numpy())
        if not problems and not _find_checkpoints(self._folder):
            return 0
        raise InputError(
            f"{self._folder}: {', '.join(problems) or 'no checkpoint is complete'}; there is none "
            "to resume from; use another --workdir, or delete this one to start again"
        ) from (last if present else None)

    def _check_objects(self, path: str) -> None:
        """Raises InputError if a readable checkpoint lacks objects of the state."""
        try:
            saved = _object_names(path)
        except (tf.errors.OpError, IndexError, ValueError):
            return  # damaged, which `restore` reports
        if absent := [name for name in self.state.trackables if name not in saved]:
            raise InputError(
                f"{self._folder}: checkpoint {pathlib.Path(path).name} is of a run with other "
                f"settings, as it has no {', no '.join(absent)}; use those settings, or another "
                "--workdir. Nothing was changed"
            )

    def _make_manager(self) -> tf.train.CheckpointManager:
        return tf.train.CheckpointManager(
            self._checkpoint, self._folder, max_to_keep=self._keep, checkpoint_name="step"
        )

    def _rewrite_pointer(self, paths: list[str]) -> None:
        """Rewrites the pointer file to these checkpoints, the last of which is the newest."""
        names = [pathlib.Path(path).name for path in paths]
        # TensorFlow's own format; its functions for it are deprecated.
        lines = [f'model_checkpoint_path: "{name}"' for name in names[-1:]]
        lines += [f'all_model_checkpoint_paths: "{name}"' for name in names]
        # The manager ignores checkpoints with the timestamp 0.
        lines += [f"all_model_checkpoint_timestamps: {i}.0" for i in range(1, len(names) + 1)]
        with atomic_path(self._folder / "checkpoint") as pointer:
            pointer.write_text("\n".join(lines) + "\n", encoding="utf-8")
        self._manager = self._make_manager()


def _object_names(path: str) -> set[str]:
    """Returns the names of a checkpoint's top-level objects."""
    graph = TrackableObjectGraph.FromString(
        tf.train.load_checkpoint(path).get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH")
    )
    return {child.local_name for child in graph.nodes[0].children}


def _find_checkpoints(folder: pathlib.Path) -> list[str]:
    """Returns the path prefixes of the checkpoints in a directory, by step."""
    steps = sorted(int(path.stem.split("-")[1]) for path in folder.glob("step-*.index"))
    return [str(folder / f"step-{step}") for step in steps]
