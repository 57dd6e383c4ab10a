"""Steps one after the other: batches in, history, summaries and checkpoints out."""

import contextlib
import math
import pathlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import tensorflow as tf
import tqdm

from tfinvert.data import pipeline
from tfinvert.errors import InputError, Interrupted
from tfinvert.training import strategies
from tfinvert.training.history import Entry, History, throughput
from tfinvert.training.settings import Intervals
from tfinvert.training.state import CheckpointedState, Checkpoints, checkpoint_variables
from tfinvert.training.summaries import ScalarWriter

SHUTDOWN_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class ShutdownRequest:
    """What was asked.

    Attributes:
      signal: that arrived; 0 while none has.
    """

    signal = 0


@contextlib.contextmanager
def graceful_shutdown() -> Iterator[ShutdownRequest]:
    """In the block, the first SIGTERM or Ctrl-C is noted only; the next does what it did before.

    Signals reach the main thread alone: in another one nothing changes.
    """
    stopping = ShutdownRequest()
    if threading.current_thread() is not threading.main_thread():
        yield stopping
        return
    before = {number: signal.getsignal(number) for number in SHUTDOWN_SIGNALS}

    def note(number: int, frame: object) -> None:
        stopping.signal = number
        for each, handler in before.items():
            signal.signal(each, handler)

    for number in SHUTDOWN_SIGNALS:
        signal.signal(number, note)
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class RunLength(Protocol):
    """The settings that say how long a run is."""

    steps: int
    batch_size: int


class ResumePoint(NamedTuple):
    """A run where it begins, or goes on.

    Attributes:
      checkpoints: of what is trained.
      history: None for all but the chief.
      done: steps done already.
    """

    checkpoints: Checkpoints
    history: History | None
    done: int

    @property
    def entries(self) -> list[Entry]:
        """Of the history."""
        return self.history.entries if self.history else []


def restore_or_initialize(
    state: CheckpointedState,
    workdir: pathlib.Path,
    strategy: tf.distribute.Strategy,
    fresh: Callable[[], None] = lambda: None,
) -> ResumePoint:
    """Restores the newest checkpoint, or makes a fresh run ready; all workers have it then.

    Called outside of the strategy's scope, where variables are made by all workers together.

    Args:
      state: made in that scope.
      workdir: of the run.
      strategy: the devices.
      fresh: done by the chief where there is no checkpoint.

    Raises:
      InputError: as `Checkpoints.restore`, or `fresh`.
    """
    team = strategies.worker_group(strategy)
    checkpoints = Checkpoints(state, workdir)
    if team.chief and not checkpoints.restore():
        fresh()
    strategies.broadcast_variables(strategy, checkpoint_variables(state))
    done = int(state.step.numpy())
    history = History(workdir / "history.jsonl", done) if team.chief else None
    return ResumePoint(checkpoints, history, done)


def train_loop(
    step: Callable[..., tf.Tensor],
    batches: tf.data.Dataset,
    validate: Callable[[int], dict[str, float]],
    begun: ResumePoint,
    *,
    length: RunLength,
    strategy: tf.distribute.Strategy,
    summaries: ScalarWriter | None,
    pace: Intervals,
) -> None:
    """Trains until the last step.

    Where several processes train together, only the chief validates and writes.

    Args:
      step: trains on one distributed batch and returns the loss.
      batches: endless, from step `begun.done` on; this process' part of each.
      validate: what the history and TensorBoard are to hold of the network after a step.
      begun: of the state that `step` changes. Its history gets step, loss (since the entry before),
        images_per_second and, at times, what `validate` gives.
      length: of the run.
      strategy: the devices that share a batch.
      summaries: get the same; None for all but the chief.
      pace: how often.

    Raises:
      InputError: an image or its feature cannot be had, the loss or a weight is no longer finite,
        or a checkpoint cannot be written; the last good checkpoint is kept.
      Interrupted: the process was told to stop (SIGTERM or Ctrl-C); the step it was at is saved.
    """
    team, (checkpoints, history, done) = strategies.worker_group(strategy), begun
    iterator = iter(strategies.distribute_dataset(strategy, batches, length.batch_size))
    losses: list[float | tf.Tensor] = [*checkpoints.losses]
    last_time, last_step = time.perf_counter(), done
    with _progress(done, length.steps, not team.chief) as bar, graceful_shutdown() as stopping:
        for number in range(done + 1, length.steps + 1):
            with pipeline.convert_pipeline_errors():
                batch = next(iterator)
            losses.append(step(*batch))
            bar.update()
            last = number == length.steps
            checkpoint = last or number % pace.checkpoint == 0
            validation = last or number % pace.validate == 0
            # Asked by all workers after every step, so that they stop after the same one.
            stop = team.stop(bool(stopping.signal))
            if checkpoint or validation or number % pace.log == 0:
                loss = float(np.mean([float(loss) for loss in losses]))
                losses.clear()
                if not math.isfinite(loss) or checkpoint and not checkpoints.state.is_finite():
                    problem = _diverged(number, loss, checkpoints.latest)
                    # All of them say the same, and the chief knows what was saved.
                    raise InputError(problem if stop else team.exchange(problem)[0])
                if history and summaries:
                    images = (number - last_step) * length.batch_size
                    rate = throughput(images, time.perf_counter() - last_time)
                    entry: Entry = {"step": number, "loss": loss}
                    entry |= {"images_per_second": rate} | checkpoints.state.notes()
                    bar.set_postfix_str(f"loss {loss:.5f}, {rate:.0f} images/s")
                    if validation:
                        entry |= validate(number)
                    history.add(entry)
                    summaries.scalars(entry)
                    if checkpoint:
                        checkpoints.losses = []
                        checkpoints.save(number)
                last_time, last_step = time.perf_counter(), number
            if stop:
                if team.chief and not checkpoint:
                    _save_at_once(checkpoints, number, losses)
                raise _stopped(number, length, stopping.signal or signal.SIGTERM)
        if stopping.signal:  # it came while the last step was validated and saved
            raise _stopped(length.steps, length, stopping.signal)


def _save_at_once(checkpoints: Checkpoints, step: int, losses: Sequence[float | tf.Tensor]) -> None:
    """A checkpoint between two entries of the history, with the losses for the next of them."""
    if not checkpoints.state.is_finite():
        raise InputError(_diverged(step, 0.0, checkpoints.latest))
    checkpoints.losses = [float(loss) for loss in losses]
    checkpoints.save(step)


def _stopped(step: int, length: RunLength, number: int) -> Interrupted:
    return Interrupted(
        f"stopped after step {step} of {length.steps}, which is saved; the same command goes on",
        number,
    )


def _progress(done: int, steps: int, hidden: bool) -> tqdm.tqdm:
    """A bar on standard error; sparing where nobody looks at it."""
    return tqdm.tqdm(
        initial=done,
        total=steps,
        disable=hidden,
        unit="step",
        dynamic_ncols=True,
        mininterval=0.5 if sys.stderr.isatty() else 30.0,
        bar_format="{desc}{n_fmt}/{total_fmt} steps |{bar:20}| {postfix}, {remaining} left",
    )


def _diverged(step: int, loss: float, latest: str | None) -> str:
    """What to say where the loss or, if that is finite, a weight is no longer finite."""
    what = "a weight is no longer finite" if math.isfinite(loss) else f"the loss became {loss}"
    kept = f"the last good checkpoint is {latest}" if latest else "no checkpoint was written yet"
    return (
        f"{what} by step {step}; {kept}; try a lower --learning_rate or more --warmup_steps in "
        "another --workdir"
    )
