"""Trains the inversion network of a feature (Dosovitskiy & Brox 2016, section 3).

What it writes into the work directory: `flags.json`, `checkpoints/`, `summaries/` (TensorBoard),
`history.jsonl`, `inverter/`, `metrics.json` and `report.html`. The same command goes on where an
interrupted run stopped.

HOG at 64 pixels on 49 800 ImageNet photographs, about an hour on two cores, normalised
reconstruction error about 0.41 (docs/results.md):

    python recipes/train_inverter.py --feature=hog --data=folder:train \\
        --validation_data=folder:val --image_size=64 --width=0.75 --min_crop=0.8 \\
        --steps=24000 --workdir=runs/hog

A first try on the embedded photographs, a minute:

    python recipes/train_inverter.py --feature=hog --data=photos --steps=500 --workdir=runs/try
"""

import dataclasses
import pathlib
import time
from typing import Any

import numpy as np
from absl import flags

from tfinvert import cli, features
from tfinvert.card import make_card
from tfinvert.data import pipeline
from tfinvert.data.open import FORMS, open_source
from tfinvert.data.sources import Source
from tfinvert.errors import InputError
from tfinvert.evaluation import (
    MAX_IMAGES,
    Evaluation,
    evaluate,
    mean_image_baseline,
    read_images,
)
from tfinvert.files import write_json
from tfinvert.inverter import Inverter
from tfinvert.networks import inversion
from tfinvert.reporting.run_report import write_run_report
from tfinvert.resize import resize_images
from tfinvert.training import loop, strategies
from tfinvert.training.run_directory import open_run
from tfinvert.training.settings import Settings

FLAGS = flags.FLAGS
PACE = loop.Pace()


@dataclasses.dataclass(frozen=True)
class Experiment:
    """What is trained on what: with `Settings`, everything that determines the result."""

    feature: str
    data: str
    image_size: int
    validation_data: str | None = None


def train(
    experiment: Experiment,
    settings: Settings,
    workdir: str,
    strategy: str = "auto",
    pace: loop.Pace = PACE,
    dtype: str = "float32",
) -> pathlib.Path:
    """Trains, evaluates and reports; returns the run's directory.

    Raises:
      InputError: something given is wrong; nothing of the user's is overwritten.
    """
    side = experiment.image_size
    feature = features.get(experiment.feature, image_shape=(side, side, 3))
    inversion.build(feature, width=settings.width)  # before the data: an unfit size ends here
    devices = strategies.make(strategy)
    run = open_run(workdir, dataclasses.asdict(experiment) | dataclasses.asdict(settings))
    training = open_source(experiment.data, "all" if experiment.validation_data else "training")
    validation = (
        open_source(experiment.validation_data)
        if experiment.validation_data
        else open_source(experiment.data, "validation")
    )
    sample, throughput = _sample(feature, training, settings)
    print(
        f"{len(training)} training images an epoch, {validation.evaluation_size} validation "
        f"images; the input pipeline alone gives {throughput:.0f} images/s"
    )
    images = read_images(validation, feature.image_shape[:2], MAX_IMAGES)
    if len(images) < 2:
        raise InputError("validation takes at least two images. Received: 1")
    begin = time.perf_counter()
    inverter, history = loop.fit(feature, training, images, settings, run, devices, pace)
    seconds = time.perf_counter() - begin
    inverter.round_weights(dtype)
    evaluation = evaluate(inverter, images)
    mean_image = np.asarray(resize_images(sample, inverter.output_size)).mean(0)
    baseline = mean_image_baseline(evaluation, mean_image)
    inverter.card = make_card(
        **dataclasses.asdict(experiment),
        **dataclasses.asdict(settings),
        parameters=inverter.network.count_params(),
        training_images_per_second=_typical_speed(history),
        last_session_minutes=round(seconds / 60, 1),
        metrics=evaluation.metrics,
    )
    _write(run, inverter, evaluation, baseline, history, dtype)
    print(
        f"normalised reconstruction error {evaluation.metrics['normalized_error']:.3f} on "
        f"{len(images)} images (the mean image: {baseline['normalized_error']:.3f})\n"
        f"inverter: {run / 'inverter'}\nreport:   {run / 'report.html'}"
    )
    return run


def _sample(
    feature: features.Feature, training: Source, settings: Settings
) -> tuple[np.ndarray, float]:
    """Some training crops, for the mean image, and the pipeline's throughput."""
    batches = loop.training_images(feature, training, settings)
    sample = batches.take(-(-1024 // settings.batch_size)).as_numpy_iterator()
    return np.concatenate(list(sample)), pipeline.images_per_second(batches)


def _typical_speed(history: list[dict[str, float]]) -> float:
    return float(np.median([entry["images_per_second"] for entry in history]))


def _write(
    run: pathlib.Path,
    inverter: Inverter,
    evaluation: Evaluation,
    baseline: dict[str, Any],
    history: list[dict[str, float]],
    dtype: str,
) -> None:
    if not (run / "inverter").exists():  # else the run was whole already, and is so again
        inverter.save(run / "inverter", dtype)
    write_json(run / "metrics.json", {"inverter": evaluation.metrics, "mean_image": baseline})
    write_run_report(
        run / "report.html",
        feature=inverter.feature.name,
        evaluation=evaluation,
        baseline=baseline,
        history=history,
        details=inverter.card,
    )


def define_flags() -> None:
    """A flag for each field of Experiment and Settings, and how to go about it."""
    defaults = {field.name: field.default for field in dataclasses.fields(Settings)}
    flags.DEFINE_string("feature", None, f"What to invert: {', '.join(features.names())}.")
    flags.DEFINE_string("data", "photos", f"Training photographs: {FORMS}.")
    flags.DEFINE_string(
        "validation_data", None, "The same for validation; else held out of --data."
    )
    flags.DEFINE_integer("image_size", 64, "Height and width of the images, in pixels.")
    flags.DEFINE_integer("steps", 20000, "Optimiser steps in all.")
    flags.DEFINE_integer("batch_size", defaults["batch_size"], "Images a step, over all devices.")
    flags.DEFINE_float("learning_rate", defaults["learning_rate"], "Adam's peak rate.")
    flags.DEFINE_integer("warmup_steps", defaults["warmup_steps"], "Steps of linear warm-up.")
    flags.DEFINE_float("clip_norm", defaults["clip_norm"], "Largest norm of the gradient.")
    flags.DEFINE_float(
        "averaging", defaults["averaging"], "Decay of the averaged weights; 0: none."
    )
    flags.DEFINE_float("min_crop", None, "Smallest random crop, as a fraction of the largest.")
    flags.DEFINE_float("jitter", None, "How strongly colours and contrast vary, from 0 to 1.")
    flags.DEFINE_float("width", defaults["width"], "Scales the channels of the network.")
    flags.DEFINE_integer("seed", defaults["seed"], "Of weights, order and crops.")
    flags.DEFINE_enum("strategy", "auto", strategies.NAMES, "How to use several devices.")
    flags.DEFINE_string("workdir", None, "The run's directory.")
    flags.DEFINE_integer("log_every", PACE.log, "Steps between log entries.")
    flags.DEFINE_integer("validate_every", PACE.validate, "Steps between validations.")
    flags.DEFINE_integer("checkpoint_every", PACE.checkpoint, "Steps between checkpoints.")
    flags.DEFINE_enum("dtype", "float32", ["float32", "float16"], "Of the saved weights.")
    flags.mark_flags_as_required(["feature", "workdir"])


def main() -> None:
    """From flags to a run."""
    settings = Settings(**{f.name: FLAGS[f.name].value for f in dataclasses.fields(Settings)})
    experiment = Experiment(**{f.name: FLAGS[f.name].value for f in dataclasses.fields(Experiment)})
    pace = loop.Pace(FLAGS.log_every, FLAGS.validate_every, FLAGS.checkpoint_every)
    train(experiment, settings, FLAGS.workdir, FLAGS.strategy, pace, FLAGS.dtype)


if __name__ == "__main__":
    define_flags()
    cli.run(main)
