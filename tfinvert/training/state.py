"""The state of a training run and its numbered checkpoints."""

import functools
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

import keras
import numpy as np
from keras import ops

from tfinvert.common.backend import BACKEND, Tensor
from tfinvert.common.files import atomic_path, read_arrays, remove_unfinished
from tfinvert.config.registry import OPTIMIZERS
from tfinvert.errors import InputError, first_line
from tfinvert.features.base import Feature
from tfinvert.features.standardization import Standardization, statistics_shape
from tfinvert.networks import inversion, uncertainty
from tfinvert.training.gradient_clipping import GradientClipper
from tfinvert.training.losses import CombinedLoss, make_loss
from tfinvert.training.settings import Settings

_FOLDER = "checkpoints"  # in a run's directory

LossFunction = Callable[[Tensor, Tensor], Tensor]  # (images, reconstructions) to `[B]`


class TrainingState:
    """Networks, their moving averages, optimiser, loss, standardisation and step.

    Create it in a strategy's scope.

    Args:
      feature: the feature to invert.
      settings: hyperparameters.
      build: creates another network than that of the settings, given a precision.
      loss: another loss than that of the settings, `(images, reconstructions) -> [B]`, which may be
        a `TrainableLoss` or a `CombinedLoss`.
      optimizer: another optimiser than that of the settings, not built yet.

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
        loss: LossFunction | CombinedLoss | None = None,
        optimizer: keras.optimizers.Optimizer | None = None,
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
        self.optimizer = optimizer or OPTIMIZERS[settings.optimizer](settings)
        self.clipper = GradientClipper(
            settings.clip_norm, settings.spike_threshold, settings.precision == "float16"
        )
        self.optimizer.build(self.variables)
        if loss is None:
            loss = make_loss(settings.loss, self.network.output_shape[1:3])
        self.loss = loss if isinstance(loss, CombinedLoss) else CombinedLoss([(1.0, loss)])
        for each in self.loss.trainable_losses:
            each.build(feature, settings)
        shape = statistics_shape(feature)
        self.mean = keras.Variable(ops.zeros(shape), trainable=False)
        self.scale = keras.Variable(ops.ones(shape), trainable=False)
        self.mean_image = keras.Variable(ops.zeros(feature.image_shape), trainable=False)
        self.step = keras.Variable(0, dtype="int", trainable=False)

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
    def constants(self) -> list[keras.Variable]:
        """Variables that are read but neither trained nor saved: of the feature and the losses."""
        model = None if self._train_encoder else self.feature.model
        return [*(model.variables if model else []), *self.loss.variables]

    @property
    def standardization(self) -> Standardization:
        """Current standardisation of the feature."""
        return Standardization(self.mean.numpy(), self.scale.numpy(), self.feature.log_floor)

    @standardization.setter
    def standardization(self, standardization: Standardization) -> None:
        self.mean.assign(standardization.mean)
        self.scale.assign(standardization.scale)

    def measure_statistics(self, batches: Iterable[tuple[np.ndarray, Tensor]]) -> None:
        """Sets standardisation and mean image from batches of images and their features.

        Raises:
          InputError: all images have one colour, or see `Standardization.measure`.
        """
        total, count = np.zeros(self.feature.image_shape), 0
        low, high = np.inf, -np.inf

        def features() -> Iterator[Tensor]:
            nonlocal total, count, low, high
            for images, values in batches:
                total, count = total + images.sum(0, np.float64), count + len(images)
                low = np.minimum(low, images.min((0, 1, 2)))
                high = np.maximum(high, images.max((0, 1, 2)))
                yield values

        standardization = Standardization.measure(self.feature, features())
        if np.array_equal(low, high):
            raise InputError(
                "the training images have a single colour, so there is nothing to learn; if they "
                f"were 8-bit, divide them by 255 once. Received: the colour {low.tolist()}"
            )
        self.standardization = standardization
        self.mean_image.assign(total / count)

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

    step: keras.Variable

    @property
    def trackables(self) -> dict[str, Any]:
        """Checkpointed objects but for the step, by their key in checkpoints.

        They are variables, objects with `variables`, and mappings of variables.
        """

    def is_finite(self) -> bool:
        """Returns whether all weights are finite."""

    def log_values(self) -> dict[str, float]:
        """Returns values for the history besides the loss."""


def checkpoint_variables(state: CheckpointedState) -> dict[str, keras.Variable]:
    """Returns all variables of a state's checkpoints by a key that all processes agree on."""
    found = {"step": state.step}

    def add(key: str, item: Any) -> None:
        if isinstance(item, Mapping):
            for name, value in item.items():
                add(f"{key}/{name}", value)
        elif hasattr(item, "variables"):
            # The path of an optimiser's variable contains a number that depends on the process.
            own = isinstance(item, keras.optimizers.Optimizer)
            for variable in item.variables:
                add(f"{key}/{variable.name if own else variable.path}", variable)
        else:
            while key in found:  # layers of two models may have the same name
                key += "'"
            found[key] = item

    for key, item in state.trackables.items():
        add(key, item)
    return found


def has_checkpoint(workdir: pathlib.Path) -> bool:
    """Returns whether a run's directory has a checkpoint to resume from."""
    return bool(_find_checkpoints(workdir / _FOLDER, _SUFFIX))


class Checkpoints:
    """Numbered checkpoints of a state in a run's directory.

    A run resumes from the newest readable checkpoint. A checkpoint's files are complete before it
    counts, so that a run that is killed meanwhile resumes from the previous one. TensorFlow's have
    its own format, those of other backends are `.npz` files; neither can be read by the other.

    Args:
      state: the state to save and restore.
      workdir: directory of the run.
      keep: number of checkpoints to keep.

    Attributes:
      state: the state to save and restore.
      losses: losses of the steps since the last entry of the history, saved for the next entry.

    Raises:
      InputError: the checkpoints in the directory are of another backend.
    """

    def __init__(self, state: CheckpointedState, workdir: pathlib.Path, keep: int = 3):
        self._folder = workdir / _FOLDER
        self.state = state
        self.losses: list[float] = []
        suffix, backends = _OTHER_SUFFIX
        if not has_checkpoint(workdir) and _find_checkpoints(self._folder, suffix):
            raise InputError(
                f"{self._folder} has checkpoints of {backends}; set KERAS_BACKEND to it, or use "
                f"another --workdir. Received: KERAS_BACKEND={BACKEND}"
            )
        files = _TensorFlowFiles if BACKEND == "tensorflow" else _ArrayFiles
        self._files = files(state, self._folder, keep)

    @property
    def latest(self) -> str | None:
        """Path of the newest checkpoint, without the suffixes of TensorFlow's files."""
        return self._files.latest

    def save(self, step: int) -> None:
        """Saves the state after a step, and `losses`.

        Raises:
          InputError: the checkpoint cannot be written; previous ones are unchanged.
        """
        self.state.step.assign(step)
        try:
            self._files.write(step, self.losses)
        except self._files.write_errors as error:
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
        present, missing = self._files.find()
        problems = [f"{missing} files are missing"] if missing else []
        for path in reversed(present):
            name = pathlib.Path(path).stem
            try:
                self.losses = self._files.read(path)
            except self._files.read_errors as error:
                self._check_objects(path)
                problems.append(f"checkpoint {name} cannot be read")
                last = error
                continue
            if problems:
                print(f"{self._folder}: {', '.join(problems)}; resuming from {name}")
                self._files.forget_all_but(present[: present.index(path) + 1])
            return int(self.state.step.numpy())
        if not problems and not _find_checkpoints(self._folder, _SUFFIX):
            return 0
        raise InputError(
            f"{self._folder}: {', '.join(problems) or 'no checkpoint is complete'}; there is none "
            "to resume from; use another --workdir, or delete this one to start again"
        ) from (last if present else None)

    def _check_objects(self, path: str) -> None:
        """Raises InputError if a readable checkpoint lacks objects of the state."""
        try:
            saved = self._files.object_names(path)
        except self._files.read_errors:
            return  # damaged, which `restore` reports
        if absent := [name for name in self.state.trackables if name not in saved]:
            raise InputError(
                f"{self._folder}: checkpoint {pathlib.Path(path).stem} is of a run with other "
                f"settings, as it has no {', no '.join(absent)}; use those settings, or another "
                "--workdir. Nothing was changed"
            )


class _TensorFlowFiles:
    """Checkpoints of `tf.train.CheckpointManager`, which moves its pointer, the file "checkpoint".

    It does so after it has written the files of a checkpoint. A damaged pointer is rebuilt from the
    existing files.
    """

    def __init__(self, state: CheckpointedState, folder: pathlib.Path, keep: int):
        import tensorflow as tf

        self._tf, self._folder, self._keep = tf, folder, keep
        self.write_errors = (tf.errors.OpError, OSError)
        self.read_errors = (tf.errors.OpError, IndexError, ValueError, AssertionError)
        self._losses = tf.Variable([], shape=(None,), dtype=tf.float32, trainable=False)
        self._checkpoint = tf.train.Checkpoint(
            **_native(state.trackables), step=_native(state.step), losses=self._losses
        )
        try:
            self._manager = self._make_manager()
            damaged = not self._manager.checkpoints and bool(_find_checkpoints(folder, ".index"))
        except (tf.errors.OpError, ValueError):
            damaged = True
        if damaged:
            self.forget_all_but(_find_checkpoints(folder, ".index"))

    @property
    def latest(self) -> str | None:
        """Path prefix of the newest checkpoint."""
        return self._manager.latest_checkpoint

    def write(self, step: int, losses: list[float]) -> None:
        """Writes a checkpoint."""
        self._losses.assign(losses)
        self._manager.save(checkpoint_number=step)

    def find(self) -> tuple[list[str], int]:
        """Returns the checkpoints, by step, and the number of those whose files are missing."""
        exists = self._tf.compat.v1.train.checkpoint_exists
        present = [path for path in self._manager.checkpoints if exists(path)]
        return present, len(self._manager.checkpoints) - len(present)

    def read(self, path: str) -> list[float]:
        """Restores the state from a checkpoint; returns the losses."""
        self._checkpoint.restore(path).assert_consumed()
        return self._losses.numpy().tolist()

    def object_names(self, path: str) -> set[str]:
        """Returns the names of a checkpoint's top-level objects."""
        from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

        graph = TrackableObjectGraph.FromString(
            self._tf.train.load_checkpoint(path).get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH")
        )
        return {child.local_name for child in graph.nodes[0].children}

    def forget_all_but(self, paths: list[str]) -> None:
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

    def _make_manager(self) -> Any:
        return self._tf.train.CheckpointManager(
            self._checkpoint, self._folder, max_to_keep=self._keep, checkpoint_name="step"
        )


class _ArrayFiles:
    """Checkpoints in `.npz` files of all variables by key; the number is the pointer."""

    write_errors = (OSError,)
    read_errors = (InputError, OSError, ValueError)

    def __init__(self, state: CheckpointedState, folder: pathlib.Path, keep: int):
        self._state, self._folder, self._keep = state, folder, keep
        remove_unfinished(folder)

    @property
    def latest(self) -> str | None:
        """Path of the newest checkpoint."""
        return next(reversed(self.find()[0]), None)

    def write(self, step: int, losses: list[float]) -> None:
        """Writes a checkpoint, and deletes the oldest."""
        variables = checkpoint_variables(self._state)
        arrays = {key: variable.numpy() for key, variable in variables.items()}
        with atomic_path(self._folder / f"step-{step}.npz") as path, path.open("wb") as file:
            np.savez(file, losses=np.asarray(losses, np.float32), **arrays)
        for path in self.find()[0][: -self._keep]:
            pathlib.Path(path).unlink()

    def find(self) -> tuple[list[str], int]:
        """Returns the checkpoints, by step, and 0, the number of those that are missing."""
        return _find_checkpoints(self._folder, ".npz"), 0

    def read(self, path: str) -> list[float]:
        """Restores the state from a checkpoint; returns the losses."""
        arrays = read_arrays(path)
        variables = checkpoint_variables(self._state)
        for key, variable in variables.items():  # all of them, before any is assigned
            if key not in arrays or arrays[key].shape != tuple(variable.shape):
                raise ValueError(f"no array {key} of shape {tuple(variable.shape)}")
        for key, variable in variables.items():
            variable.assign(arrays[key])
        return arrays["losses"].tolist()

    def object_names(self, path: str) -> set[str]:
        """Returns the names of a checkpoint's top-level objects."""
        return {key.partition("/")[0] for key in read_arrays(path)}

    def forget_all_but(self, paths: list[str]) -> None:
        """Renames all other checkpoints, which are damaged."""
        for path in {*self.find()[0]} - {*paths}:
            pathlib.Path(path).rename(f"{path}.damaged")


# Of a file that each checkpoint has: with this backend, and with another one.
_SUFFIX, _OTHER_SUFFIX = ".npz", (".index", "tensorflow")
if BACKEND == "tensorflow":
    _SUFFIX, _OTHER_SUFFIX = ".index", (".npz", "jax")


def _native(trackables: Any) -> Any:
    """Replaces Keras' variables by TensorFlow's, whose keys in checkpoints have no suffix."""
    if isinstance(trackables, dict):
        return {key: _native(value) for key, value in trackables.items()}
    return trackables.value if isinstance(trackables, keras.Variable) else trackables


def _find_checkpoints(folder: pathlib.Path, suffix: str) -> list[str]:
    """Returns the paths of the checkpoints in a directory, by step; without TensorFlow's suffix."""
    steps = sorted(int(path.stem.split("-")[1]) for path in folder.glob(f"step-*{suffix}"))
    return [str(folder / f"step-{step}{'' if suffix == '.index' else suffix}") for step in steps]
