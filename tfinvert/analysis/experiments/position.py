"""Whether a reconstruction shows an object where it was (section 5 of the paper).

The paper sees rough positions come back even from fully connected layers. Here an object is put
into photographs at known places, and what it changes in the reconstructions tells where it is.
"""

import functools
from collections.abc import Mapping, Sequence
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
from tfinvert.analysis.inverters import inverter_labels, reconstruct_by_label
from tfinvert.analysis.result import (
    Result,
    Row,
    add_labels,
    format_rows,
    inverter_columns,
    mean_columns,
)
from tfinvert.analysis.result_cache import NO_CACHE, ResultCache
from tfinvert.common.images import evenly_spaced_indices
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter
from tfinvert.reporting import charts
from tfinvert.reporting.image_rows import image_rows
from tfinvert.reporting.report import Figure

_EDGE = 0.2  # of the object's diameter

CORRELATION, CORRELATION_SE = "correlation", "standard error of the correlation"
DISTANCE, DISTANCE_SE = "distance (widths)", "standard error of the distance"


def position(
    inverters: dict[str, Inverter],
    images: np.ndarray,
    *,
    seed: int = 0,
    places: int = 4,
    size: float = 0.3,
    backgrounds: int = 256,
    parts: ResultCache = NO_CACHE,
) -> Result:
    """Puts an object at the places of a grid and measures where reconstructions change.

    The change is the squared difference, summed over channels, between reconstructions with and
    without the object, at the inverters' own output sizes.

    Args:
      places: of the grid along each side, at least 2; the outermost touch the image's border.
      size: the object's diameter, as a fraction of the image's width.
      backgrounds: at most so many of the images, evenly spaced.

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
    names, rows, centers = inverter_labels(inverters), [], {}
    for name, inverter in tqdm.tqdm(inverters.items(), "position", leave=False):
        measure = functools.partial(measure_centroids, inverter, without, objects, mask, corners)
        found = parts(f"position/{name}", measure)["centers"]
        centers[names[name]] = found
        rows.append(inverter_columns(name, inverter) | _row(true, found))
    chance = float(np.linalg.norm(true, axis=1).mean())
    shown, row = [int(contrast.argmax())], corners[places // 2 * places :][:places]
    copies = [paste(without[shown], objects[shown], mask, *corner) for corner in row]
    copies = np.concatenate([without[shown], *copies])
    pictures = {"input": copies} | reconstruct_by_label(inverters, copies)
    table = add_labels(rows, inverters)
    return Result(
        "Does a reconstruction show an object where it was?",
        f"A disc of {size:g} of the width, cut from the middle of another photograph, was put at "
        f"{places}×{places} places into {len(chosen)} photographs. Where reconstructions with and "
        "without it differ, at the centre of mass of the squared difference above its median, is "
        "where the object is rebuilt. Distances are in widths of the image; always saying the "
        f"middle is {chance:.3f} off.",
        _findings(table, chance),
        rows,
        [
            charts.table_dot_chart(
                table,
                CORRELATION,
                CORRELATION_SE,
                title="Measured with true places, by layer",
                caption="Over all photographs, places and both coordinates, with standard errors "
                "over photographs.",
                x="correlation of measured and true place",
            ),
            _place_chart(centers, true),
            image_rows(
                {label: _with_changes(images) for label, images in pictures.items()},
                title="One object at several places",
                caption="The photograph and object most unlike each other: what is rebuilt without "
                "and with the object, and where the two differ, each row from black to its largest "
                "change.",
                columns=[
                    "without",
                    *(f"place {i + 1}" for i in range(places)),
                    *(f"change {i + 1}" for i in range(places)),
                ],
            ),
        ],
        claims.position(table, CORRELATION, CORRELATION_SE),
    )


def _row(true: np.ndarray, found: np.ndarray) -> dict[str, Any]:
    value, error = position_correlation(true, found)
    distance = np.linalg.norm(found - true[:, np.newaxis], axis=-1).mean(0)
    return {
        CORRELATION: value,
        CORRELATION_SE: error,
        **mean_columns((DISTANCE, DISTANCE_SE), distance),
        "distance of the middle (widths)": float(np.linalg.norm(true, axis=1).mean()),
        "backgrounds": len(distance),
    }


def _findings(rows: Sequence[Row], chance: float) -> list[str]:
    found = [
        "The places where reconstructions change correlate with the object's: "
        f"{format_rows(rows, '{label} {correlation:.3f} ± {standard error of the correlation:.3f}')}.",
        "They are off by "
        f"{format_rows(rows, '{label} {distance (widths):.3f} ± {standard error of the distance:.3f}')}"
        f" widths of the image, where always saying the middle is off by {chance:.3f}.",
    ]
    worse = [row for row in rows if row[DISTANCE] >= chance]
    if worse:
        found.append(f"No nearer than the middle of the image: {format_rows(worse, '{label}')}.")
    return found


def _place_chart(centers: Mapping[str, np.ndarray], true: np.ndarray) -> Figure:
    """Of the horizontal coordinate."""
    table = [
        {"label": label, "true": column}
        | mean_columns(("measured", "±"), found[true[:, 0] == column, :, 0].mean(0))
        for label, found in centers.items()
        for column in np.unique(true[:, 0])
    ]
    return charts.table_line_chart(
        table,
        "true",
        "measured",
        "±",
        caption="Across the image, means over photographs with standard errors; where the object "
        "is shown exactly, both are the same.",
        title="Measured by true place",
        x="true place (widths right of the middle)",
        y="measured place (widths)",
        floor=None,
    )


def _with_changes(images: np.ndarray) -> np.ndarray:
    """Images, and what sets all but the first apart from it, as grey images up to white."""
    changes = np.sqrt(squared_difference(images[:1], images[1:]))
    grey = changes / max(float(changes.max()), np.finfo(np.float32).tiny)
    return np.concatenate([images, np.repeat(grey[..., np.newaxis], 3, -1)])
