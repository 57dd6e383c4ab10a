"""Evaluates an inverter on photographs: `tfinvert evaluate`."""

import pathlib
from collections.abc import Mapping
from typing import Any

from absl import flags

from tfinvert import inverter
from tfinvert.commands.flags.stored_pairs import pairs_from_flags
from tfinvert.common.images import evenly_spaced_indices
from tfinvert.data.open_source import open_source
from tfinvert.errors import InputError
from tfinvert.features.function import load_function
from tfinvert.metrics.evaluation import (
    MAX_SAMPLED_IMAGES,
    evaluate,
    evaluate_samples,
    mean_image_baseline,
    read_at_least_two,
)
from tfinvert.reporting.run_report import METRICS_FILE, REPORT_FILE, write_run_report
from tfinvert.runs.paired_images import attach_features, open_pairs
from tfinvert.runs.training import has_held_out_split

FLAGS = flags.FLAGS


def main() -> None:
    """Prints the metrics and, with --output, writes them to a directory."""
    output = pathlib.Path(FLAGS.output) if FLAGS.output else None
    for name in (METRICS_FILE, REPORT_FILE) if output else ():
        if (output / name).exists():
            raise InputError(
                f"{output / name} exists already; give another --output. "
                f"Received: --output={FLAGS.output}"
            )
    for function in FLAGS.function:
        load_function(function)
    model = inverter.load(FLAGS.inverter)
    if side := FLAGS.image_size:
        model = model.at((side, side))
    default_split = "validation" if has_held_out_split(FLAGS.data, model.card) else "all"
    split = FLAGS.split or default_split
    size = model.feature.image_shape[:2]
    pairs = open_pairs({FLAGS.inverter: model}, FLAGS.data, pairs_from_flags())
    source = pairs.open(split, size) if pairs else open_source(FLAGS.data, split)
    images = read_at_least_two(source, size, FLAGS.max_images)
    if pairs:
        model = attach_features(model, source, images, FLAGS.max_images)
    details = {"evaluated on": source.name, "split": split, **model.card}
    if FLAGS.num_samples:  # before the slow part, because the inverter may have no sampler
        subset = images[evenly_spaced_indices(len(images), MAX_SAMPLED_IMAGES)]
        details["samples_metrics"] = evaluate_samples(model, subset, FLAGS.num_samples)
    if output:  # before the slow part, because it may not be writable
        output.mkdir(parents=True, exist_ok=True)
    evaluation = evaluate(model, images, FLAGS.frechet)
    baseline = mean_image_baseline(evaluation, evaluation.images.mean(0))
    print(f"{source.name}, split: {split}")
    _print_metrics(evaluation.metrics)
    print(f"{'mean image baseline':32s} {baseline['normalized_error']:.4f}")
    if FLAGS.num_samples:
        print("samples_metrics:")
        _print_metrics(details["samples_metrics"])
    if output:
        write_run_report(
            output,
            feature=model.feature.name,
            photographs=f"images of {source.name} (split: {split})",
            evaluation=evaluation,
            baseline_name="mean of these images",
            baseline=baseline,
            history=(),
            details=details,
        )
        print(f"report: {output / REPORT_FILE}")


def _print_metrics(metrics: Mapping[str, Any]) -> None:
    for name, value in metrics.items():
        print(f"{name:32s} {value:.4f}" if isinstance(value, float) else f"{name:32s} {value}")
