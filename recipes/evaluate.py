"""Measures an inverter on photographs (normalised reconstruction error, section 4 of the paper).

The shipped HOG inverter on 5 000 images of 64 pixels, about half a minute on two cores:

    python recipes/evaluate.py --inverter=hog-64 --data=folder:val

With `--output=DIR` the figures and a page of reconstructions are kept as `metrics.json` and
`report.html`.
"""

import pathlib

from absl import flags

from tfinvert import cli, inverter
from tfinvert.data.open import FORMS, open_source
from tfinvert.errors import InputError
from tfinvert.evaluation import MAX_IMAGES, evaluate, mean_image_baseline, read_images
from tfinvert.reporting.run_report import METRICS, REPORT, write_run_report
from tfinvert.runs.recipe_flags import define_any_size_flag
from tfinvert.runs.training import held_out

_INVERTER = flags.DEFINE_string(
    "inverter", None, "A saved inverter's directory or a shipped name.", required=True
)
_DATA = flags.DEFINE_string("data", "photos", f"Photographs to measure on: {FORMS}.")
_PART = flags.DEFINE_enum(
    "part",
    None,
    ["all", "training", "validation"],
    "The whole of --data or a part of it; by default all, or, of the data that the inverter was "
    "trained on, the part that was held out.",
)
define_any_size_flag()
_IMAGES = flags.DEFINE_integer("images", MAX_IMAGES, "At most so many images, evenly spaced.")
_OUTPUT = flags.DEFINE_string("output", None, "Directory for metrics.json and report.html.")


def main() -> None:
    """Prints the metrics and, if asked, writes them."""
    if _IMAGES.value < 2:
        raise InputError(f"--images must be at least 2. Received: {_IMAGES.value}")
    output = pathlib.Path(_OUTPUT.value) if _OUTPUT.value else None
    for name in (METRICS, REPORT) if output else ():
        if (output / name).exists():
            raise InputError(f"{output / name} exists already; give another --output")
    chosen = inverter.load(_INVERTER.value)
    if side := flags.FLAGS.image_size:
        chosen = chosen.at((side, side))
    part = _PART.value or ("validation" if held_out(_DATA.value, chosen.card) else "all")
    source = open_source(_DATA.value, part)
    images = read_images(source, chosen.feature.image_shape[:2], _IMAGES.value)
    if len(images) < 2:
        raise InputError(f"{_DATA.value} has one image; the error is relative to pairs of images")
    evaluation = evaluate(chosen, images)
    baseline = mean_image_baseline(evaluation, evaluation.images.mean(0))
    print(f"{source.name}, part: {part}")
    for name, value in evaluation.metrics.items():
        print(f"{name:24s} {value:.4f}" if isinstance(value, float) else f"{name:24s} {value}")
    print(f"{'mean image scores':24s} {baseline['normalized_error']:.4f}")
    if output:
        write_run_report(
            output,
            feature=chosen.feature.name,
            photographs=f"images of {source.name} (part: {part})",
            evaluation=evaluation,
            baseline_name="mean of these images",
            baseline=baseline,
            history=(),
            details={"measured on": source.name, "part": part, **chosen.card},
        )
        print(f"report: {output / REPORT}")


if __name__ == "__main__":
    cli.run(main)
