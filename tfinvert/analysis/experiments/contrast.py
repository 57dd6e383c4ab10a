"""Change of reconstructions when the contrast of the photographs falls.

HOG normalises gradients by those around them, and LBP only encodes which pixel is brighter. Both
contain little information about contrast, and the network fills in what is usual (section 5 of the
paper).
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from tfinvert import metrics
from tfinvert.analysis.experiment import Experiment, Measurement, Presentation, make_table
from tfinvert.analysis.scores import image_contrast, scale_contrast
from tfinvert.common.images import evenly_spaced_indices, resize_images
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter
from tfinvert.reporting.image_rows import image_rows

FACTORS = (1.0, 0.5, 0.25, 0.1)
_PICTURES = 10


def measure(
    inverters: dict[str, Inverter], images: np.ndarray, *, factors: Sequence[float] = FACTORS
) -> Measurement:
    """Compares reconstructions of images with those of the same images at lower contrast.

    Args:
      inverters: by name.
      images: `[n, H, W, 3]` in [0, 1].
      factors: factors of the contrast, at least two; the others are compared with the first.

    Raises:
      InputError: there are fewer than two factors, or the images are all equal.
    """
    if len(factors) < 2:
        raise InputError(f"contrast takes at least 2 factors. Received: {factors}")
    scale = metrics.mean_pairwise_distance(images)
    if not scale:
        raise InputError(
            "changes are relative to the distances between images; give different images. "
            f"Received: {len(images)} images that are all equal"
        )
    scaled = [scale_contrast(images, factor) for factor in factors]
    chosen = evenly_spaced_indices(len(images), _PICTURES)
    rows, pictures = [], {}
    for name, inverter in inverters.items():
        rebuilt = [inverter.reconstruct(copies) for copies in scaled]
        output_scale = metrics.mean_pairwise_distance(resize_images(images, inverter.output_size))
        pictures[name] = {}
        for factor, copies, reconstructions in zip(factors, scaled, rebuilt, strict=True):
            rows.append(
                {
                    "inverter": name,
                    "contrast": factor,
                    "photograph_change": _mean_distance(images, copies) / scale,
                    "reconstruction_change": _mean_distance(rebuilt[0], reconstructions)
                    / output_scale,
                    "reconstruction_contrast": float(
                        image_contrast(reconstructions).mean() / image_contrast(rebuilt[0]).mean()
                    ),
                }
            )
            resized = resize_images(reconstructions, copies.shape[1:3])
            pictures[name][f"contrast {factor:g}"] = copies[chosen]
            pictures[name][f"{name}, {factor:g}"] = resized[chosen]
    return Measurement(make_table(rows), {"pictures": pictures}, {"images": len(images)})


def _mean_distance(images: np.ndarray, others: np.ndarray) -> float:
    return float(metrics.per_image_distance(images, others).mean())


def present(measurement: Measurement) -> Presentation:
    """Presents changes at the second factor, and reconstructions at each contrast."""
    return Presentation(
        "Reconstructions at lower contrast",
        f"{measurement.facts['images']} photographs, and copies with all differences from the mean "
        "colour scaled. Distances are in units of N, the mean distance between two photographs.",
        [_finding(name, x) for name, x in measurement.table.groupby("inverter", sort=False)],
        [
            image_rows(
                pictures,
                title=f"{name} at lower contrast",
                caption="Photographs at each contrast, above their reconstructions.",
            )
            for name, pictures in measurement.arrays["pictures"].items()
        ],
    )


def _finding(name: str, table: pd.DataFrame) -> str:
    row = table.iloc[1]
    return (
        f"{name}: at {row['contrast']:g} of the contrast the photographs change by "
        f"{row['photograph_change']:.3f} N and their reconstructions by "
        f"{row['reconstruction_change']:.4f} N; the reconstructions keep "
        f"{row['reconstruction_contrast']:.0%} of their contrast."
    )


EXPERIMENT = Experiment(
    order=140,
    default_inverters=("hog-64", "lbp-64"),
    measure=measure,
    present=present,
    changes_photographs=True,
)
