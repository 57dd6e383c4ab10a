"""The training loop."""

import dataclasses
import json
import math
import pathlib
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf
import tqdm

from tfinvert import metrics
from tfinvert.data import pipeline
from tfinvert.data.sources import Source
from tfinvert.errors import InputError
from tfinvert.features.base import Feature
from tfinvert.features.standardization import Standardization
from tfinvert.inverter import Inverter
from tfinvert.resize import resize_images
from tfinvert.training.settings import Settings
from tfinvert.training.state import Checkpoints, State
from tfinvert.training.step import make_step
from tfinvert.training.summaries import Summaries

STANDARDIZE_IMAGES = 2048
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


def fit(
    feature: Feature,
    training: Source,
    validation: np.ndarray,
    settings: Settings,
    workdir: pathlib.Path,
    strategy: tf.distribute.Strategy,
    pace: Pace = Pace(),
) -> tuple[Inverter, list[dict[str, float]]]:
    """Trains the inversion network of a feature, from where `workdir` left off.

    Args:
      feature: the representation to invert.
      training: photographs to train on.
      validation: `[n, *feature.image_shape]` in [0, 1]; up to 512 of them, evenly spaced, are
        scored while training, and eight of those shown.
      settings: what is learnt.
      workdir: holds `checkpoints/`, `summaries/` and `history.jsonl`.
      strategy: from `strategies.make`.
      pace: how often to log, validate and save.

    Returns:
      The inverter with the averaged weights, without a card, and the history: a list of entries
      with step, loss (since the entry before), images_per_second and at times validation_error.

    Raises:
      InputError: the batch cannot be shared among the devices, a checkpoint is damaged, or the
        loss is no longer finite; the last good checkpoint is kept.
    """
    if settings.batch_size % strategy.num_replicas_in_sync:
        raise InputError(
            f"batch_size must be a multiple of the {strategy.num_replicas_in_sync} devices. "
            f"Received: {settings.batch_size}"
        )
    validation = _evenly(validation, VALIDATION_IMAGES)
    with strategy.scope():
        state = State(feature, settings, _standardize(feature, training, settings))
        checkpoints = Checkpoints(state, workdir / "checkpoints")
        done = checkpoints.restore()
    inverter = Inverter(feature, state.standardization, _kept(state, settings))
    history = _History(workdir / "history.jsonl", done)
    if done >= settings.steps:
        return inverter, history.entries
    summaries = Summaries(workdir / "summaries", validation, inverter.output_size)
    batches = _batches(feature, training, settings, done, strategy)
    step = make_step(state, feature, settings, strategy)
    losses: list[tf.Tensor] = []
    last_time, last_step = time.perf_counter(), done
    with _progress(done, settings.steps) as bar:
        for number in range(done + 1, settings.steps + 1):
            batch = next(batches)
            losses.append(step(*batch))
            last = number == settings.steps
            bar.update()
            if number % pace.log == 0 or number % pace.checkpoint == 0 or last:
                loss = float(np.mean([loss.numpy() for loss in losses]))
                losses.clear()
                if not math.isfinite(loss):
                    raise InputError(_diverged(number, loss, checkpoints.latest))
                now = time.perf_counter()
                speed = (number - last_step) * settings.batch_size / (now - last_time)
                entry = {"step": number, "loss": loss, "images_per_second": round(speed, 1)}
                bar.set_postfix_str(f"loss {loss:.5f}, {speed:.0f} images/s")
                if number % pace.validate == 0 or last:
                    entry["validation_error"] = _validate(inverter, validation, summaries, number)
                history.add(entry)
                summaries.scalars(entry)
                last_time, last_step = time.perf_counter(), number
            if number % pace.checkpoint == 0 or last:
                checkpoints.save(number)
    return inverter, history.entries


def training_images(
    feature: Feature, training: Source, settings: Settings, start_step: int = 0
) -> tf.data.Dataset:
    """The endless batches a run trains on, `[batch_size, *feature.image_shape]` in [0, 1]."""
    return pipeline.training_batches(
        training,
        feature.image_shape[:2],
        settings.batch_size,
        settings.seed,
        start_step=start_step,
        min_crop=settings.min_crop,
        jitter=settings.jitter,
    )


def _kept(state: State, settings: Settings) -> "tf.keras.Model":
    return state.averaged if settings.averaging else state.network


def _standardize(feature: Feature, training: Source, settings: Settings) -> Standardization:
    count = max(1, min(STANDARDIZE_IMAGES, len(training)) // settings.batch_size)
    batches = training_images(feature, training, settings)
    return Standardization.measure(feature, (feature(images) for images in batches.take(count)))


def _batches(
    feature: Feature,
    training: Source,
    settings: Settings,
    done: int,
    strategy: tf.distribute.Strategy,
) -> Iterator[tuple[tf.Tensor, ...]]:
    batches = training_images(feature, training, settings, done)
    if feature.in_graph:
        batches = batches.map(lambda images: (images,))
    else:
        batches = batches.map(lambda images: (images, feature(images))).prefetch(tf.data.AUTOTUNE)
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return iter(strategy.experimental_distribute_dataset(batches.with_options(options)))


def _evenly(images: np.ndarray, most: int) -> np.ndarray:
    return images[np.linspace(0, len(images) - 1, min(most, len(images))).astype(int)]


def _validate(inverter: Inverter, validation: np.ndarray, summaries: Summaries, step: int) -> float:
    reconstructions = inverter.reconstruct(validation)
    summaries.images(reconstructions, step)
    targets = resize_images(validation, inverter.output_size)
    return metrics.normalized_error(np.asarray(targets), reconstructions)


def _progress(done: int, steps: int) -> tqdm.tqdm:
    return tqdm.tqdm(
        initial=done,
        total=steps,
        unit="step",
        dynamic_ncols=True,
        mininterval=0.5 if sys.stderr.isatty() else 30.0,
        bar_format="{desc}{n_fmt}/{total_fmt} steps |{bar:20}| {postfix}, {remaining} left",
    )


def _diverged(step: int, loss: float, latest: str | None) -> str:
    kept = f"the last good checkpoint is {latest}" if latest else "no checkpoint was written yet"
    return (
        f"the loss became {loss} by step {step}; {kept}; try a lower --learning_rate or more "
        "--warmup_steps in another --workdir"
    )


class _History:
    """Entries on disk, one JSON object a line; those after the resumed step are dropped."""

    def __init__(self, path: pathlib.Path, done: int):
        self._path = path
        self.entries: list[dict[str, float]] = []
        if path.exists():
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            whole = [json.loads(line) for line in lines if line.endswith("\n")]
            self.entries = [entry for entry in whole if entry["step"] <= done]
        path.write_text("".join(map(_line, self.entries)), encoding="utf-8")

    def add(self, entry: dict[str, float]) -> None:
        self.entries.append(entry)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(_line(entry))


_line: Callable[[dict[str, float]], str] = lambda entry: json.dumps(entry) + "\n"  # noqa: E731
