"""How much of the photograph each keypoint carries: SIFT inverted with fewer and fewer of them."""

import numpy as np

from tfinvert import metrics
from tfinvert.analysis.result import Result, format_rows
from tfinvert.common.images import evenly_spaced_indices, resize_images
from tfinvert.errors import InputError
from tfinvert.features.sift import Sift, occupied_cells
from tfinvert.inverter import Inverter
from tfinvert.reporting import charts
from tfinvert.reporting.image_rows import image_rows

FRACTIONS = (1.0, 0.5, 0.25, 0.1, 0.0)
_SHOWN = 10


def keep_keypoint_fraction(
    grids: np.ndarray, fraction: float, rng: np.random.Generator
) -> np.ndarray:
    """`keep_keypoints` for a fraction of each grid's keypoints, in [0, 1]; their number is rounded."""
    return keep_keypoints(grids, np.round(fraction * occupied_cells(grids).sum((1, 2))), rng)


def keep_keypoints(
    grids: np.ndarray, count: int | np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Keeps at most so many keypoints of each grid, drawn at random, and empties the other cells.

    Grids are `[n, rows, columns, 133]`, of the feature SIFT; the count is one number, or `[n]`.
    """
    full = occupied_cells(grids)
    flat = full.reshape(len(grids), -1)
    # A random rank among a grid's keypoints; empty cells rank last.
    rank = np.argsort(np.argsort(np.where(flat, rng.random(flat.shape), 2.0), 1), 1)
    kept = full & (rank < np.reshape(count, (-1, 1))).reshape(full.shape)
    return np.where(kept[..., np.newaxis], grids, 0.0).astype(np.float32)


def check(name: str, inverter: Inverter) -> None:
    """Raises `InputError` unless it is an inverter of SIFT."""
    if not isinstance(inverter.feature, Sift):
        raise InputError(
            f"keypoints takes inverters of sift. Received: {name}, of {inverter.feature.name}"
        )


def keypoints(
    inverters: dict[str, Inverter],
    images: np.ndarray,
    fractions: tuple[float, ...] = FRACTIONS,
    seed: int = 0,
) -> Result:
    """Error by the fraction of keypoints kept, without retraining.

    Args:
      fractions: of the keypoints of each image.

    Raises:
      InputError: an inverter is of another feature.
    """
    for name, inverter in inverters.items():
        check(name, inverter)
    rows, findings, figures = [], [], []
    for name, inverter in inverters.items():
        targets = resize_images(images, inverter.output_size)
        scale = metrics.mean_pairwise_distance(targets)
        grids = np.asarray(inverter.feature(images))
        chosen = evenly_spaced_indices(len(images), _SHOWN)
        shown = {"original": targets[chosen]}
        for fraction in fractions:
            kept = keep_keypoint_fraction(grids, fraction, np.random.default_rng(seed))
            rebuilt = inverter.invert(kept)
            rows.append(
                {
                    "inverter": name,
                    "keypoints kept": fraction,
                    "keypoints an image": float(occupied_cells(kept).sum((1, 2)).mean()),
                    "normalised error": metrics.normalized_error(targets, rebuilt, scale),
                }
            )
            shown[f"{fraction:.0%}"] = rebuilt[chosen]
        own = rows[-len(fractions) :]
        findings.append(
            f"{name}: normalised error "
            f"{format_rows(own, '{normalised error:.3f} with {keypoints kept:.0%}')} of the "
            f"{own[0]['keypoints an image']:.0f} keypoints an image."
        )
        figures.append(
            image_rows(
                shown,
                title=f"{name} with fewer keypoints",
                caption="Photographs, and what is rebuilt from the fraction of their keypoints.",
            )
        )
    curve = charts.table_line_chart(
        rows,
        "keypoints an image",
        "normalised error",
        series="inverter",
        ordered=False,
        title="Error by number of keypoints",
        caption="The network was trained with all keypoints and sees fewer for the first time.",
        x="keypoints an image",
        y="normalised error",
        floor=None,
    )
    return Result(
        "What each keypoint carries",
        f"{len(images)} photographs, rebuilt from a part of their keypoints, drawn at random.",
        findings,
        rows,
        [curve, *figures],
    )
