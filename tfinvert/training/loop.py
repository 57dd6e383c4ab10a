"""Training the network that inverts a feature, and for an autoencoder the feature's too."""

import pathlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfinvert import metrics
from tfinvert.data import pipeline
from tfinvert.features.base import Feature
from tfinvert.features.standardization import Standardization
from tfinvert.inverter import Inverter
from tfinvert.networks.spread import Spread
from tfinvert.resize import resize_images
from tfinvert.sampling import evenly
from tfinvert.training import strategies
from tfinvert.training.calibration import calibration
from tfinvert.training.examples import Examples
from tfinvert.training.history import Entry
from tfinvert.training.pace import PACE, Pace
from tfinvert.training.settings import Settings
from tfinvert.training.state import State
from tfinvert.training.step import check, make_step
from tfinvert.training.stepping import begin, take_steps
from tfinvert.training.summaries import Summaries

VALIDATION_IMAGES = 512


class Fitted(NamedTuple):
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


def fit(
    feature: Feature,
    training: Examples,
    validation: np.ndarray,
    settings: Settings,
    workdir: pathlib.Path,
    strategy: tf.distribute.Strategy,
    pace: Pace = PACE,
    start: Inverter | None = None,
) -> Fitted:
    """Trains the inversion network of a feature, from where `workdir` left off.

    Args:
      feature: the representation to invert.
      training: what to train on, of the same feature and settings.
      validation: `[n, *feature.image_shape]` in [0, 1]; up to 512 of them, evenly spaced, are
        scored while training, and eight of those shown; a spread is calibrated on them.
      settings: what is learnt.
      workdir: an existing directory; gets `checkpoints/`, `summaries/` and `history.jsonl`.
      strategy: from `strategies.make`.
      pace: how often to log, validate and save.
      start: whose weights and standardisation to begin with, see `start.check_start`; None begins
        with fresh ones.

    Raises:
      InputError: the batch cannot be shared among the devices, a checkpoint is damaged, an image
        or its feature cannot be had, or the loss or a weight is no longer finite; the last good
        checkpoint is kept.
    """
    check(settings, strategy)
    team = strategies.team(strategy)
    validation = validation[evenly(len(validation), VALIDATION_IMAGES)]
    with strategy.scope():
        state = State(feature, settings)

    def fresh() -> None:
        _measure(state, training)
        if start:
            state.standardization = start.standardization
            for network in (state.network, state.averaged):
                network.set_weights(start.network.get_weights())
            if start.spread and state.head is not None:
                for head in (state.head, state.averaged_head):
                    head.set_weights(start.spread.head.get_weights())

    begun = begin(state, workdir, strategy, fresh)
    inverter = Inverter(state.averaged_feature, state.standardization, state.averaged)
    if state.head is not None:
        inverter.spread = Spread(state.averaged_head, np.ones(3, np.float32))
    fitted = Fitted(inverter, begun.entries, state.mean_image.numpy())
    if begun.done >= settings.steps:
        return _calibrated(fitted, validation, team.chief)
    summaries = None
    if team.chief:
        summaries = Summaries(workdir / "summaries", validation, inverter.output_size)
    take_steps(
        make_step(state, settings, strategy, training.rest),
        training.batches(begun.done, team.part),
        lambda step: {"validation_error": _validate(inverter, validation, summaries, step)},
        begun,
        length=settings,
        strategy=strategy,
        summaries=summaries,
        pace=pace,
    )
    return _calibrated(fitted, validation, team.chief)


def _calibrated(fitted: Fitted, validation: np.ndarray, chief: bool) -> Fitted:
    """With the factors of its spread, if it has one."""
    inverter = fitted.inverter
    if inverter.spread and chief:
        factors = calibration(inverter, validation)
        # Another, since its graphs hold the factors they were made with.
        again = Inverter(inverter.feature, inverter.standardization, inverter.network)
        again.spread = inverter.spread._replace(calibration=factors)
        fitted = fitted._replace(inverter=again)
    return fitted


def _measure(state: State, training: Examples) -> None:
    """Standardisation and mean image, from one pass over the first training images."""
    total, count = np.zeros(state.feature.image_shape), 0

    def features() -> Iterator[tf.Tensor]:
        nonlocal total, count
        with pipeline.one_line_errors():
            for images, values in training.first():
                total, count = total + images.sum(0, np.float64), count + len(images)
                yield values

    state.standardization = Standardization.measure(state.feature, features())
    state.mean_image.assign(total / count)


def _validate(inverter: Inverter, validation: np.ndarray, summaries: Summaries, step: int) -> float:
    reconstructions = inverter.reconstruct(validation)
    summaries.images(reconstructions, step)
    targets = resize_images(validation, inverter.output_size)
    return metrics.normalized_error(targets, reconstructions)
