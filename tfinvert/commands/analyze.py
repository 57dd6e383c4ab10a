"""Runs experiments on inverters and photographs, and writes one report."""

import functools
import pathlib
from collections.abc import Sequence

from absl import flags

from tfinvert import inverter
from tfinvert.analysis.experiment import Experiment
from tfinvert.analysis.inverters import common_size
from tfinvert.config.registry import EXPERIMENTS
from tfinvert.data.open_source import open_source
from tfinvert.errors import InputError
from tfinvert.metrics.evaluation import read_at_least_two, read_images
from tfinvert.reporting.run_report import REPORT_FILE
from tfinvert.runs.analyses import run_experiments
from tfinvert.runs.training import INVERTER

FLAGS = flags.FLAGS
_BASELINES = "baselines"  # the only one that takes training images
_FACTS = ("data", "gradient_images", "gradient_steps", "seed")
_FACTS_OF_BASELINES = ("training_data", "training_images")


def main() -> None:
    """Runs the experiments and prints the path of the report."""
    given = _load(FLAGS.inverters) if FLAGS.inverters else None
    experiments = {
        name: (EXPERIMENTS[name], _choose_inverters(EXPERIMENTS[name], given))
        for name in _choose_experiments(given)
    }
    trains = _BASELINES in experiments
    used = {label: own for _, chosen in experiments.values() for label, own in chosen.items()}
    size = common_size(used)
    split = "validation" if trains and not FLAGS.training_data else "all"
    images = read_at_least_two(open_source(FLAGS.data, split), size, FLAGS.images)
    settings = {"seed": FLAGS.seed, "gradient_steps": FLAGS.gradient_steps}
    if FLAGS.gradient_images is not None:
        settings["gradient_images"] = FLAGS.gradient_images
    elif not trains:
        settings["gradient_images"] = min(64, max(6, len(images) // 8))
    if trains:
        other = FLAGS.training_data
        training = open_source(other) if other else open_source(FLAGS.data, "training")
        settings["training"] = read_images(training, size, FLAGS.training_images)
    named = (*_FACTS, *_FACTS_OF_BASELINES) if trains else _FACTS
    facts = {name: FLAGS[name].value for name in named} | {"images": len(images)}
    run_experiments(FLAGS.workdir, experiments, images, settings, facts)
    print(f"report: {pathlib.Path(FLAGS.workdir) / REPORT_FILE}")


def _choose_experiments(given: dict[str, inverter.Inverter] | None) -> list[str]:
    """The experiments of --experiment; for all, those that accept one of the given inverters."""
    names = list(dict.fromkeys(FLAGS.experiment))
    if names == ["all"]:
        names = [
            name
            for name, experiment in EXPERIMENTS.items()
            if not experiment.on_request and (given is None or _accepted(experiment, given))
        ]
    unknown = [name for name in names if name not in EXPERIMENTS]
    if unknown or not names:
        raise InputError(
            f"--experiment takes some of {', '.join(EXPERIMENTS)}, or all. Received: "
            f"{', '.join(unknown) or 'none'}"
        )
    return names


def _choose_inverters(
    experiment: Experiment, given: dict[str, inverter.Inverter] | None
) -> dict[str, inverter.Inverter]:
    if given is None:
        return _load(experiment.default_inverters)
    return _accepted(experiment, given) if FLAGS.experiment == ["all"] else given


def _accepted(
    experiment: Experiment, given: dict[str, inverter.Inverter]
) -> dict[str, inverter.Inverter]:
    return {label: own for label, own in given.items() if experiment.accepts(label, own)}


def _load(names: Sequence[str]) -> dict[str, inverter.Inverter]:
    """Inverters by label; the label of `runs/hog/inverter` is the run's name, "hog"."""
    loaded: dict[str, inverter.Inverter] = {}
    for name in names:
        path = pathlib.Path(name)
        label = path.parent.name if path.name == INVERTER and path.parent.name else path.name
        if label in loaded:
            raise InputError(
                "inverters must have different names; rename the directory of one. "
                f"Received: two named {label!r}"
            )
        loaded[label] = _open(name)
    return loaded


@functools.cache
def _open(name: str) -> inverter.Inverter:
    """Loads an inverter once, for all experiments."""
    return inverter.load(name)
