"""Training the network that inverts a feature, and for an autoencoder the feature's too."""

import pathlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfinvert import metrics
from tfinvert.common.images import evenly_spaced_indices, resize_images
from tfinvert.data import pipeline
from tfinvert.features.base import Feature
from tfinvert.features.standardization import Standardization
from tfinvert.inverter import Inverter
from tfinvert.networks.uncertainty import UncertaintyHead
from tfinvert.training import strategies
from tfinvert.training.datasets import TrainingDataset
from tfinvert.training.history import Entry
from tfinvert.training.settings import DEFAULT_INTERVALS, Intervals, Settings
from tfinvert.training.state import TrainingState
from tfinvert.training.summaries import SummaryWriter
from tfinvert.training.train_loop import restore_or_initialize, train_loop
from tfinvert.training.train_step import check_step_settings, make_train_step
from tfinvert.training.uncertainty import fit_std_scale

VALIDATION_IMAGES = 512


class TrainingResult(NamedTuple):
    """What a training leaves.

    Attributes:
      inverter: with the averaged weights, without a card.
      history: entries with step, loss (since the entry before), images_per_second and at times
        validation_error.
      mean_image: of the first training images, `[*feature.image_shape]` in [0, 1].
    """

    inverter: Inverter
    history: list[Entry]
    mean_image: np.ndarray


def train_inverter(
    feature: Feature,
    training: TrainingDataset,
    validation: np.ndarray,
    settings: Settings,
    workdir: pathlib.Path,
    strategy: tf.distribute.Strategy,
    pace: Intervals = DEFAULT_INTERVALS,
    start: Inverter | None = None,
) -> TrainingResult:
    """Trains the inversion network of a feature, from where `workdir` left off.

    Args:
      feature: the representation to invert.
      training: what to train on, of the same feature and settings.
      validation: `[n, *feature.image_shape]` in [0, 1]; up to 512 of them, evenly spaced, are
        scored while training, and eight of those shown; a spread is calibrated on them.
      settings: what is learnt.
      workdir: an existing directory; gets `checkpoints/`, `summaries/` and `history.jsonl`.
      strategy: from `strategies.make_strategy`.
      pace: how often to log, validate and save.
      start: whose weights and standardisation to begin with, see `warm_start.check_initial_inverter`; None begins
        with fresh ones.

    Raises:
      InputError: the batch cannot be shared among the devices, a checkpoint is damaged, an image
        or its feature cannot be had, or the loss or a weight is no longer finite; the last good
        checkpoint is kept.
    """
    check_step_settings(settings, strategy)
    team = strategies.worker_group(strategy)
    validation = validation[evenly_spaced_indices(len(validation), VALIDATION_IMAGES)]
    with strategy.scope():
        state = TrainingState(feature, settings)

    def fresh() -> None:
        _measure(state, training)
        if start:
            state.standardization = start.standardization
            for network in (state.network, state.averaged):
                network.set_weights(start.network.get_weights())
            if start.uncertainty_head and state.head is not None:
                for head in (state.head, state.averaged_head):
                    head.set_weights(start.uncertainty_head.head.get_weights())

    begun = restore_or_initialize(state, workdir, strategy, fresh)
    inverter = Inverter(state.averaged_feature, state.standardization, state.averaged)
    if state.head is not None:
        head = UncertaintyHead(state.averaged_head, np.ones(3, np.float32))
        inverter.uncertainty_head = head
    fitted = TrainingResult(inverter, begun.entries, state.mean_image.numpy())
    if begun.done >= settings.steps:
        return _calibrated(fitted, validation, team.chief)
    summaries = None
    if team.chief:
        summaries = SummaryWriter(workdir / "summaries", validation, inverter.output_size)
    train_loop(
        make_train_step(state, settings, strategy, training.rest),
        training.batches(begun.done, team.part),
        lambda step: {"validation_error": _validate(inverter, validation, summaries, step)},
        begun,
        length=settings,
        strategy=strategy,
        summaries=summaries,
        pace=pace,
    )
    return _calibrated(fitted, validation, team.chief)


def _calibrated(fitted: TrainingResult, validation: np.ndarray, chief: bool) -> TrainingResult:
    """With the factors of its spread, if it has one."""
    inverter = fitted.inverter
    if inverter.uncertainty_head and chief:
        factors = fit_std_scale(inverter, validation)
        # Another, since its graphs hold the factors they were made with.
        again = Inverter(inverter.feature, inverter.standardization, inverter.network)
        again.uncertainty_head = inverter.uncertainty_head._replace(calibration=factors)
        fitted = fitted._replace(inverter=again)
    return fitted


def _measure(state: TrainingState, training: TrainingDataset) -> None:
    """Standardisation and mean image, from one pass over the first training images."""
    total, count = np.zeros(state.feature.image_shape), 0

    def features() -> Iterator[tf.Tensor]:
        nonlocal total, count
        with pipeline.convert_pipeline_errors():
            for images, values in training.first():
                total, count = total + images.sum(0, np.float64), count + len(images)
                yield values

    state.standardization = Standardization.measure(state.feature, features())
    state.mean_image.assign(total / count)


def _validate(
    inverter: Inverter, validation: np.ndarray, summaries: SummaryWriter, step: int
) -> float:
    reconstructions = inverter.reconstruct(validation)
    summaries.images(reconstructions, step)
    targets = resize_images(validation, inverter.output_size)
    return metrics.normalized_error(targets, reconstructions)
