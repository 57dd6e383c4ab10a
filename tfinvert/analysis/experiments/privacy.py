"""Reconstructions from compressed features: bytes, error, LPIPS and predicted class.

The inverters are not retrained for compressed features. The results are therefore a lower bound on
what can be recovered: an attacker who trains on compressed features recovers more.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import tqdm

from tfinvert import features, metrics
from tfinvert.analysis.compression import COMPONENTS, UNCOMPRESSED, compression_methods
from tfinvert.analysis.experiment import Experiment, Measurement, Presentation, make_table
from tfinvert.analysis.inverters import add_labels, inverter_columns
from tfinvert.analysis.scores import mean_columns
from tfinvert.common.images import evenly_spaced_indices, resize_images
from tfinvert.errors import InputError
from tfinvert.features.base import Feature
from tfinvert.features.sift import Sift
from tfinvert.inverter import Inverter
from tfinvert.metrics import lpips
from tfinvert.reporting import charts
from tfinvert.reporting.columns import column_label, format_rows
from tfinvert.reporting.image_rows import image_rows
from tfinvert.reporting.report import Figure

MEAN_IMAGE = "mean image"
_MIN_IMAGES, _PICTURES, _BATCH_SIZE = 8, 8, 64
_CLASSIFIER = "squeezenet/logits"

Outcome = tuple[float, np.ndarray]  # bytes an image, reconstructions


def check(name: str, inverter: Inverter) -> None:
    """Checks that images are large enough for LPIPS.

    Raises:
      InputError: they are too small.
    """
    del name
    lpips.check_size(inverter.output_size)


def measure(inverters: dict[str, Inverter], images: np.ndarray, *, seed: int = 0) -> Measurement:
    """Inverts compressed features and measures how much of the photographs is recovered.

    The compression methods are fitted on every other image; the features of the remaining images
    are compressed and inverted. Error and LPIPS are at the inverter's output size; the predicted
    class is the first of SqueezeNet's 1 000, which never sees the features.

    Args:
      inverters: by name.
      images: `[n, H, W, 3]` in [0, 1], at least 8, of the size the features take.
      seed: random seed of the keypoints that are kept.

    Raises:
      InputError: there are fewer than 8 images.
    """
    if len(images) < _MIN_IMAGES:
        raise InputError(f"privacy takes at least {_MIN_IMAGES} images. Received: {len(images)}")
    reference, compressed = images[1::2], images[::2]
    chosen = evenly_spaced_indices(len(compressed), _PICTURES)
    rows, pictures = [], {}
    for name, inverter in tqdm.tqdm(inverters.items(), "privacy", leave=False):
        targets = resize_images(compressed, inverter.output_size)
        outcomes = _reconstruct(inverter, reference, compressed, seed)
        rows += [inverter_columns(name, inverter) | row for row in _rows(targets, outcomes)]
        pictures[name] = {"original": targets[chosen]} | {
            method: rebuilt[chosen] for method, (_, rebuilt) in outcomes.items()
        }
    return Measurement(
        make_table(add_labels(rows, inverters)),
        {"pictures": pictures},
        {"images": len(compressed), "reference_images": len(reference)},
    )


def _reconstruct(
    inverter: Inverter, reference: np.ndarray, images: np.ndarray, seed: int
) -> dict[str, Outcome]:
    """Bytes an image and reconstructions, by compression method."""
    sparse = isinstance(inverter.feature, Sift)
    encoded, outcomes = inverter.encode(images), {}
    methods = compression_methods(inverter.encode(reference), sparse, seed)
    for method, compress in methods.items():
        restored, size = compress(encoded)
        outcomes[method] = size, inverter.invert(restored)
    mean = resize_images(reference, inverter.output_size).mean(0)
    return outcomes | {MEAN_IMAGE: (0.0, np.broadcast_to(mean, (len(images), *mean.shape)))}


def _rows(targets: np.ndarray, outcomes: Mapping[str, Outcome]) -> Iterator[dict[str, Any]]:
    classifier = features.get(_CLASSIFIER, image_shape=targets.shape[1:])
    scale = metrics.mean_pairwise_distance(targets)
    classes = _predict_classes(classifier, targets)
    for method, (size, rebuilt) in outcomes.items():
        same = _predict_classes(classifier, rebuilt) == classes
        yield {
            "compression": method,
            "bytes_per_image": size,
            "normalized_error": metrics.normalized_error(targets, rebuilt, scale),
            "lpips": lpips.lpips(targets, rebuilt),
            **mean_columns("same_class", same.astype(np.float64)),
        }


def _predict_classes(classifier: Feature, images: np.ndarray) -> np.ndarray:
    batches = [images[i : i + _BATCH_SIZE] for i in range(0, len(images), _BATCH_SIZE)]
    return np.concatenate([classifier(batch).numpy().argmax(1) for batch in batches])


def present(measurement: Measurement) -> Presentation:
    """Presents errors by bytes, agreement of predicted classes, and reconstructions."""
    table, facts = measurement.table, measurement.facts
    return Presentation(
        "Reconstructions from compressed features",
        f"{facts['images']} photographs, whose features were compressed in several ways; ranges "
        f"and components are learnt from {facts['reference_images']} others. No inverter is "
        "retrained for compressed features. SqueezeNet classifies photographs and reconstructions "
        "into one of 1 000 classes.",
        _findings(table),
        [
            *_charts(table),
            *(
                image_rows(
                    pictures,
                    title=f"Reconstructions from compressed features: {name}",
                    caption="Photographs, and reconstructions from their features by compression "
                    "method.",
                )
                for name, pictures in measurement.arrays["pictures"].items()
            ),
        ],
    )


def _findings(table: pd.DataFrame) -> list[str]:
    template = (
        "{compression}, {bytes_per_image:.0f} bytes: {normalized_error:.3f} / {lpips:.3f} / "
        "{same_class:.0%}"
    )
    return [
        f"{name}: error / LPIPS / same predicted class as the photograph, "
        f"{format_rows(own, template, '; ')}."
        for name, own in table.groupby("inverter", sort=False)
    ]


def _charts(table: pd.DataFrame) -> list[Figure]:
    compressed = table[table["compression"] != MEAN_IMAGE]
    compressed = compressed.sort_values("bytes_per_image", kind="stable")
    # Components are a line of their own: neither kind of method interpolates the other.
    is_pca = compressed["compression"].str.endswith(COMPONENTS)
    series = compressed["label"] + np.where(is_pca, f", {COMPONENTS}", "")
    percent = {column: 100 * table[column] for column in ("same_class", "same_class_se")}
    extremes = table["compression"].isin([UNCOMPRESSED, MEAN_IMAGE])
    return [
        charts.table_line_chart(
            compressed.assign(label=series),
            "bytes_per_image",
            "normalized_error",
            caption="Each point is a compression method. The mean image is at 0.7.",
            title="Error by bytes",
            x=column_label("bytes_per_image"),
            y=column_label("normalized_error"),
            log_x=True,
            floor=None,
        ),
        charts.table_dot_chart(
            table.assign(**percent)[extremes],
            "same_class",
            "same_class_se",
            series="compression",
            title="Same predicted class as the photograph",
            caption="Predicted by SqueezeNet, for uncompressed features, with standard errors.",
            x="same predicted class (%)",
        ),
    ]


EXPERIMENT = Experiment(
    order=170,
    default_inverters=("hog-64", "sift-64", "alexnet-conv5-64", "alexnet-fc7-64"),
    measure=measure,
    present=present,
    check=check,
    documentation="privacy.md",
)
