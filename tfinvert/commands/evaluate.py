"""The metrics of an inverter on photographs, on the screen and as files."""

import pathlib
from collections.abc import Mapping
from typing import Any

from absl import flags

from tfinvert import inverter
from tfinvert.common.images import evenly_spaced_indices
from tfinvert.data.open_source import open_source
from tfinvert.errors import InputError
from tfinvert.metrics.evaluation import (
    MAX_SAMPLED_IMAGES,
    evaluate,
    evaluate_samples,
    mean_image_baseline,
    read_at_least_two,
)
from tfinvert.reporting.run_report import METRICS_FILE, REPORT_FILE, write_run_report
from tfinvert.runs.training import has_held_out_split

FLAGS = flags.FLAGS


def main() -> None:
    """Prints the metrics and, if asked, writes them."""
    if FLAGS.images < 2:
        raise InputError(f"--images must be at least 2. Received: {FLAGS.images}")
    output = pathlib.Path(FLAGS.output) if FLAGS.output else None
    for name in (METRICS_FILE, REPORT_FILE) if output else ():
        if (output / name).exists():
            raise InputError(f"{output / name} exists already; give another --output")
    chosen = inverter.load(FLAGS.inverter)
    if side := FLAGS.image_size:
        chosen = chosen.at((side, side))
    part = FLAGS.part or ("validation" if has_held_out_split(FLAGS.data, chosen.card) else "all")
    source = open_source(FLAGS.data, part)
    images = read_at_least_two(source, chosen.feature.image_shape[:2], FLAGS.images)
    details = {"measured on": source.name, "part": part, **chosen.card}
    if FLAGS.samples:  # first, since it may be that there is nothing to draw with
        few = images[evenly_spaced_indices(len(images), MAX_SAMPLED_IMAGES)]
        details["samples_metrics"] = evaluate_samples(chosen, few, FLAGS.samples)
    evaluation = evaluate(chosen, images, FLAGS.frechet)
    baseline = mean_image_baseline(evaluation, evaluation.images.mean(0))
    print(f"{source.name}, part: {part}")
    _print(evaluation.metrics)
    print(f"{'mean image scores':32s} {baseline['normalized_error']:.4f}")
    if FLAGS.samples:
        print("samples_metrics:")
        _print(details["samples_metrics"])
    if output:
        write_run_report(
            output,
            feature=chosen.feature.name,
            photographs=f"images of {source.name} (part: {part})",
            evaluation=evaluation,
            baseline_name="mean of these images",
            baseline=baseline,
            history=(),
            details=details,
        )
        print(f"report: {output / REPORT_FILE}")


def _print(metrics: Mapping[str, Any]) -> None:
    for name, value in metrics.items():
        print(f"{name:32s} {value:.4f}" if isinstance(value, float) else f"{name:32s} {value}")
