"""Position of an object in the reconstruction, compared with its true position.

Section 5 of the paper, which finds that rough positions are recovered even from fully connected
layers. Here an object is pasted into photographs at known positions, and located by the change of
the reconstruction.
"""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import tqdm

from tfinvert.analysis import claims
from tfinvert.analysis.compositing import (
    build_scenes,
    measure_centroids,
    paste,
    placement_grid,
    position_correlation,
    soft_disc,
    squared_difference,
)
from tfinvert.analysis.experiment import Exhibit, Experiment, Measurement, Presentation, make_table
from tfinvert.analysis.inverters import (
    add_labels,
    inverter_columns,
    inverter_labels,
    reconstruct_by_label,
    shipped_alexnet,
)
from tfinvert.analysis.result_cache import NO_CACHE, ResultCache
from tfinvert.analysis.scores import mean_columns
from tfinvert.common.images import evenly_spaced_indices
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter
from tfinvert.reporting import charts
from tfinvert.reporting.columns import format_rows
from tfinvert.reporting.image_rows import image_rows
from tfinvert.reporting.report import Figure

_EDGE = 0.2  # of the object's diameter


def measure(
    inverters: dict[str, Inverter],
    images: np.ndarray,
    *,
    seed: int = 0,
    places: int = 4,
    size: float = 0.3,
    backgrounds: int = 256,
    cache: ResultCache = NO_CACHE,
) -> Measurement:
    """Pastes an object at the positions of a grid and locates the change of the reconstruction.

    The change is the squared difference, summed over channels, between reconstructions with and
    without the object, at each inverter's own output size.

    Args:
      inverters: by name, from the first layer to the last.
      images: `[n, H, W, 3]` in [0, 1].
      seed: random seed of the choice of objects.
      places: positions along each side of the grid, at least 2; the outermost touch the border.
      size: the object's diameter, as a fraction of the image's width.
      backgrounds: maximum number of images to paste into, evenly subsampled.
      cache: keeps the positions found with each inverter.

    Raises:
      InputError: there are fewer than two images or backgrounds, or a setting is out of range.
    """
    height, width = images.shape[1:3]
    side = round(size * width)
    if min(len(images), backgrounds, places) < 2 or not 2 <= side < min(height, width):
        raise InputError(
            "position takes at least 2 images, backgrounds and places, and a size between 2 pixels "
            f"and the image. Received: {len(images)} images, backgrounds={backgrounds}, "
            f"places={places}, size={size:g}, {side} of {height}×{width} pixels"
        )
    chosen = evenly_spaced_indices(len(images), backgrounds)
    without, objects, contrast = build_scenes(images, chosen, side, np.random.default_rng(seed))
    mask = soft_disc(side, side, side, _EDGE * side)
    corners, true = placement_grid(places, side, height, width)
    labels, rows, centroids = inverter_labels(inverters), [], {}
    for name, inverter in tqdm.tqdm(inverters.items(), "position", leave=False):
        locate = functools.partial(measure_centroids, inverter, without, objects, mask, corners)
        found = cache(f"position/{name}", locate)["centers"]
        centroids[labels[name]] = found
        rows.append(inverter_columns(name, inverter) | _row(true, found))
    # The photograph and object with the highest contrast, in the middle row of the grid.
    shown, row = [int(contrast.argmax())], corners[places // 2 * places :][:places]
    copies = [paste(without[shown], objects[shown], mask, *corner) for corner in row]
    copies = np.concatenate([without[shown], *copies])
    return Measurement(
        make_table(add_labels(rows, inverters)),
        {
            "true": true,
            "centroids": centroids,
            "pictures": {"input": copies} | reconstruct_by_label(inverters, copies),
        },
        {
            "backgrounds": len(chosen),
            "places": places,
            "size": size,
            "chance": float(np.linalg.norm(true, axis=1).mean()),
        },
    )


def _row(true: np.ndarray, found: np.ndarray) -> dict[str, Any]:
    value, error = position_correlation(true, found)
    distance = np.linalg.norm(found - true[:, np.newaxis], axis=-1).mean(0)
    return {
        "correlation": value,
        "correlation_se": error,
        **mean_columns("position_error", distance),
        "center_error": float(np.linalg.norm(true, axis=1).mean()),
        "backgrounds": len(distance),
    }


def present(measurement: Measurement) -> Presentation:
    """Presents correlations and errors by layer, and one object at several positions."""
    table, arrays, facts = measurement.table, measurement.arrays, measurement.facts
    places, chance = facts["places"], facts["chance"]
    correlations = format_rows(table, "{label} {correlation:.3f} ± {correlation_se:.3f}")
    errors = format_rows(table, "{label} {position_error:.3f} ± {position_error_se:.3f}")
    findings = [
        f"Correlation of measured and true position: {correlations}.",
        f"Mean position error, in widths of the image: {errors}; always guessing the centre has an "
        f"error of {chance:.3f}.",
    ]
    worse = table[table["position_error"] >= chance]
    if len(worse):
        findings.append(f"No better than guessing the centre: {format_rows(worse, '{label}')}.")
    return Presentation(
        "Position of an object in the reconstruction",
        f"A disc of {facts['size']:g} of the width, cut from the centre of another photograph, was "
        f"pasted at {places}×{places} positions into {facts['backgrounds']} photographs. The "
        "object's position in the reconstruction is the centroid of the squared difference, above "
        "its median, between reconstructions with and without the object. Errors are in widths of "
        f"the image; always guessing the centre has an error of {chance:.3f}.",
        findings,
        [
            charts.table_dot_chart(
                table,
                "correlation",
                "correlation_se",
                title="Correlation with the true position, by layer",
                caption="Over all photographs, positions and both coordinates, with standard "
                "errors over photographs.",
                x="correlation of measured and true position",
            ),
            _position_chart(arrays["centroids"], arrays["true"]),
            image_rows(
                {label: _with_changes(images) for label, images in arrays["pictures"].items()},
                title="One object at several places",
                caption="The photograph and object with the highest contrast: reconstructions "
                "without and with the object, and their differences, each row scaled from black to "
                "its largest change.",
                columns=[
                    "without",
                    *(f"place {i + 1}" for i in range(places)),
                    *(f"change {i + 1}" for i in range(places)),
                ],
            ),
        ],
    )


def _position_chart(centroids: Mapping[str, np.ndarray], true: np.ndarray) -> Figure:
    """Measured by true horizontal coordinate."""
    table = [
        {"label": label, "true": x} | mean_columns("measured", found[true[:, 0] == x, :, 0].mean(0))
        for label, found in centroids.items()
        for x in np.unique(true[:, 0])
    ]
    return charts.table_line_chart(
        table,
        "true",
        "measured",
        "measured_se",
        caption="Horizontal coordinate: means over photographs with standard errors. An exact "
        "reconstruction lies on the diagonal.",
        title="Measured by true position",
        x="true position (widths right of the centre)",
        y="measured position (widths)",
        floor=None,
    )


def _with_changes(images: np.ndarray) -> np.ndarray:
    """Images, and the difference of all but the first from the first, in grey up to white."""
    changes = np.sqrt(squared_difference(images[:1], images[1:]))
    grey = changes / max(float(changes.max()), np.finfo(np.float32).tiny)
    return np.concatenate([images, np.repeat(grey[..., np.newaxis], 3, -1)])


EXPERIMENT = Experiment(
    order=60,
    default_inverters=shipped_alexnet(),
    measure=measure,
    judge=claims.position,
    present=present,
    changes_photographs=True,
    exhibits=(
        Exhibit(
            50,
            "An object moved",
            "One object at several places",
            "One object at four positions, and on the right the change it causes in each "
            "reconstruction. Convolutional layers show it where it is. In deeper layers the change "
            "spreads: something is there, but its position is less and less certain.",
            "Rough position survives",
        ),
    ),
)
