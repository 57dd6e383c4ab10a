"""Hue of reconstructions as the hue of an object is rotated.

Section 5 of the paper rotates the hue of an apple. Here the centre of each photograph takes the
place of the apple, so that the effect is measured on many photographs, in degrees.
"""

import functools
from typing import Any

import numpy as np
import pandas as pd

from tfinvert.analysis import claims
from tfinvert.analysis.experiment import Exhibit, Experiment, Measurement, Presentation, make_table
from tfinvert.analysis.hue import (
    chroma,
    chroma_product,
    hue_error,
    measure_chroma_products,
    rotate_hue_inside,
    rotation_disc,
)
from tfinvert.analysis.inverters import (
    add_labels,
    inverter_columns,
    inverter_labels,
    reconstruct_by_label,
    reconstruct_resized,
    shipped_alexnet,
)
from tfinvert.analysis.scores import mean_columns
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter
from tfinvert.reporting import charts
from tfinvert.reporting.columns import format_rows
from tfinvert.reporting.image_rows import image_rows
from tfinvert.reporting.report import Figure

INPUT = "input"
_MIN_CHROMA = 0.1  # mean chroma, of 1, from which on a photograph is colourful
_MIN_PHOTOGRAPHS = 4  # are kept, colourful or not
_NEAR_CHANCE = 80.0  # degrees


def measure(
    inverters: dict[str, Inverter], images: np.ndarray, *, angles: int = 12, size: float = 0.6
) -> Measurement:
    """Rotates the hue of the centre of photographs and measures the reconstructed hue there.

    Reconstructions are resized to the size of the images. Photographs whose centre is grey are left
    out.

    Args:
      inverters: by name, from the first layer to the last.
      images: `[n, H, W, 3]` in [0, 1].
      angles: number of steps around the colour circle, at least 2.
      size: diameter of the disc whose hue is rotated, as a fraction of the image's width, in
        (0, 1]; at its rim the rotated hue fades into the photograph's own.

    Raises:
      InputError: fewer than two photographs have any colour, or a setting is out of range.
    """
    if angles < 2 or not 0 < size <= 1:
        raise InputError(
            "color takes at least 2 angles and a size in (0, 1]. "
            f"Received: angles={angles}, size={size}"
        )
    disc = rotation_disc(images, size)
    # Only where the hue is rotated in full: the fading rim keeps part of the photograph's own hue.
    inside = (disc == 1).astype(np.float32)
    if not inside.any():
        raise InputError(
            f"a disc of {size:g} of the image's width contains no pixel; give a larger size. "
            f"Received: images of {images.shape[1]}×{images.shape[2]} pixels"
        )
    colorful = images[_most_colorful(images, inside)]
    rotations = np.arange(angles) * 360.0 / angles
    reconstructors = [functools.partial(reconstruct_resized, x) for x in inverters.values()]
    reconstructors = [np.asarray, *reconstructors]
    products = measure_chroma_products(reconstructors, colorful, disc, inside, rotations)
    energy = chroma_product(chroma(colorful), chroma(colorful), inside).real.sum()
    rows = [
        inverter_columns(name, inverter) | _row(own, rotations, energy)
        for (name, inverter), own in zip(inverters.items(), products[1:], strict=True)
    ]
    copies = np.concatenate([rotate_hue_inside(colorful[:1], disc, x) for x in rotations])
    labels = [INPUT, *inverter_labels(inverters).values()]
    return Measurement(
        make_table(add_labels(rows, inverters)),
        {
            "rotations": rotations,
            "products": dict(zip(labels, products, strict=True)),
            "pictures": {INPUT: copies} | reconstruct_by_label(inverters, copies),
        },
        {"photographs": len(colorful), "images": len(images), "angles": angles},
    )


def _most_colorful(images: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Indices of the photographs with colour in the disc, the most colourful first."""
    amount = np.array([np.average(np.abs(chroma(image)), weights=inside) for image in images])
    order = np.argsort(-amount, kind="stable")
    kept = order[: max(_MIN_PHOTOGRAPHS, int((amount >= _MIN_CHROMA).sum()))]
    kept = kept[amount[kept] > 0]
    if len(kept) < 2:
        raise InputError(
            "color takes at least two photographs with colour in the centre. Received: "
            f"{len(kept)} among {len(images)}"
        )
    return kept


def _row(products: np.ndarray, rotations: np.ndarray, energy: float) -> dict[str, Any]:
    errors = hue_error(products, rotations)
    pooled = products.sum(1, keepdims=True)
    return {
        **mean_columns("hue_error", errors.mean(0)),
        "pooled_hue_error": float(hue_error(pooled, rotations).mean()),
        "chroma": float(np.abs(pooled).mean() / energy),
        # a and b of a·exp(i·rotation) + b, fitted to what is reconstructed.
        "rotating_chroma": float(
            (pooled[:, 0] * np.exp(-1j * np.radians(rotations))).mean().real / energy
        ),
        "constant_chroma": float(pooled.mean().real / energy),
        "photographs": products.shape[1],
    }


def present(measurement: Measurement) -> Presentation:
    """Presents hue errors by layer, rotations, and one photograph in every hue."""
    table, arrays, facts = measurement.table, measurement.arrays, measurement.facts
    errors = format_rows(table, "{label} {hue_error:.1f} ± {hue_error_se:.1f}°")
    parts = format_rows(table, "{label} {rotating_chroma:.2f} and {constant_chroma:.2f}")
    findings = [
        f"The mean hue error is {errors}, where chance is 90°.",
        "Chroma that rotates with the object and chroma that stays constant, as fractions of the "
        f"photographs' chroma: {parts}.",
        f"{facts['photographs']} of {facts['images']} photographs have enough colour in the centre "
        "for their hue to be rotated.",
    ]
    chance = table[table["hue_error"] > _NEAR_CHANCE]
    if len(chance):
        findings.insert(
            1, f"Near chance, with a hue that hardly rotates: {format_rows(chance, '{label}')}."
        )
    return Presentation(
        "Hue of reconstructions as an object's hue is rotated",
        f"The hue of the centre of {facts['photographs']} of {facts['images']} photographs, those "
        f"with colour there, was rotated around the colour circle in {facts['angles']} steps. The "
        "hue error is the angle between the reconstructed hue and the hue shown, averaged over "
        "steps and photographs; 90° is chance. Chroma is that reconstructed along the common "
        "rotation, as a fraction of the photographs' chroma; part of it rotates with the object, "
        "and part keeps the photographs' original hue.",
        findings,
        [
            _rotation_chart(arrays["products"], arrays["rotations"]),
            charts.table_dot_chart(
                table,
                "hue_error",
                "hue_error_se",
                title="Hue error by layer",
                caption="Means over photographs, with standard errors.",
                x="angle to the hue shown (degrees; chance: 90)",
            ),
            image_rows(
                arrays["pictures"],
                title="One photograph with its hue turned",
                caption="The most colourful photograph, and its reconstructions.",
                columns=[f"{degrees:.0f}°" for degrees in arrays["rotations"]],
            ),
        ],
    )


def _rotation_chart(products: dict[str, np.ndarray], rotations: np.ndarray) -> Figure:
    # From one angle to the next, steps are taken the short way round.
    angles = {label: np.degrees(np.unwrap(np.angle(own.sum(1)))) for label, own in products.items()}
    table = pd.DataFrame(angles, rotations).melt(ignore_index=False, var_name="label")
    return charts.table_line_chart(
        table.rename_axis("rotation").reset_index(),
        "rotation",
        "value",
        caption="Pooled over all photographs. A line parallel to the input's follows the hue "
        "shown. One that turns back keeps more of the photographs' original hue than of the hue "
        "shown, and a flat one always has the same hue.",
        title="Reconstructed hue by hue shown",
        x="rotation of the object's hue (degrees)",
        y="rotation of the reconstructed hue (degrees)",
        floor=None,
    )


EXPERIMENT = Experiment(
    order=50,
    default_inverters=shipped_alexnet(),
    measure=measure,
    judge=claims.color,
    present=present,
    changes_photographs=True,
    exhibits=(
        Exhibit(
            40,
            "A hue turned through the circle",
            "One photograph with its hue turned",
            "The centre of one photograph is painted in every hue. A layer that represents its "
            "colour changes along with the first row; one that infers it from the rest of the "
            "photograph keeps to the usual colours of such things.",
            "The colour of the object",
        ),
    ),
)
