"""Trains an inversion network and, for an autoencoder, the model of its feature."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tfinvert import metrics
from tfinvert.common.backend import Tensor
from tfinvert.common.images import evenly_spaced_indices, resize_images
from tfinvert.features.base import Feature
from tfinvert.features.standardization import Standardization
from tfinvert.inverter import Inverter
from tfinvert.networks.uncertainty import UncertaintyHead
from tfinvert.training import strategies
from tfinvert.training.history import Entry
from tfinvert.training.settings import DEFAULT_INTERVALS, Intervals, Settings
from tfinvert.training.state import TrainingState
from tfinvert.training.summaries import SummaryWriter
from tfinvert.training.train_loop import restore_or_initialize, train_loop
from tfinvert.training.train_step import check_step_settings, make_train_step
from tfinvert.training.uncertainty import fit_std_scale

if TYPE_CHECKING:
    import tensorflow as tf

    from tfinvert.training.datasets import TrainingDataset

VALIDATION_IMAGES = 512


class TrainingResult(NamedTuple):
    """The result of a training run.

    Attributes:
      inverter: inverter with the averaged weights and an empty card.
      history: entries with step, loss (mean since the previous entry), images_per_second and, at
        validations, validation_error.
      mean_image: mean of the first training images, `[*feature.image_shape]` in [0, 1].
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
    strategy: tf.distribute.Strategy | None,
    intervals: Intervals = DEFAULT_INTERVALS,
    init_from: Inverter | None = None,
) -> TrainingResult:
    """Trains the inversion network of a feature; resumes an interrupted run.

    Args:
      feature: the feature to invert.
      training: training data, with the same feature and settings.
      validation: images `[n, *feature.image_shape]` in [0, 1]. Up to 512 evenly spaced ones are
        scored during training, and eight of them written to TensorBoard; an uncertainty head is
        calibrated on them.
      settings: hyperparameters.
      workdir: existing directory, which receives `checkpoints/`, `summaries/` and `history.jsonl`.
      strategy: the devices, from `strategies.make_strategy`.
      intervals: logging, validation and checkpoint intervals.
      init_from: inverter whose weights and standardisation training starts from, see
        `warm_start.check_initial_inverter`; None for random weights.

    Raises:
      InputError: the devices cannot share a batch, a checkpoint is damaged, an image or its feature
        is unavailable, or the loss or a weight is not finite. The last good checkpoint is kept.
      Interrupted: see `train_loop`.
    """
    check_step_settings(settings, strategy)
    workers = strategies.worker_group(strategy)
    validation = validation[evenly_spaced_indices(len(validation), VALIDATION_IMAGES)]
    with strategies.scope(strategy):
        state = TrainingState(feature, settings)

    def initialize() -> None:
        _compute_statistics(state, training)
        if init_from:
            copy_weights(init_from, state)

    resume_point = restore_or_initialize(state, workdir, strategy, initialize)
    inverter = Inverter(state.ema_feature, state.standardization, state.ema_network)
    if state.head is not None:
        inverter.uncertainty_head = UncertaintyHead(state.ema_head, np.ones(3, np.float32))
    result = TrainingResult(inverter, resume_point.entries, state.mean_image.numpy())
    if resume_point.done < settings.steps:
        summaries = None
        if workers.is_chief:
            summaries = SummaryWriter(workdir / "summaries", validation, inverter.output_size)

        def validate(step: int) -> dict[str, float]:
            reconstructions = inverter.reconstruct(validation)
            summaries.write_images(reconstructions, step)
            targets = resize_images(validation, inverter.output_size)
            return {"validation_error": metrics.normalized_error(targets, reconstructions)}

        train_loop(
            make_train_step(state, settings, strategy, training.tail),
            training.batches(resume_point.done, workers.shard),
            validate,
            resume_point,
            length=settings,
            strategy=strategy,
            summaries=summaries,
            intervals=intervals,
        )
    if not workers.is_chief:
        return result
    return result._replace(inverter=calibrate(result.inverter, validation))


def copy_weights(inverter: Inverter, state: TrainingState) -> None:
    """Copies an inverter's weights and standardisation, and its uncertainty head if it has one."""
    state.standardization = inverter.standardization
    for network in (state.network, state.ema_network):
        network.set_weights(inverter.network.get_weights())
    if inverter.uncertainty_head and state.head is not None:
        for head in (state.head, state.ema_head):
            head.set_weights(inverter.uncertainty_head.head.get_weights())


def calibrate(inverter: Inverter, validation: np.ndarray) -> Inverter:
    """Calibrates an inverter's uncertainty head on validation images, if it has one."""
    if not inverter.uncertainty_head:
        return inverter
    factors = fit_std_scale(inverter, validation)
    # A new inverter, as the old one's graphs contain the factors they were traced with.
    calibrated = Inverter(inverter.feature, inverter.standardization, inverter.network)
    calibrated.uncertainty_head = inverter.uncertainty_head._replace(calibration=factors)
    return calibrated


def _compute_statistics(state: TrainingState, training: TrainingDataset) -> None:
    """Sets standardisation and mean image from one pass over the first training images."""
    from tfinvert.data import pipeline  # which needs TensorFlow

    total, count = np.zeros(state.feature.image_shape), 0

    def features() -> Iterator[Tensor]:
        nonlocal total, count
        with pipeline.convert_pipeline_errors():
            for images, values in training.statistics_batches():
                total, count = total + images.sum(0, np.float64), count + len(images)
                yield values

    state.standardization = Standardization.measure(state.feature, features())
    state.mean_image.assign(total / count)
