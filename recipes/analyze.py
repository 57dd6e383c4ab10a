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

Each writes `results.json` and `report.html` into the work directory.
"""

import pathlib
import time

from absl import flags

from tfinvert import cli, inverter
from tfinvert.analysis.comparison import baselines
from tfinvert.analysis.contrast import contrast
from tfinvert.analysis.inverters import common_size
from tfinvert.analysis.keypoints import keypoints
from tfinvert.analysis.layers import layers
from tfinvert.analysis.result import Result
from tfinvert.card import make_card
from tfinvert.data.open import FORMS, open_source
from tfinvert.errors import InputError
from tfinvert.evaluation import MAX_IMAGES, read_images
from tfinvert.experiments.experiment import INVERTER
from tfinvert.files import write_json
from tfinvert.networks.alexnet import PAPER_LAYERS
from tfinvert.reporting.report import write_report
from tfinvert.reporting.run_report import REPORT

RESULTS = "results.json"
SHIPPED = {  # what each experiment looks at unless told otherwise
    "baselines": ["hog-64", "lbp-64", "sift-64"],
    "contrast": ["hog-64", "lbp-64"],
    "keypoints": ["sift-64"],
    "layers": [f"alexnet-{layer}-64" for layer in PAPER_LAYERS],
}

FLAGS = flags.FLAGS
_FACTS = (
    "experiment",
    "data",
    "training_data",
    "images",
    "training_images",
    "gradient_images",
    "gradient_steps",
    "seed",
)

_EXPERIMENT = flags.DEFINE_enum(
    "experiment", None, sorted(SHIPPED), "What to find out.", required=True
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
    "gradient_images", 64, "At most so many for gradient-based inversion; of layers alone.", 0
)
_GRADIENT_STEPS = flags.DEFINE_integer(
    "gradient_steps", 400, "Steps of gradient-based inversion; of layers alone.", 1
)
_SEED = flags.DEFINE_integer("seed", 0, "Of everything drawn at random.", 0)
_WORKDIR = flags.DEFINE_string("workdir", None, "Where the results go.", required=True)


def main() -> None:
    """From inverters and photographs to a table and figures."""
    workdir = pathlib.Path(_WORKDIR.value)
    for name in (RESULTS, REPORT):
        if (workdir / name).exists():
            raise InputError(f"{workdir / name} exists already; give another --workdir")
    names = _INVERTERS.value or SHIPPED[_EXPERIMENT.value]
    inverters = _load(names)
    begin = time.perf_counter()
    result = _run(inverters)
    seconds = round(time.perf_counter() - begin, 1)
    write_json(workdir / RESULTS, {"findings": result.findings, "rows": result.rows})
    write_report(
        workdir / REPORT,
        title=result.title,
        lead=result.lead,
        findings=result.findings,
        figures=result.figures,
        metrics=result.rows,
        details=make_card(
            inverters=list(inverters),
            **{name: FLAGS[name].value for name in _FACTS},
            seconds=seconds,
        ),
    )
    print(*result.findings, f"report: {workdir / REPORT}", sep="\n")


def _load(names: list[str]) -> dict[str, inverter.Inverter]:
    """Inverters by name; of `runs/hog/inverter` that is the run's, "hog"."""
    loaded: dict[str, inverter.Inverter] = {}
    for name in names:
        path = pathlib.Path(name)
        label = path.parent.name if path.name == INVERTER and path.parent.name else path.name
        if label in loaded:
            raise InputError(f"two inverters would be called {label!r}; rename one's directory")
        loaded[label] = inverter.load(name)
    return loaded


def _run(inverters: dict[str, inverter.Inverter]) -> Result:
    size = common_size(inverters)
    learns = _EXPERIMENT.value == "baselines"
    part = "validation" if learns and not _TRAINING_DATA.value else "all"
    images = read_images(open_source(_DATA.value, part), size, _IMAGES.value)
    if _EXPERIMENT.value == "contrast":
        return contrast(inverters, images)
    if _EXPERIMENT.value == "keypoints":
        return keypoints(inverters, images, seed=_SEED.value)
    if _EXPERIMENT.value == "layers":
        return layers(
            inverters,
            images,
            gradient_images=_GRADIENT_IMAGES.value,
            gradient_steps=_GRADIENT_STEPS.value,
            seed=_SEED.value,
        )
    other = _TRAINING_DATA.value
    training = open_source(other) if other else open_source(_DATA.value, "training")
    return baselines(
        inverters,
        images,
        read_images(training, size, _TRAINING_IMAGES.value),
        seed=_SEED.value,
    )


if __name__ == "__main__":
    cli.run(main)
