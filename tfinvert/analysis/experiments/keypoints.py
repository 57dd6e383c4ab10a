"""Reconstruction error of SIFT with fewer and fewer keypoints."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from tfinvert import metrics
from tfinvert.analysis.compression import keep_keypoint_fraction
from tfinvert.analysis.experiment import Experiment, Measurement, Presentation, make_table
from tfinvert.common.images import evenly_spaced_indices, resize_images
from tfinvert.errors import InputError
from tfinvert.features.sift import Sift, occupied_cells
from tfinvert.inverter import Inverter
from tfinvert.reporting import charts
from tfinvert.reporting.columns import column_label, format_rows
from tfinvert.reporting.image_rows import image_rows

FRACTIONS = (1.0, 0.5, 0.25, 0.1, 0.0)
_PICTURES = 10


def check(name: str, inverter: Inverter) -> None:
    """Checks that the inverter is of SIFT.

    Raises:
      InputError: it is not.
    """
    if not isinstance(inverter.feature, Sift):
        raise InputError(
            f"keypoints takes inverters of sift. Received: {name}, of {inverter.feature.name}"
        )


def measure(
    inverters: dict[str, Inverter],
    images: np.ndarray,
    *,
    fractions: Sequence[float] = FRACTIONS,
    seed: int = 0,
) -> Measurement:
    """Inverts random subsets of the keypoints, with the same inverter.

    Args:
      inverters: by name.
      images: `[n, H, W, 3]` in [0, 1].
      fractions: fractions of the keypoints of each image, in [0, 1].
      seed: random seed of the subsets.
    """
    chosen = evenly_spaced_indices(len(images), _PICTURES)
    rows, pictures = [], {}
    for name, inverter in inverters.items():
        targets = resize_images(images, inverter.output_size)
        scale = metrics.mean_pairwise_distance(targets)
        grids = np.asarray(inverter.feature(images))
        pictures[name] = {"original": targets[chosen]}
        for fraction in fractions:
            kept = keep_keypoint_fraction(grids, fraction, np.random.default_rng(seed))
            rebuilt = inverter.invert(kept)
            rows.append(
                {
                    "inverter": name,
                    "fraction_kept": fraction,
                    "keypoints_per_image": float(occupied_cells(kept).sum((1, 2)).mean()),
                    "normalized_error": metrics.normalized_error(targets, rebuilt, scale),
                }
            )
            pictures[name][f"{fraction:.0%}"] = rebuilt[chosen]
    return Measurement(make_table(rows), {"pictures": pictures}, {"images": len(images)})


def present(measurement: Measurement) -> Presentation:
    """Presents the error by number of keypoints, and reconstructions."""
    table = measurement.table
    return Presentation(
        "Reconstructions from fewer keypoints",
        f"{measurement.facts['images']} photographs, reconstructed from a random subset of their "
        "keypoints.",
        [_finding(name, own) for name, own in table.groupby("inverter", sort=False)],
        [
            charts.table_line_chart(
                table,
                "keypoints_per_image",
                "normalized_error",
                series="inverter",
                ordered=False,
                title="Error by number of keypoints",
                caption="The network was trained with all keypoints, and is not retrained for "
                "fewer.",
                x=column_label("keypoints_per_image"),
                y=column_label("normalized_error"),
                floor=None,
            ),
            *(
                image_rows(
                    pictures,
                    title=f"{name} with fewer keypoints",
                    caption="Photographs, and reconstructions from a fraction of their keypoints.",
                )
                for name, pictures in measurement.arrays["pictures"].items()
            ),
        ],
    )


def _finding(name: str, table: pd.DataFrame) -> str:
    errors = format_rows(table, "{normalized_error:.3f} with {fraction_kept:.0%}")
    return (
        f"{name}: normalised error {errors} of the "
        f"{table['keypoints_per_image'].iloc[0]:.0f} keypoints an image."
    )


EXPERIMENT = Experiment(
    order=150,
    default_inverters=("sift-64",),
    measure=measure,
    present=present,
    check=check,
)
