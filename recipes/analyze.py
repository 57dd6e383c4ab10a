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

Each writes `results.json` and `report.html` into the work directory.
"""

import pathlib

from absl import flags

from tfinvert import cli, inverter
from tfinvert.analysis.comparison import baselines
from tfinvert.analysis.contrast import contrast
from tfinvert.analysis.inverters import common_size
from tfinvert.analysis.keypoints import keypoints
from tfinvert.analysis.result import Result
from tfinvert.card import make_card
from tfinvert.data.open import FORMS, open_source
from tfinvert.errors import InputError
from tfinvert.evaluation import MAX_IMAGES, read_images
from tfinvert.files import write_json
from tfinvert.reporting.report import write_report
from tfinvert.reporting.run_report import REPORT

RESULTS = "results.json"
SHIPPED = {  # what each experiment looks at unless told otherwise
    "baselines": ["hog-64", "lbp-64", "sift-64"],
    "contrast": ["hog-64", "lbp-64"],
    "keypoints": ["sift-64"],
}

FLAGS = flags.FLAGS
_FACTS = ("experiment", "inverters", "data", "training_data", "images", "training_images", "seed")

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
_SEED = flags.DEFINE_integer("seed", 0, "Of everything drawn at random.", 0)
_WORKDIR = flags.DEFINE_string("workdir", None, "Where the results go.", required=True)


def main() -> None:
    """From inverters and photographs to a table and figures."""
    workdir = pathlib.Path(_WORKDIR.value)
    for name in (RESULTS, REPORT):
        if (workdir / name).exists():
            raise InputError(f"{workdir / name} exists already; give another --workdir")
    names = _INVERTERS.value or SHIPPED[_EXPERIMENT.value]
    inverters = {pathlib.Path(name).name: inverter.load(name) for name in names}
    result = _run(inverters)
    write_json(workdir / RESULTS, {"findings": result.findings, "rows": result.rows})
    write_report(
        workdir / REPORT,
        title=result.title,
        lead=result.lead,
        findings=result.findings,
        figures=result.figures,
        metrics=result.rows,
        details=make_card(**{name: FLAGS[name].value for name in _FACTS}),
    )
    print(*result.findings, f"report: {workdir / REPORT}", sep="\n")


def _run(inverters: dict[str, inverter.Inverter]) -> Result:
    size = common_size(inverters)
    learns = _EXPERIMENT.value == "baselines"
    part = "validation" if learns and not _TRAINING_DATA.value else "all"
    images = read_images(open_source(_DATA.value, part), size, _IMAGES.value)
    if _EXPERIMENT.value == "contrast":
        return contrast(inverters, images)
    if _EXPERIMENT.value == "keypoints":
        return keypoints(inverters, images, seed=_SEED.value)
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
