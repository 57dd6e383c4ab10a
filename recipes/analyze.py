"""The paper's experiments on inverters of yours, or on those that ship (sections 4 and 5).

What each baseline makes of the same features, with brightness, colour and time (HOG, LBP and SIFT
on 5 000 images, half an hour on two cores; docs/results.md):

    python recipes/analyze.py --experiment=baselines --data=folder:val \\
        --training_data=folder:train --workdir=runs/baselines

What is rebuilt at lower contrast, and from fewer keypoints (a minute each):

    python recipes/analyze.py --experiment=contrast --data=folder:val --images=500 \\
        --workdir=runs/contrast
    python recipes/analyze.py --experiment=keypoints --data=folder:val --images=500 \\
        --workdir=runs/keypoints

Every layer of AlexNet: the shipped inverters beside gradient-based inversion; autoencoders of yours
can be named too (ten minutes):

    python recipes/analyze.py --experiment=layers --data=folder:val --workdir=runs/layers

Everything but the baselines, from the shipped inverters, into one report; with 16 photographs it is
a few minutes' work, with a thousand an hour's:

    python recipes/analyze.py --experiment=all --data=folder:val --images=16 --workdir=runs/all

Into the work directory go `report.html`, for each experiment a folder with `results.json` and its
figures as SVG and PNG, and TensorBoard's `summaries/`. The same command goes on with a stopped run;
with another `--experiment` it adds to it.
"""

import functools
import pathlib
from collections.abc import Sequence

from absl import flags

from tfinvert import cli, inverter
from tfinvert.analysis.experiments import EXPERIMENTS, Experiment
from tfinvert.analysis.inverters import common_size
from tfinvert.data.open import FORMS, open_source
from tfinvert.errors import InputError
from tfinvert.evaluation import MAX_IMAGES, read_images
from tfinvert.reporting.run_report import REPORT
from tfinvert.runs.analyses import run_experiments
from tfinvert.runs.training import INVERTER

LONG = "baselines"  # half an hour, and learns from training images: not a part of "all"

FLAGS = flags.FLAGS
_FACTS = ("data", "gradient_images", "gradient_steps", "seed")
_FACTS_OF_LONG = ("training_data", "training_images")

_EXPERIMENT = flags.DEFINE_list(
    "experiment",
    None,
    f"What to find out: some of {', '.join(EXPERIMENTS)}; or all, which is all but {LONG}.",
    required=True,
)
_INVERTERS = flags.DEFINE_list(
    "inverters", None, "Saved inverters' directories or shipped names; else shipped ones that fit."
)
_DATA = flags.DEFINE_string("data", "photos", f"Photographs to look at: {FORMS}.")
_TRAINING_DATA = flags.DEFINE_string(
    "training_data", None, "What baselines learn from: the same forms; else held out of --data."
)
_IMAGES = flags.DEFINE_integer("images", MAX_IMAGES, "At most so many, evenly spaced.", 2)
_TRAINING_IMAGES = flags.DEFINE_integer(
    "training_images", 20000, "The same for those that baselines learn from.", 2
)
_GRADIENT_IMAGES = flags.DEFINE_integer(
    "gradient_images",
    None,
    "At most so many for gradient-based inversion; else 256 for baselines, an eighth of the "
    "images, from 6 to 64, for others.",
    0,
)
_GRADIENT_STEPS = flags.DEFINE_integer(
    "gradient_steps", 400, "Steps of gradient-based inversion; not of baselines.", 1
)
_SEED = flags.DEFINE_integer("seed", 0, "Of everything drawn at random.", 0)
_WORKDIR = flags.DEFINE_string("workdir", None, "Where the results go.", required=True)


def main() -> None:
    """From inverters and photographs to tables, figures and a report."""
    given = _load(_INVERTERS.value) if _INVERTERS.value else None
    experiments = {name: (EXPERIMENTS[name], _inverters(name, given)) for name in _names(given)}
    learns = LONG in experiments
    used = {label: own for _, chosen in experiments.values() for label, own in chosen.items()}
    size = common_size(used)
    part = "validation" if learns and not _TRAINING_DATA.value else "all"
    images = read_images(open_source(_DATA.value, part), size, _IMAGES.value)
    settings = {"seed": _SEED.value, "gradient_steps": _GRADIENT_STEPS.value}
    if _GRADIENT_IMAGES.value is not None:
        settings["gradient_images"] = _GRADIENT_IMAGES.value
    elif not learns:
        settings["gradient_images"] = min(64, max(6, len(images) // 8))
    if learns:
        other = _TRAINING_DATA.value
        training = open_source(other) if other else open_source(_DATA.value, "training")
        settings["training"] = read_images(training, size, _TRAINING_IMAGES.value)
    named = (*_FACTS, *_FACTS_OF_LONG) if learns else _FACTS
    facts = {name: FLAGS[name].value for name in named} | {"images": len(images)}
    run_experiments(_WORKDIR.value, experiments, images, settings, facts)
    print(f"report: {pathlib.Path(_WORKDIR.value) / REPORT}")


def _names(given: dict[str, inverter.Inverter] | None) -> list[str]:
    """The experiments asked for; of all, those that some of the given inverters fit."""
    names = list(dict.fromkeys(_EXPERIMENT.value))
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
    alone = _EXPERIMENT.value != ["all"]
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


if __name__ == "__main__":
    cli.run(main)
