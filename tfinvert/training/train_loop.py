"""The training loop, with logging, checkpoints and graceful shutdown."""

from __future__ import annotations

import contextlib
import math
import pathlib
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from tfinvert.common.backend import Tensor
from tfinvert.errors import InputError, Interrupted
from tfinvert.training import strategies
from tfinvert.training.history import Entry, History, mean_loss, throughput
from tfinvert.training.progress import make_progress_bar
from tfinvert.training.settings import Intervals
from tfinvert.training.state import CheckpointedState, Checkpoints, checkpoint_variables
from tfinvert.training.summaries import ScalarWriter

if TYPE_CHECKING:
    import tensorflow as tf

SHUTDOWN_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class RunLength(Protocol):
    """Settings that define the length of a run."""

    steps: int
    batch_size: int


class ResumePoint(NamedTuple):
    """Where a run starts or resumes.

    Attributes:
      checkpoints: the run's checkpoints.
      history: the run's history; None except on the chief.
      done: number of completed steps.
    """

    checkpoints: Checkpoints
    history: History | None
    done: int

    @property
    def entries(self) -> list[Entry]:
        """Entries of the history; empty except on the chief."""
        return self.history.entries if self.history else []


def restore_or_initialize(
    state: CheckpointedState,
    workdir: pathlib.Path,
    strategy: tf.distribute.Strategy | None,
    initialize: Callable[[], None] = lambda: None,
) -> ResumePoint:
    """Restores the newest checkpoint, or initialises a new run, and broadcasts it to all workers.

    Call it outside of the strategy's scope.

    Args:
      state: created in that scope.
      workdir: directory of the run.
      strategy: the devices.
      initialize: called on the chief if there is no checkpoint.

    Raises:
      InputError: see `Checkpoints.restore`; or raised by `initialize`.
    """
    workers = strategies.worker_group(strategy)
    checkpoints = Checkpoints(state, workdir)
    if workers.is_chief and not checkpoints.restore():
        initialize()
    strategies.broadcast_variables(strategy, checkpoint_variables(state).values())
    done = int(state.step.numpy())
    history = History(workdir / "history.jsonl", done) if workers.is_chief else None
    return ResumePoint(checkpoints, history, done)


def train_loop(
    step: Callable[..., Tensor],
    batches: Iterable[Any],
    validate: Callable[[int], dict[str, float]],
    resume_point: ResumePoint,
    *,
    length: RunLength,
    strategy: tf.distribute.Strategy | None,
    summaries: ScalarWriter | None,
    intervals: Intervals,
) -> None:
    """Trains until the last step.

    If several processes train together, only the chief validates and writes.

    Args:
      step: trains on one distributed batch and returns the loss.
      batches: this process' shards of the endless batches, from step `resume_point.done` on, see
        `strategies.distribute_dataset`.
      validate: called with the step; returns validation metrics for the history.
      resume_point: the state that `step` changes. Its history receives entries with step, loss
        (mean since the previous entry), images_per_second and, at validations, their metrics.
      length: number of steps and batch size.
      strategy: the devices.
      summaries: receives the entries of the history; None except on the chief.
      intervals: logging, validation and checkpoint intervals.

    Raises:
      InputError: an image or its feature is unavailable, the loss or a weight is not finite, or a
        checkpoint cannot be written. The last good checkpoint is kept.
      Interrupted: SIGTERM or Ctrl-C arrived; the current step was completed and saved.
    """
    from tfinvert.data import pipeline  # which needs TensorFlow

    workers = strategies.worker_group(strategy)
    checkpoints, history, done = resume_point
    iterator = iter(strategies.distribute_dataset(strategy, batches, length.batch_size))
    losses: list[float | Tensor] = [*checkpoints.losses]
    last_time, last_step = time.perf_counter(), done
    bar = make_progress_bar(done, length.steps, hidden=not workers.is_chief)
    with bar, graceful_shutdown() as shutdown:
        for number in range(done + 1, length.steps + 1):
            with pipeline.convert_pipeline_errors():
                batch = next(iterator)
            losses.append(step(*batch))
            bar.update()
            last = number == length.steps
            checkpoint_due = last or number % intervals.checkpoint == 0
            validation_due = last or number % intervals.validate == 0
            # Called by all workers after every step, so that all stop after the same one.
            stop = workers.should_stop(bool(shutdown.signal))
            if checkpoint_due or validation_due or number % intervals.log == 0:
                loss = mean_loss(losses)
                losses.clear()
                finite = math.isfinite(loss)
                if not finite or (checkpoint_due and not checkpoints.state.is_finite()):
                    problem = _describe_divergence(number, loss, checkpoints.latest)
                    # The chief's message on all workers, as it knows the last checkpoint.
                    raise InputError(problem if stop else workers.all_gather(problem)[0])
                if history and summaries:
                    images = (number - last_step) * length.batch_size
                    rate = throughput(images, time.perf_counter() - last_time)
                    entry: Entry = {"step": number, "loss": loss}
                    entry |= {"images_per_second": rate} | checkpoints.state.log_values()
                    bar.set_postfix_str(f"loss {loss:.5f}, {rate:.0f} images/s")
                    if validation_due:
                        entry |= validate(number)
                    history.add(entry)
                    summaries.write_scalars(entry)
                    if checkpoint_due:
                        checkpoints.losses = []
                        checkpoints.save(number)
                last_time, last_step = time.perf_counter(), number
            if stop:
                if workers.is_chief and not checkpoint_due:
                    _save_between_entries(checkpoints, number, losses)
                raise _interrupted(number, length, shutdown.signal or signal.SIGTERM)
        if shutdown.signal:  # it arrived during the last validation or checkpoint
            raise _interrupted(length.steps, length, shutdown.signal)


def _save_between_entries(
    checkpoints: Checkpoints, step: int, losses: Sequence[float | Tensor]
) -> None:
    """Saves a checkpoint, with the losses that the next entry of the history averages."""
    if not checkpoints.state.is_finite():
        raise InputError(_describe_divergence(step, 0.0, checkpoints.latest))
    checkpoints.losses = [float(loss) for loss in losses]
    checkpoints.save(step)


def _interrupted(step: int, length: RunLength, number: int) -> Interrupted:
    return Interrupted(
        f"stopped after step {step} of {length.steps}, which is saved; run the same command to "
        "resume",
        number,
    )


def _describe_divergence(step: int, loss: float, latest: str | None) -> str:
    """Describes a loss or, if the loss is finite, a weight that is not finite."""
    problem = "a weight is not finite" if math.isfinite(loss) else f"the loss became {loss}"
    kept = f"the last good checkpoint is {latest}" if latest else "no checkpoint has been written"
    return (
        f"{problem} by step {step}; {kept}; try a lower --learning_rate or more --warmup_steps in "
        "another --workdir"
    )


class ShutdownRequest:
    """A request to stop the process.

    Attributes:
      signal: number of the signal that arrived; 0 until then.
    """

    signal = 0


@contextlib.contextmanager
def graceful_shutdown() -> Iterator[ShutdownRequest]:
    """Records the first SIGTERM or Ctrl-C instead of ending the process.

    A second one has its usual effect. Outside of the main thread, which alone receives signals,
    nothing changes.

    Yields:
      The request, whose `signal` the caller polls.
    """
    request = ShutdownRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    handlers = {number: signal.getsignal(number) for number in SHUTDOWN_SIGNALS}

    def restore_handlers() -> None:
        for number, handler in handlers.items():
            signal.signal(number, handler)

    def record(number: int, frame: object) -> None:
        request.signal = number
        restore_handlers()

    for number in SHUTDOWN_SIGNALS:
        signal.signal(number, record)
    try:
        yield request
    finally:
        restore_handlers()
