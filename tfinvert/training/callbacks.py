"""Keras callbacks for `InversionModel.fit`: exact resumption, images and a progress bar."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from tfinvert.common.files import user_path_in_utf8, write_json
from tfinvert.common.images import to_float
from tfinvert.errors import InputError, describe_changes
from tfinvert.training.array_datasets import to_image_array
from tfinvert.training.history import Entry, History
from tfinvert.training.progress import make_progress_bar
from tfinvert.training.state import Checkpoints

_DESCRIPTION = "fit.json"


@dataclasses.dataclass
class FitPosition:
    """How far a call of `fit` has come.

    Attributes:
      first_step: steps that the model had been trained for before the call.
      done: steps of the call that are complete.
      losses: losses of the steps of the current epoch.
      entries: logs of the complete epochs, each with its "epoch" and "step".
    """

    first_step: int = 0
    done: int = 0
    losses: list[Any] = dataclasses.field(default_factory=list)
    entries: list[Entry] = dataclasses.field(default_factory=list)


class ExactResume(keras.callbacks.Callback):
    """Saves checkpoints, from which the same call of `fit` resumes an interrupted one.

    The resumed call continues after the last saved step, also in the middle of an epoch, and ends
    with the weights and the history of an uninterrupted one: weights, their averages, optimiser,
    gradient clipper, loss models, standardisation and the place in the data are restored. Ctrl-C
    and SIGTERM end `fit` after the current step, which is saved. If the folder belongs to a
    complete call, its result is restored.

    Images and features in arrays, and sources by name, continue exactly; a `tf.data.Dataset` does
    if it is deterministic. Other callbacks start anew, such as the patience of `EarlyStopping`.

    Args:
      folder: the run's directory, created if missing; use another one for every run.
      every: steps between checkpoints, in addition to those at the ends of epochs; None for those
        only.
      keep: number of checkpoints to keep.

    Raises:
      InputError: `every` or `keep` is not positive. By `fit`: the folder belongs to a run with
        other settings or data, no checkpoint is readable, or none can be written.
    """

    def __init__(self, folder: str | pathlib.Path, every: int | None = None, keep: int = 3):
        super().__init__()
        for name, value in {"every": every, "keep": keep}.items():
            if value is not None and value < 1:
                raise InputError(f"ExactResume: {name} must be positive. Received: {value}")
        self._folder, self._every, self._keep = user_path_in_utf8(folder), every, keep
        self._saved = -1

    def check(self, description: Mapping[str, Any]) -> int | None:
        """Checks that the folder is new, or belongs to the same run.

        Args:
          description: everything that determines the result of `fit`, as JSON values.

        Returns:
          The step that the run in the folder began with; None for a new folder.

        Raises:
          InputError: the folder belongs to another run, or to something else.
        """
        path = self._folder / _DESCRIPTION
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
            first_step = int(before.pop("first_step"))
        except FileNotFoundError:
            if self._folder.exists() and any(self._folder.iterdir()):
                raise InputError(
                    f"ExactResume needs an empty folder, or one that it created ({_DESCRIPTION} is "
                    f"missing); give another one. Received: {self._folder}"
                ) from None
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path} is damaged; use another folder. Received: {error}") from error
        changed = describe_changes(before, json.loads(json.dumps(description)))
        if changed:
            raise InputError(
                f"{self._folder} belongs to a run with other settings or data; use these to resume "
                f"it, or another folder. Received: {changed}"
            )
        return first_step

    def restore(self, state: Any, description: Mapping[str, Any], position: FitPosition) -> bool:
        """Restores the newest checkpoint, or registers a new run.

        Args:
          state: the training state, which is changed.
          description: see `check`.
          position: the position of `fit`, which is changed, and read when checkpoints are saved.

        Returns:
          Whether there was a checkpoint.

        Raises:
          InputError: no checkpoint is readable, or the folder cannot be written.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if not (self._folder / _DESCRIPTION).exists():
                values = {**description, "first_step": position.first_step}
                write_json(self._folder / _DESCRIPTION, values)
        except OSError as error:
            raise InputError(
                f"the folder of ExactResume cannot be used ({error.strerror or error}). "
                f"Received: {self._folder}"
            ) from error
        self._checkpoints = Checkpoints(state, self._folder, self._keep)
        self._position, self._saved = position, -1
        step = self._checkpoints.restore()
        if step:
            position.done = self._saved = step - position.first_step
            position.losses = [*self._checkpoints.losses]
        # The last entry may have been written without the checkpoint that ends its epoch.
        complete = position.done - bool(position.losses)
        self._history = History(self._folder / "history.jsonl", complete)
        position.entries = [*self._history.entries]
        return bool(step)

    @property
    def async_safe(self) -> bool:
        """Whether Keras may call `on_train_batch_end` late: only if it saves nothing."""
        return not self._every

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Saves a checkpoint after every `every` steps."""
        last = batch + 1 == self.params["steps"]  # after which `on_epoch_end` saves one
        if self._every and self._position.done % self._every == 0 and not last:
            self._save(self._position.losses)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Adds the epoch to the history and saves a checkpoint."""
        if len(self._position.losses) < self.params["steps"]:
            return  # stopped in the middle
        entry = {"epoch": epoch, "step": self._position.done, **(logs or {})}
        self._history.add(entry)
        self._save([])

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Saves a checkpoint unless the last step is saved."""
        self.save()

    def save(self) -> None:
        """Saves a checkpoint between two steps, unless there is one.

        Raises:
          InputError: a weight is not finite, or the checkpoint cannot be written.
        """
        if self._position.done != self._saved:
            self._save(self._position.losses)

    def _save(self, losses: Sequence[Any]) -> None:
        checkpoints, done = self._checkpoints, self._position.done
        if not checkpoints.state.is_finite():
            raise InputError(
                f"a weight is not finite after step {done}; the last good checkpoint is "
                f"{checkpoints.latest}; try a lower learning_rate in another folder"
            )
        checkpoints.losses = [float(loss) for loss in losses]
        checkpoints.save(self._position.first_step + done)
        self._saved = done


class ReconstructionImages(keras.callbacks.Callback):
    """Writes images beside their reconstructions to TensorBoard after every epoch.

    Args:
      log_dir: TensorBoard's log directory.
      images: `[n, H, W, 3]`, uint8 or floating point in [0, 1], of the model's image size; eight
        evenly spaced ones are written.
      features: of the images, for a model that cannot compute them.

    Raises:
      InputError: by `fit`, if the images do not fit the model; or TensorFlow, which writes
        TensorBoard's files, is not installed.
    """

    def __init__(self, log_dir: str | pathlib.Path, images: Any, features: Any = None):
        super().__init__()
        self._log_dir, self._images, self._features = user_path_in_utf8(log_dir), images, features

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Opens the log directory."""
        try:
            from tfinvert.training.summaries import SummaryWriter
        except ImportError as error:
            raise InputError(
                "ReconstructionImages needs TensorFlow, which writes TensorBoard's files; install "
                f"it or omit the callback. Received: {error}"
            ) from error
        images = to_image_array(self._images, self.model.feature.image_shape[:2], "images")
        self._inputs = images if self._features is None else self._features
        size = self.model.network.output_shape[1:3]
        self._writer = SummaryWriter(self._log_dir, to_float(images), size)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Writes the pairs of images."""
        self._writer.write_images(self.model.predict(self._inputs), epoch)


class ProgressBar(keras.callbacks.Callback):
    """One bar for all steps of `fit`: a widget in a notebook, a line in a terminal.

    `fit` adds it unless `verbose=0`.

    Args:
      position: the position of `fit`.
      steps: all steps of `fit`.
      lines: whether to print a line per epoch instead of the bar, as `verbose=2` does.
    """

    async_safe = True

    def __init__(self, position: FitPosition, steps: int, lines: bool = False):
        super().__init__()
        self._lines = lines
        self._bar = make_progress_bar(position.done, steps, hidden=lines)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Moves the bar."""
        self._bar.update()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Shows the logs of the epoch."""
        values = ", ".join(f"{name} {float(value):.4g}" for name, value in (logs or {}).items())
        line = f"epoch {epoch + 1}/{self.params['epochs']}: {values}"
        if self._lines:
            print(line)
        else:
            self._bar.set_postfix_str(line)

    def close(self) -> None:
        """Leaves the bar as it is."""
        self._bar.close()
