"""Runs experiments on inverters: `tfinvert analyze`."""

import functools
import pathlib
from collections.abc import Callable, Sequence

import numpy as np
from absl import flags

from tfinvert import inverter
from tfinvert.analysis.experiment import Experiment
from tfinvert.analysis.inverters import common_size
from tfinvert.commands.flags.stored_pairs import pairs_from_flags
from tfinvert.common.files import printable
from tfinvert.config.registry import EXPERIMENTS
from tfinvert.data.open_source import open_source
from tfinvert.data.sources import Source
from tfinvert.errors import InputError
from tfinvert.features.function import load_function
from tfinvert.metrics.evaluation import read_at_least_two, read_images
from tfinvert.reporting.run_report import REPORT_FILE
from tfinvert.runs.analyses import run_experiments
from tfinvert.runs.paired_images import attach_features, open_pairs
from tfinvert.runs.training import INVERTER

FLAGS = flags.FLAGS
Load = Callable[[str], inverter.Inverter]
_BASELINES = "baselines"  # the experiment that takes training images
_FACTS = ("data", "gradient_images", "gradient_steps", "seed")
_BASELINE_FACTS = ("training_data", "training_images")


def main() -> None:
    """Runs the experiments of --experiment into the work directory."""
    for function in FLAGS.function:
        load_function(function)
    load = functools.cache(inverter.load)  # several experiments may take the same inverter
    inverters = _load_all(FLAGS.inverters, load) if FLAGS.inverters else None
    experiments = {
        name: (EXPERIMENTS[name], _select_inverters(name, inverters, load))
        for name in _select_experiments(inverters)
    }
    for experiment, own in experiments.values():
        for label, each in own.items():
            experiment.check_inverter(label, each)
    trains = _BASELINES in experiments
    used = {k: v for _, own in experiments.values() for k, v in own.items()}
    size = common_size(used)
    pairs_config = pairs_from_flags()
    pairs = open_pairs(used, FLAGS.data, pairs_config)
    if pairs and FLAGS.training_data:
        raise InputError(
            "--training_data has no stored features; omit it, so that the baselines train on the "
            f"training split of --data. Received: --training_data={FLAGS.training_data}"
        )

    def open_split(split: str) -> Source:
        return pairs.open(split, size) if pairs else open_source(FLAGS.data, split)

    def attach(source: Source, images: np.ndarray, limit: int) -> None:
        for _, own in experiments.values():
            for label, each in own.items():
                own[label] = attach_features(each, source, images, limit)

    source = open_split("validation" if trains and not FLAGS.training_data else "all")
    images = read_at_least_two(source, size, FLAGS.max_images)
    if pairs:
        attach(source, images, FLAGS.max_images)
    settings = {"seed": FLAGS.seed, "gradient_steps": FLAGS.gradient_steps}
    if FLAGS.gradient_images is not None:
        settings["gradient_images"] = FLAGS.gradient_images
    elif not trains:
        settings["gradient_images"] = min(64, max(6, len(images) // 8))
    if trains:
        data = FLAGS.training_data
        training = open_source(data) if data else open_split("training")
        settings["training"] = read_images(training, size, FLAGS.training_images)
        if pairs:
            attach(training, settings["training"], FLAGS.training_images)
    names = (*_FACTS, *_BASELINE_FACTS) if trains else _FACTS
    facts = {name: FLAGS[name].value for name in names} | {"images": len(images)}
    if pairs:
        facts |= pairs_config.facts() | {"pairs_digest": pairs.features.digest}
    run_experiments(FLAGS.workdir, experiments, images, settings, facts)
    print(f"report: {pathlib.Path(FLAGS.workdir) / REPORT_FILE}")


def _select_experiments(inverters: dict[str, inverter.Inverter] | None) -> list[str]:
    """The experiments of --experiment; for "all", those that accept one of the inverters."""
    names = list(dict.fromkeys(FLAGS.experiment))
    if names == ["all"]:
        names = [name for name in EXPERIMENTS if not EXPERIMENTS[name].on_request]
        if inverters:
            names = [name for name in names if _accepted(EXPERIMENTS[name], inverters)]
    unknown = [name for name in names if name not in EXPERIMENTS]
    if unknown or not names:
        raise InputError(
            f"--experiment takes one or more of {', '.join(EXPERIMENTS)}, or all. Received: "
            f"{', '.join(unknown) or 'none'}"
        )
    return names


def _select_inverters(
    name: str, inverters: dict[str, inverter.Inverter] | None, load: Load
) -> dict[str, inverter.Inverter]:
    if inverters is None:
        return _load_all(EXPERIMENTS[name].default_inverters, load)
    named = FLAGS.experiment != ["all"]
    return inverters if named else _accepted(EXPERIMENTS[name], inverters)


def _accepted(
    experiment: Experiment, inverters: dict[str, inverter.Inverter]
) -> dict[str, inverter.Inverter]:
    return {name: each for name, each in inverters.items() if experiment.accepts(name, each)}


def _load_all(names: Sequence[str], load: Load) -> dict[str, inverter.Inverter]:
    """Inverters by label: the directory's name, or that of the run for `runs/hog/inverter`."""
    loaded: dict[str, inverter.Inverter] = {}
    for name in names:
        path = pathlib.Path(name)
        label = path.parent.name if path.name == INVERTER and path.parent.name else path.name
        label = printable(label)
        if label in loaded:
            raise InputError(
                f"two inverters have the label {label!r}; rename a directory. "
                f"Received: --inverters={','.join(names)}"
            )
        loaded[label] = load(name)
    return loaded
