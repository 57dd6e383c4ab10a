"""Training runs of inverters: train, evaluate, save and report."""

import dataclasses
import pathlib
from typing import Any

import numpy as np

from tfinvert import features
from tfinvert.common.backend import gpu_names
from tfinvert.common.images import evenly_spaced_indices, resize_images
from tfinvert.common.provenance import make_card
from tfinvert.config.choices import MAX_IMAGES, MEMORY_GB
from tfinvert.config.stored_pairs import PairsConfig
from tfinvert.data.image_cache import DecodedImageCache
from tfinvert.data.open_source import open_source
from tfinvert.data.sources import Source
from tfinvert.data.stored_pairs import PairedPhotographs, StoredPairs
from tfinvert.errors import InputError
from tfinvert.features.base import Feature
from tfinvert.features.stored import StoredFeature
from tfinvert.inverter import Inverter, load
from tfinvert.metrics.evaluation import (
    MAX_SAMPLED_IMAGES,
    evaluate,
    evaluate_samples,
    mean_image_baseline,
    read_images,
)
from tfinvert.networks import inversion
from tfinvert.reporting.run_report import (
    MAX_GRID_IMAGES,
    METRICS_FILE,
    REPORT_FILE,
    write_run_report,
)
from tfinvert.runs.paired_images import remember_features
from tfinvert.runs.run_context import RunContext, open_run_context
from tfinvert.training import (
    precision,
    strategies,
    train_inverter,
    train_sampler,
    train_step,
)
from tfinvert.training.datasets import (
    PairedDataset,
    TrainingDataset,
    check_whole_views,
    image_cache_for,
    open_training_dataset,
)
from tfinvert.training.history import training_minutes
from tfinvert.training.losses import make_loss
from tfinvert.training.settings import DEFAULT_INTERVALS, Intervals, Settings
from tfinvert.training.state import has_checkpoint
from tfinvert.training.warm_start import check_initial_inverter

INVERTER = "inverter"
_SAMPLED_IMAGES = 6  # validation images whose samples the report shows


@dataclasses.dataclass(frozen=True)
class TrainingRun:
    """Configuration of a training run; with `Settings`, it determines the result.

    Attributes:
      feature: the feature's name, with options; None for that of `pairs`.
      data: training photographs, a name that `open_source` takes.
      image_size: height and width of the images in pixels.
      validation_data: validation photographs; None holds out images of `data`.
      validation_images: maximum number of validation images, evenly subsampled; they are held in
        memory.
      weights_dtype: data type of the weights that are evaluated and saved, "float32" or "float16".
      init_from: inverter whose weights initialise training, a name or directory that
        `tfinvert.load` takes; it is not read again when the run is resumed. None initialises the
        weights at random.
      train_sampler: whether to train a sampler for `init_from`, which is frozen.
      pairs: features of the photographs that were computed elsewhere, which are inverted.
      validation_pairs: file of those of `validation_data`.

    Raises:
      InputError: a value is out of range, or two do not go together.
    """

    feature: str | None
    data: str
    image_size: int
    validation_data: str | None = None
    validation_images: int = MAX_IMAGES
    weights_dtype: str = "float32"
    init_from: str | None = None
    train_sampler: bool = False
    pairs: PairsConfig | None = None
    validation_pairs: str | None = None

    def __post_init__(self) -> None:
        if not self.feature and not self.pairs:
            raise InputError(
                "training needs a feature to invert; give --feature=NAME, or --pairs=FILE for "
                "features that were computed elsewhere. Received: neither"
            )
        if self.pairs and self.train_sampler:
            raise InputError(
                "--train_sampler computes the features of samples, which --pairs cannot; omit one "
                f"of them. Received: --pairs={self.pairs.path}"
            )
        if bool(self.pairs and self.validation_data) != bool(self.validation_pairs):
            raise InputError(
                "--validation_pairs has the features of --validation_data, as --pairs has those of "
                "--data; give both or neither. Received: "
                f"--validation_data={self.validation_data} "
                f"--validation_pairs={self.validation_pairs}"
            )
        if self.train_sampler and not self.init_from:
            raise InputError(
                "--train_sampler needs an inverter; give --init_from=INVERTER. Received: none"
            )
        if self.validation_images < 2:
            raise InputError(
                f"--validation_images must be at least 2. Received: {self.validation_images}"
            )


def run_training(
    config: TrainingRun,
    settings: Settings,
    workdir: str | pathlib.Path,
    strategy: str = "auto",
    intervals: Intervals = DEFAULT_INTERVALS,
    cache: str | pathlib.Path | None = None,
    memory_gb: float = MEMORY_GB,
) -> pathlib.Path:
    """Trains, evaluates, saves and reports, and prints progress.

    An interrupted run is resumed; a complete one is left as it is. With the strategy
    "multi_worker", every worker calls this function before it uses TensorFlow in any other way,
    and only the chief writes files.

    Args:
      config: feature, data and initial weights.
      settings: network, loss and optimisation.
      workdir: the run directory.
      strategy: a name that `strategies.make_strategy` takes.
      intervals: steps between log entries, validations and checkpoints.
      cache: folder for caches of fixed views; needed if and only if the settings have
        `cached_views`.
      memory_gb: memory for decoded photographs in gigabytes.

    Returns:
      The run directory.

    Raises:
      InputError: the input is wrong. No file is overwritten.
      Interrupted: the process was interrupted; the last step is saved.
    """
    with open_run_context(workdir, strategy, config, settings, intervals) as run:
        _train(run, config, settings, intervals, cache, memory_gb)
        return run.path


def _train(
    run: RunContext,
    config: TrainingRun,
    settings: Settings,
    intervals: Intervals,
    cache: str | pathlib.Path | None,
    memory_gb: float,
) -> None:
    size = config.image_size, config.image_size
    # Settings are checked before the data is read.
    if config.pairs:
        check_whole_views(settings, cache)
    pairs = _open_pairs(config)
    feature = _make_feature(config, pairs)
    initial = _load_initial_inverter(run, config, settings, feature)
    train_step.check_step_settings(settings, run.strategy)
    precision.check_precision(settings.precision)
    if pairs:
        training, validation = _open_paired_photographs(config, pairs, memory_gb)
        image_cache = training.image_cache
        dataset: TrainingDataset = PairedDataset(feature, training, settings)
    else:
        image_cache = image_cache_for(settings, size, memory_gb)
        training, validation = _open_sources(config, image_cache)
        dataset = open_training_dataset(feature, training, settings, cache)
    _check_validation_size(validation)
    facts = _describe_config(config, pairs) | dataclasses.asdict(settings)
    # The number of images is part of the flags, since the order of the images depends on it.
    flags = facts | {"training_images": len(training)}
    if digest := feature.get_config().get("digest"):  # of a file that may change between runs
        flags["feature_digest"] = digest

    def run_summary() -> str:
        return (
            f"{len(training)} training images per epoch, {validation.evaluation_size} validation "
            f"images; {strategies.num_devices(run.strategy)} × {_device_kind()}{image_cache}"
        )

    if not run.open(flags, (INVERTER, METRICS_FILE, REPORT_FILE), dataset, run_summary):
        return
    limit = config.validation_images if run.workers.is_chief else 1
    images = read_images(validation, size, limit)
    if pairs:
        feature = remember_features(feature, validation, images, limit)
    arguments = dataset, images, settings, run.path, run.strategy, intervals
    if config.train_sampler:
        inverter, history, mean_image = train_sampler.train_sampler(initial, *arguments)
    else:
        inverter, history, mean_image = train_inverter.train_inverter(feature, *arguments, initial)
    if not run.workers.is_chief:
        return
    inverter.round_weights(config.weights_dtype)
    evaluation = evaluate(inverter, images)
    mean_image = resize_images(mean_image[np.newaxis], inverter.output_size)[0]
    baseline = mean_image_baseline(evaluation, mean_image)
    facts |= _count_parameters(inverter)
    samples = None
    if config.train_sampler:
        shown = images[evenly_spaced_indices(len(images), MAX_GRID_IMAGES)[:_SAMPLED_IMAGES]]
        samples = inverter.sample(inverter.encode(shown), 4)
        subset = images[evenly_spaced_indices(len(images), MAX_SAMPLED_IMAGES)]
        facts["samples_metrics"] = evaluate_samples(inverter, subset)
    minutes = training_minutes(history, settings.batch_size)
    inverter.card = make_card(
        **facts,
        training_minutes=round(minutes, 1),
        training_images_per_second=round(settings.steps * settings.batch_size / minutes / 60, 1),
        workers=run.workers.size,
        metrics=evaluation.metrics,
    )
    if not (run.path / INVERTER).exists():
        inverter.save(run.path / INVERTER, config.weights_dtype)
    write_run_report(
        run.path,
        feature=feature.name,
        photographs="held-out images",
        evaluation=evaluation,
        baseline_name="mean training image",
        baseline=baseline,
        history=history,
        details=inverter.card,
        samples=samples,
    )
    print(_summarize_result(run.path, inverter.card, baseline))


def _load_initial_inverter(
    run: RunContext, config: TrainingRun, settings: Settings, feature: Feature
) -> Inverter | None:
    """The inverter that initialises training, if there is one; checks the settings as well."""
    if config.train_sampler:  # also when the run is resumed: checkpoints have the sampler only
        saved = run.path / INVERTER  # of a run whose report is missing; it has the same network
        initial = load(saved if saved.exists() else config.init_from)
        train_sampler.check_sampler_settings(initial, feature, settings)
        return initial
    network = inversion.build(
        feature, width=settings.width, hidden_units=settings.hidden_units, network=settings.network
    )
    make_loss(settings.loss, network.output_shape[1:3])
    if config.init_from and settings.train_encoder:
        raise InputError(
            "--init_from cannot be combined with --train_encoder; give one of them. "
            f"Received: --init_from={config.init_from}"
        )
    if settings.uncertainty == "frozen" and not config.init_from:
        raise InputError(
            "--uncertainty=frozen needs an inverter; give --init_from=INVERTER. Received: none"
        )
    if settings.uncertainty == "frozen" and settings.loss != Settings(1).loss:
        raise InputError(
            "--uncertainty=frozen trains with the negative log-likelihood; leave out --loss. "
            f"Received: --loss={settings.loss}"
        )
    if settings.train_encoder and not (feature.model and feature.model.trainable_variables):
        feature.trainable_copy()  # raises the error
    # When a run is resumed, its checkpoint has the weights, and the inverter may be gone.
    if not config.init_from or not run.workers.is_chief or has_checkpoint(run.path):
        return None
    initial = load(config.init_from)
    check_initial_inverter(initial, feature, network)
    return initial


def _count_parameters(inverter: Inverter) -> dict[str, int]:
    counts = {"parameters": inverter.network.count_params()}
    if inverter.flow:
        counts["samples_parameters"] = inverter.flow.network.count_params()
    return counts


def has_held_out_split(data: str, inverter_card: dict[str, Any]) -> bool:
    """Returns whether an inverter was trained on this data with its validation images held out."""
    return data == inverter_card.get("data") and not inverter_card.get("validation_data")


def _open_sources(config: TrainingRun, image_cache: DecodedImageCache) -> tuple[Source, Source]:
    """The training and the validation photographs."""
    if config.validation_data:
        training = open_source(config.data, "all", image_cache)
        validation = open_source(config.validation_data)
    else:
        training = open_source(config.data, "training", image_cache)
        validation = open_source(config.data, "validation")
    return training, validation


def _open_paired_photographs(
    config: TrainingRun, pairs: tuple[StoredPairs, StoredPairs], memory_gb: float
) -> tuple[PairedPhotographs, PairedPhotographs]:
    """The training and the validation photographs, with their stored features."""
    size = config.image_size, config.image_size
    splits = ("all", "all") if config.validation_data else ("training", "validation")
    return pairs[0].open(splits[0], size, memory_gb), pairs[1].open(splits[1], size)


def _check_validation_size(validation: Source) -> None:
    if validation.evaluation_size < 2:
        raise InputError(
            "the validation data contains one image; the normalised error needs at least two. "
            f"Received: {validation.name}"
        )


def _open_pairs(config: TrainingRun) -> tuple[StoredPairs, StoredPairs] | None:
    """The stored features of the training and the validation photographs, if there are some."""
    if not config.pairs:
        return None
    training = StoredPairs(config.pairs, config.data)
    if not config.validation_pairs:
        return training, training
    own = dataclasses.replace(config.pairs, path=config.validation_pairs)
    validation = StoredPairs(own, config.validation_data)
    shapes = [each.features.shape for each in (training, validation)]
    if shapes[0] != shapes[1]:
        raise InputError(
            "--pairs and --validation_pairs must have features of one shape. Received: "
            f"{shapes[0]} and {shapes[1]}"
        )
    return training, validation


def _make_feature(config: TrainingRun, pairs: tuple[StoredPairs, StoredPairs] | None) -> Feature:
    image_shape = config.image_size, config.image_size, 3
    if pairs:
        feature: Feature = StoredFeature(pairs[0].features.shape, image_shape)
        if config.feature not in (None, feature.name):
            raise InputError(
                f"{config.pairs.path} has the feature {feature.name}; omit --feature. Received: "
                f"--feature={config.feature}"
            )
        return feature
    feature = features.get(config.feature, image_shape=image_shape)
    if isinstance(feature, StoredFeature):
        raise InputError(
            f"{feature.name} was computed elsewhere; give its values with --pairs=FILE. Received: "
            f"--feature={config.feature}"
        )
    return feature


def _describe_config(
    config: TrainingRun, pairs: tuple[StoredPairs, StoredPairs] | None
) -> dict[str, Any]:
    """The configuration by the names of the flags, with digests of stored features."""
    facts = dataclasses.asdict(config)
    del facts["pairs"]
    if not pairs:
        del facts["validation_pairs"]
        return facts
    facts |= config.pairs.facts() | {"feature": _make_feature(config, pairs).name}
    facts["pairs_digest"] = pairs[0].features.digest
    if config.validation_pairs:
        facts["validation_pairs_digest"] = pairs[1].features.digest
    return facts


def _device_kind() -> str:
    return "GPU" if gpu_names() else "CPU"


def _summarize_result(run: pathlib.Path, card: dict[str, Any], baseline: dict[str, Any]) -> str:
    metrics = card["metrics"]
    samples = ""
    if "samples_metrics" in card:
        samples = (
            "feature error of reconstructions {reconstruction_feature_error:.3f}, of samples "
            "{sample_feature_error:.3f}\n"
        ).format_map(card["samples_metrics"])
    return (
        f"normalised reconstruction error {metrics['normalized_error']:.3f} on "
        f"{metrics['images']} images (mean image baseline: {baseline['normalized_error']:.3f})\n"
        f"{samples}{card['training_images_per_second']:.0f} images/s in training, "
        f"{metrics['images_per_second']:.0f} images/s in reconstruction\n"
        f"inverter: {run / INVERTER}\nreport:   {run / REPORT_FILE}"
    )
