"""The training loop."""

import dataclasses
import math
import pathlib
import sys
import time
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
import tqdm

from tfinvert import metrics
from tfinvert.data import pipeline
from tfinvert.errors import InputError
from tfinvert.features.base import Feature
from tfinvert.features.standardization import Standardization
from tfinvert.inverter import Inverter
from tfinvert.resize import resize_images
from tfinvert.sampling import evenly
from tfinvert.training import strategies
from tfinvert.training.examples import Examples
from tfinvert.training.history import Entry, History
from tfinvert.training.settings import Settings
from tfinvert.training.state import Checkpoints, State
from tfinvert.training.step import make_step
from tfinvert.training.summaries import Summaries

VALIDATION_IMAGES = 512


@dataclasses.dataclass(frozen=True)
class Pace:
    """How often the loop stops to look; has no part in what is learnt.

    Attributes:
      log: steps between entries of the history and of TensorBoard's scalars.
      validate: steps between validations and image summaries.
      checkpoint: steps between checkpoints.
    """

    log: int = 50
    validate: int = 1000
    checkpoint: int = 1000

    def __post_init__(self) -> None:
        if min(self.log, self.validate, self.checkpoint) < 1:
            raise InputError(f"log, validate and checkpoint must be positive. Received: {self}")


PACE = Pace()


def fit(
    feature: Feature,
    training: Examples,
    validation: np.ndarray,
    settings: Settings,
    workdir: pathlib.Path,
    strategy: tf.distribute.Strategy,
    pace: Pace = PACE,
) -> tuple[Inverter, list[Entry]]:
    """Trains the inversion network of a feature, from where `workdir` left off.

    Args:
      feature: the representation to invert.
      training: what to train on, of the same feature and settings.
      validation: `[n, *feature.image_shape]` in [0, 1]; up to 512 of them, evenly spaced, are
        scored while training, and eight of those shown.
      settings: what is learnt.
      workdir: an existing directory; gets `checkpoints/`, `summaries/` and `history.jsonl`.
      strategy: from `strategies.make`.
      pace: how often to log, validate and save.

    Returns:
      The inverter with the averaged weights, without a card, and the history: a list of entries
      with step, loss (since the entry before), images_per_second and at times validation_error.

    Raises:
      InputError: the batch cannot be shared among the devices, a checkpoint is damaged, an image
        or its feature cannot be had, or the loss or a weight is no longer finite; the last good
        checkpoint is kept.
    """
    strategies.check_batch(strategy, settings.batch_size)
    validation = validation[evenly(len(validation), VALIDATION_IMAGES)]
    with strategy.scope():
        state = State(feature, settings)
        checkpoints = Checkpoints(state, workdir / "checkpoints")
        done = checkpoints.restore()
        if not done:
            state.standardization = Standardization.measure(feature, training.features())
    kept = (state.averaged_feature, state.averaged), (state.feature, state.network)
    encoder, network = kept[0 if settings.averaging else 1]
    inverter = Inverter(encoder, state.standardization, network)
    history = History(workdir / "history.jsonl", done)
    if done >= settings.steps:
        return inverter, history.entries
    summaries = Summaries(workdir / "summaries", validation, inverter.output_size)
    batches = distributed(training.batches(done), strategy)
    step = make_step(state, settings, strategy)
    losses: list[tf.Tensor] = []
    last_time, last_step = time.perf_counter(), done
    with progress(done, settings.steps) as bar:
        for number in range(done + 1, settings.steps + 1):
            with pipeline.one_line_errors():
                batch = next(batches)
            losses.append(step(*batch))
            last = number == settings.steps
            checkpoint = last or number % pace.checkpoint == 0
            bar.update()
            if checkpoint or number % pace.log == 0:
                loss = float(np.mean([loss.numpy() for loss in losses]))
                losses.clear()
                if not math.isfinite(loss) or checkpoint and not state.is_finite():
                    raise InputError(diverged(number, loss, checkpoints.latest))
                speed = (
                    (number - last_step) * settings.batch_size / (time.perf_counter() - last_time)
                )
                entry = {"step": number, "loss": loss, "images_per_second": round(speed, 1)}
                bar.set_postfix_str(f"loss {loss:.5f}, {speed:.0f} images/s")
                if last or number % pace.validate == 0:
                    entry["validation_error"] = _validate(inverter, validation, summaries, number)
                history.add(entry)
                summaries.scalars(entry)
                if checkpoint:
                    checkpoints.save(number)
                last_time, last_step = time.perf_counter(), number
    return inverter, history.entries


def distributed(
    batches: tf.data.Dataset, strategy: tf.distribute.Strategy
) -> Iterator[tuple[tf.Tensor, ...]]:
    """Batches shared among the devices, each in the order of the data set."""
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return iter(strategy.experimental_distribute_dataset(batches.with_options(options)))


def _validate(inverter: Inverter, validation: np.ndarray, summaries: Summaries, step: int) -> float:
    reconstructions = inverter.reconstruct(validation)
    summaries.images(reconstructions, step)
    targets = resize_images(validation, inverter.output_size)
    return metrics.normalized_error(targets, reconstructions)


def progress(done: int, steps: int) -> tqdm.tqdm:
    """A bar on standard error; sparing where nobody looks at it."""
    return tqdm.tqdm(
        initial=done,
        total=steps,
        unit="step",
        dynamic_ncols=True,
        mininterval=0.5 if sys.stderr.isatty() else 30.0,
        bar_format="{desc}{n_fmt}/{total_fmt} steps |{bar:20}| {postfix}, {remaining} left",
    )


def diverged(step: int, loss: float, latest: str | None) -> str:
    """What to say where the loss or, if that is finite, a weight is no longer finite."""
    what = "a weight is no longer finite" if math.isfinite(loss) else f"the loss became {loss}"
    kept = f"the last good checkpoint is {latest}" if latest else "no checkpoint was written yet"
    return (
        f"{what} by step {step}; {kept}; try a lower --learning_rate or more --warmup_steps in "
        "another --workdir"
    )
