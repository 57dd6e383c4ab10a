"""Experiments on inverters and photographs, into one report."""

import functools
import pathlib
from collections.abc import Sequence

from absl import flags

from tfinvert import inverter
from tfinvert.analysis.experiment import EXPERIMENTS, Experiment
from tfinvert.analysis.inverters import common_size
from tfinvert.commands.flags.analyze import LONG
from tfinvert.data.open_source import open_source
from tfinvert.errors import InputError
from tfinvert.metrics.evaluation import read_at_least_two, read_images
from tfinvert.reporting.run_report import REPORT_FILE
from tfinvert.runs.analyses import run_experiments
from tfinvert.runs.training import INVERTER

FLAGS = flags.FLAGS
_FACTS = ("data", "gradient_images", "gradient_steps", "seed")
_FACTS_OF_LONG = ("training_data", "training_images")


def main() -> None:
    """From inverters and photographs to tables, figures and a report."""
    given = _load(FLAGS.inverters) if FLAGS.inverters else None
    experiments = {name: (EXPERIMENTS[name], _inverters(name, given)) for name in _names(given)}
    learns = LONG in experiments
    used = {label: own for _, chosen in experiments.values() for label, own in chosen.items()}
    size = common_size(used)
    part = "validation" if learns and not FLAGS.training_data else "all"
    images = read_at_least_two(open_source(FLAGS.data, part), size, FLAGS.images)
    settings = {"seed": FLAGS.seed, "gradient_steps": FLAGS.gradient_steps}
    if FLAGS.gradient_images is not None:
        settings["gradient_images"] = FLAGS.gradient_images
    elif not learns:
        settings["gradient_images"] = min(64, max(6, len(images) // 8))
    if learns:
        other = FLAGS.training_data
        training = open_source(other) if other else open_source(FLAGS.data, "training")
        settings["training"] = read_images(training, size, FLAGS.training_images)
    named = (*_FACTS, *_FACTS_OF_LONG) if learns else _FACTS
    facts = {name: FLAGS[name].value for name in named} | {"images": len(images)}
    run_experiments(FLAGS.workdir, experiments, images, settings, facts)
    print(f"report: {pathlib.Path(FLAGS.workdir) / REPORT_FILE}")


def _names(given: dict[str, inverter.Inverter] | None) -> list[str]:
    """The experiments asked for; of all, those that some of the given inverters fit."""
    names = list(dict.fromkeys(FLAGS.experiment))
    if names == ["all"]:
        names = [name for name in EXPERIMENTS if name != LONG]
        if given:
            names = [name for name in names if _fitting(EXPERIMENTS[name], given)]
    unknown = [name for name in names if name not in EXPERIMENTS]
    if unknown or not names:
        raise InputError(
            f"--experiment takes some of {', '.join(EXPERIMENTS)}, or all. Received: "
            f"{', '.join(unknown) or 'none'}"
        )
    return names


def _inverters(
    name: str, given: dict[str, inverter.Inverter] | None
) -> dict[str, inverter.Inverter]:
    if given is None:
        return _load(EXPERIMENTS[name].shipped)
    alone = FLAGS.experiment != ["all"]
    return given if alone else _fitting(EXPERIMENTS[name], given)


def _fitting(
    experiment: Experiment, given: dict[str, inverter.Inverter]
) -> dict[str, inverter.Inverter]:
    return {label: own for label, own in given.items() if experiment.fits(label, own)}


def _load(names: Sequence[str]) -> dict[str, inverter.Inverter]:
    """Inverters by name; of `runs/hog/inverter` that is the run's, "hog"."""
    loaded: dict[str, inverter.Inverter] = {}
    for name in names:
        path = pathlib.Path(name)
        label = path.parent.name if path.name == INVERTER and path.parent.name else path.name
        if label in loaded:
            raise InputError(f"two inverters would be called {label!r}; rename one's directory")
        loaded[label] = _open(name)
    return loaded


@functools.cache
def _open(name: str) -> inverter.Inverter:
    """An inverter; several experiments look at the same shipped ones."""
    return inverter.load(name)
