"""Training speed: whole runs compared with their step on one batch, and with PyTorch.

    python benchmarks/training_speed.py --data=folder:/images

prints, for each feature, images per second

- of the bare step: network, loss, gradient and optimiser on one batch of random numbers, without
  feature, standardisation, clipping and moving average;
- of the complete step on one batch of images or, for cached features, of cached features;
- of a run's loop on photographs: augmentation, features, steps, moving average and logging;

and the ratio of the loop's time to the step's: the median of rounds, in each of which the loop runs
between two runs of the step, as a machine's speed drifts. Validations and checkpoints, of which a
run has one every thousand steps, are omitted. For HOG, if torch and VLFeat's C library are
installed, PyTorch trains the same network on the same images: a DataLoader crops and computes HOG,
and the step is forward, backward, clipping and Adam, without a moving average.
"""

import tfinvert  # isort: skip  # before TensorFlow, as it sets its environment variables

import dataclasses
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf
import torch_peer
from absl import flags

from tfinvert.commands import runtime
from tfinvert.data.open_source import SOURCE_FORMATS, open_source
from tfinvert.features.base import Feature
from tfinvert.metrics.evaluation import read_images
from tfinvert.training import strategies, train_inverter
from tfinvert.training.datasets import TrainingDataset, image_cache_for, open_training_dataset
from tfinvert.training.settings import Settings
from tfinvert.training.state import TrainingState
from tfinvert.training.train_step import make_train_step

_DATA = flags.DEFINE_string("data", "photos", f"Training photographs: {SOURCE_FORMATS}.")
_SECONDS = flags.DEFINE_float("seconds", 8.0, "Seconds per measurement.")
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Number of rounds.", 1)
_ROWS = flags.DEFINE_list("rows", None, "Names of the rows to measure; default: all.")
_PRECISION = flags.DEFINE_string("precision", "float32", "Compute precision.")


@dataclasses.dataclass(frozen=True)
class Row:
    """A configuration to measure.

    Attributes:
      feature: name of the feature.
      side: side of the images in pixels.
      batch: images per step.
      width: width of the network.
      cached: number of cached views per photograph; 0 computes the features.
    """

    feature: str
    side: int
    batch: int
    width: float = 0.5
    cached: int = 0


ROWS = {
    "hog-64": Row("hog", 64, 64),
    "hog-128": Row("hog", 128, 32),
    "hog-256": Row("hog", 256, 8),
    "lbp-64": Row("lbp:cell_size=8", 64, 64),
    "sift-64": Row("sift", 64, 64, cached=1),
    "fc6-64": Row("alexnet/fc6", 64, 64, cached=1),
    "conv5-64": Row("alexnet/conv5", 64, 64, cached=1),
}


def main() -> None:
    """Prints the table."""
    names = _ROWS.value or list(ROWS)
    print(
        f"{_PRECISION.value}, images/s; medians of {_ROUNDS.value} rounds of {_SECONDS.value:.0f} s"
    )
    print("| run | bare step | step | loop | loop time ÷ step time | PyTorch | loop ÷ PyTorch |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            print(f"| {name} | {' | '.join(measure(ROWS[name], pathlib.Path(folder)))} |")


def measure(row: Row, folder: pathlib.Path) -> list[str]:
    """Measures a row; returns its cells."""
    feature = tfinvert.features.get(row.feature, image_shape=(row.side, row.side, 3))
    settings = Settings(
        steps=10**6,
        batch_size=row.batch,
        width=row.width,
        network="paper",  # PyTorch's peer supports this network and Adam
        optimizer="adam",
        cached_views=row.cached,
        precision=_PRECISION.value,
    )
    source = open_source(
        _DATA.value, "training", image_cache_for(settings, feature.image_shape[:2])
    )
    cache = folder / "cache" if row.cached else None
    dataset = open_training_dataset(feature, source, settings, cache)
    validation = read_images(open_source(_DATA.value, "validation"), (row.side, row.side), 512)
    bare = _speed(_bare_step(feature, settings), row.batch)
    step = _complete_step(feature, dataset, settings)
    steps, loops = [_speed(step, row.batch)], []
    for _ in range(_ROUNDS.value):
        loops.append(_loop_speed(feature, dataset, validation, settings, folder, steps[-1]))
        steps.append(_speed(step, row.batch))
    around = zip(steps, steps[1:], loops, strict=False)
    ratio = statistics.median((before + after) / 2 / loop for before, after, loop in around)
    synthetic, whole = statistics.median(steps), statistics.median(loops)
    peer = torch_peer.images_per_second(feature, source, settings, _SECONDS.value)
    cells = [f"{bare:.0f}", f"{synthetic:.0f}", f"{whole:.0f}", f"{ratio:.3f}"]
    return cells + (["–", "–"] if peer is None else [f"{peer:.0f}", f"{whole / peer:.2f}"])


def _speed(step: Callable[[], tf.Tensor], batch: int) -> float:
    for _ in range(3):
        step().numpy()
    steps, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < _SECONDS.value:
        loss = step()
        steps += 1
    loss.numpy()
    return steps * batch / (time.perf_counter() - begin)


def _state(feature: Feature, settings: Settings) -> tuple[TrainingState, tf.distribute.Strategy]:
    strategy = strategies.make_strategy("one")
    with strategy.scope():
        return TrainingState(feature, settings), strategy


def _bare_step(feature: Feature, settings: Settings) -> Callable[[], tf.Tensor]:
    state, _ = _state(feature, settings)
    inputs = tf.random.normal((settings.batch_size, *feature.spec.shape))
    targets = tf.random.uniform((settings.batch_size, *state.network.output_shape[1:]))
    variables = state.network.trainable_variables

    @tf.function
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(state.network(inputs, training=True) - targets))
        state.optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    return step


def _complete_step(
    feature: Feature, dataset: TrainingDataset, settings: Settings
) -> Callable[[], tf.Tensor]:
    state, strategy = _state(feature, settings)
    batch = next(iter(dataset.batches()))
    step = make_train_step(state, settings, strategy, dataset.tail)
    return lambda: step(*batch)


def _loop_speed(
    feature: Feature,
    dataset: TrainingDataset,
    validation: np.ndarray,
    settings: Settings,
    folder: pathlib.Path,
    expected: float,
) -> float:
    """Images per second of the loop, without the history's first entry, which has the tracing."""
    steps = max(60, round(_SECONDS.value * expected / settings.batch_size))
    settings = dataclasses.replace(settings, steps=steps)
    with tempfile.TemporaryDirectory(dir=folder) as workdir:
        _, history, _ = train_inverter.train_inverter(
            feature,
            dataset,
            validation,
            settings,
            pathlib.Path(workdir),
            strategies.make_strategy("one"),
            train_inverter.Intervals(log=10, validate=1000, checkpoint=1000),
        )
    return statistics.harmonic_mean(entry["images_per_second"] for entry in history[1:])


if __name__ == "__main__":
    runtime.run(main)
