"""The loop of `InversionModel.fit`: epochs and steps, with Keras callbacks."""

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras

from tfinvert.errors import InputError, Interrupted
from tfinvert.training.callbacks import ExactResume, FitPosition
from tfinvert.training.history import mean_loss
from tfinvert.training.train_loop import ShutdownRequest, graceful_shutdown


class FitLength(NamedTuple):
    """Length of a fit.

    Attributes:
      initial_epoch: index of the first epoch.
      epochs: index after that of the last one.
      steps_per_epoch: steps of an epoch.
    """

    initial_epoch: int
    epochs: int
    steps_per_epoch: int

    @property
    def steps(self) -> int:
        """All steps."""
        return (self.epochs - self.initial_epoch) * self.steps_per_epoch


def run_epochs(
    step: Callable[..., Any],
    batches: Iterator[Any],
    position: FitPosition,
    length: FitLength,
    callbacks: keras.callbacks.CallbackList,
    *,
    stopped: Callable[[], bool],
    end_logs: Callable[[int], dict[str, float]],
    resume: ExactResume | None,
) -> None:
    """Trains from a position to the last step, or until a callback stops it.

    Args:
      step: trains on a batch and returns the loss.
      batches: the batches from the position on.
      position: where to begin, which is updated.
      length: number of epochs and steps.
      callbacks: called as by `keras.Model.fit`, except that the logs of a batch have its own loss,
        not a mean over the epoch. `on_train_begin` has been called.
      stopped: returns whether a callback asked to stop.
      end_logs: returns the logs of an epoch other than its loss.
      resume: if not None, Ctrl-C and SIGTERM end the loop after the current step, which it saves.

    Raises:
      InputError: the loss is not finite.
      Interrupted: Ctrl-C or SIGTERM arrived, and `resume` is not None.
    """
    shutdown_context = graceful_shutdown() if resume else contextlib.nullcontext(ShutdownRequest())
    complete = (position.done - len(position.losses)) // length.steps_per_epoch
    with shutdown_context as shutdown:
        for epoch in range(length.initial_epoch + complete, length.epochs):
            callbacks.on_epoch_begin(epoch)
            for index in range(len(position.losses), length.steps_per_epoch):
                callbacks.on_train_batch_begin(index)
                loss = step(*next(batches))
                position.losses.append(loss)
                position.done += 1
                callbacks.on_train_batch_end(index, {"loss": loss})
                if shutdown.signal:
                    resume.save()
                    raise Interrupted(
                        f"stopped after step {position.done} of {length.steps}, which is saved; "
                        "call fit again to resume",
                        shutdown.signal,
                    )
                if stopped():
                    break
            loss = mean_loss(position.losses)
            if not math.isfinite(loss):
                raise InputError(
                    f"the loss became {loss} in epoch {epoch + 1}; try a lower learning_rate or "
                    "more warmup_steps"
                )
            callbacks.on_epoch_end(epoch, {"loss": loss, **end_logs(epoch)})
            if len(position.losses) == length.steps_per_epoch:
                position.losses = []
            if stopped():
                break
