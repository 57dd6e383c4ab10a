"""Whether the hue of a reconstruction follows the hue of an object (section 5 of the paper).

The paper turns the hue of an apple. Here the middle of each photograph stands for the apple, so
that the question can be put to many photographs and answered in degrees.
"""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from tfinvert.analysis import claims
from tfinvert.analysis.hue import (
    chroma,
    chroma_product,
    hue_error,
    measure_chroma_products,
    rotate_hue_inside,
    rotation_disc,
)
from tfinvert.analysis.inverters import inverter_labels, reconstruct_by_label, reconstruct_resized
from tfinvert.analysis.result import (
    Result,
    Row,
    add_labels,
    format_rows,
    inverter_columns,
    mean_columns,
)
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter
from tfinvert.reporting import charts
from tfinvert.reporting.image_rows import image_rows
from tfinvert.reporting.report import Figure

INPUT = "input"
_VIVID = 0.1  # mean length of chroma, of 1, from which on a disc is not grey
_LEAST = 4  # photographs that are kept, vivid or not
_NEAR_CHANCE = 80.0
FOLLOWS, STAYS = "part that follows", "part that stays"
ERROR, ERROR_SE = "mean error (degrees)", "standard error (degrees)"
OFF = "{label} {mean error (degrees):.1f} ± {standard error (degrees):.1f}°"


def color(
    inverters: dict[str, Inverter],
    images: np.ndarray,
    *,
    seed: int = 0,
    angles: int = 12,
    size: float = 0.6,
) -> Result:
    """Turns the hue of the photographs' middle and measures the hue that is rebuilt there.

    Reconstructions are resized to the images' size. Photographs whose middle is grey are left out.

    Args:
      angles: steps into which the circle is divided, at least 2.
      size: diameter of the disc that is turned, as a fraction of the image's width; around it the
        turned hue fades into the photograph's own.

    Raises:
      InputError: fewer than two photographs have any colour, or a setting is out of range.
    """
    if angles < 2 or not 0 < size <= 1:
        raise InputError(
            f"angles are at least 2, and size is in (0, 1]. Received: angles={angles}, size={size}"
        )
    disc = rotation_disc(images, size)
    # Where the hue is turned in full: of the fading edge, the photograph's own hue is a part.
    inside = (disc == 1).astype(np.float32)
    if not inside.any():
        raise InputError(f"a disc of {size:g} of the width has no pixel of the images in it")
    vivid = _vivid(images, inside)
    chosen = images[vivid]
    turns = np.arange(angles) * 360.0 / angles
    ways = [
        np.asarray,
        *(functools.partial(reconstruct_resized, each) for each in inverters.values()),
    ]
    agreements = measure_chroma_products(ways, chosen, disc, inside, turns)
    energy = chroma_product(chroma(chosen), chroma(chosen), inside).real.sum()
    rows = [
        inverter_columns(name, inverter) | _row(own, turns, energy)
        for (name, inverter), own in zip(inverters.items(), agreements[1:], strict=True)
    ]
    table = add_labels(rows, inverters)
    copies = np.concatenate([rotate_hue_inside(chosen[:1], disc, degrees) for degrees in turns])
    return Result(
        "Does the hue of a reconstruction follow the object's?",
        f"The middle of {len(chosen)} of {len(images)} photographs, those with colour in it, had "
        f"its hue turned through the circle in {angles} steps. The error is the angle between the "
        "hue rebuilt there and the hue shown, averaged over steps and photographs; 90° is chance. "
        "Strength is the chroma rebuilt along the common turn, of the photographs' own; of it a "
        "part follows the turn, and a part stays where the photographs' own hue is.",
        _findings(table, len(chosen), len(images)),
        rows,
        [
            _turn_chart([INPUT, *inverter_labels(inverters).values()], agreements, turns),
            charts.table_dot_chart(
                table,
                ERROR,
                ERROR_SE,
                title="Error of the hue by layer",
                caption="Means over photographs, with standard errors.",
                x="angle to the hue shown (degrees; chance: 90)",
            ),
            image_rows(
                {INPUT: copies} | reconstruct_by_label(inverters, copies),
                title="One photograph with its hue turned",
                caption="The photograph with most colour, and what is rebuilt of it.",
                columns=[f"{degrees:.0f}°" for degrees in turns],
            ),
        ],
        claims.color(table, ERROR, ERROR_SE),
    )


def _vivid(images: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Indices of the photographs with colour in the disc, most first."""
    amount = np.array([np.average(np.abs(chroma(image)), weights=inside) for image in images])
    order = np.argsort(-amount, kind="stable")
    kept = order[: max(_LEAST, int((amount >= _VIVID).sum()))]
    kept = kept[amount[kept] > 0]
    if len(kept) < 2:
        raise InputError(
            f"color takes at least two photographs with colour in the middle. Received: "
            f"{len(kept)} among {len(images)}"
        )
    return kept


def _row(agreements: np.ndarray, turns: np.ndarray, energy: float) -> dict[str, Any]:
    errors = hue_error(agreements, turns)
    pooled = agreements.sum(1, keepdims=True)
    return {
        **mean_columns((ERROR, ERROR_SE), errors.mean(0)),
        "error of all together (degrees)": float(hue_error(pooled, turns).mean()),
        "strength": float(np.abs(pooled).mean() / energy),
        # The two that make up a + b·exp(i·turn), fitted to what is rebuilt.
        FOLLOWS: float((pooled[:, 0] * np.exp(-1j * np.radians(turns))).mean().real / energy),
        STAYS: float(pooled.mean().real / energy),
        "photographs": agreements.shape[1],
    }


def _findings(rows: Sequence[Row], kept: int, count: int) -> list[str]:
    found = [
        f"The rebuilt hue is off by {format_rows(rows, OFF)}, where chance is 90°.",
        "Of the photographs' chroma, what follows the turn and what stays where it was: "
        f"{format_rows(rows, '{label} {part that follows:.2f} and {part that stays:.2f}')}.",
        f"{kept} of {count} photographs have colour enough in the middle to be turned.",
    ]
    flat = [row for row in rows if row[ERROR] > _NEAR_CHANCE]
    if flat:
        found.insert(1, f"Near chance, since the hue hardly turns: {format_rows(flat, '{label}')}.")
    return found


def _turn_chart(names: Sequence[str], agreements: np.ndarray, turns: np.ndarray) -> Figure:
    # Steps from one angle to the next are taken the short way round.
    angles = np.degrees(np.unwrap(np.angle(agreements.sum(2))))
    table = pd.DataFrame(angles.T, turns, names).melt(ignore_index=False, var_name="label")
    return charts.table_line_chart(
        table.rename_axis("turn").reset_index(),
        "turn",
        "value",
        caption="Of all photographs together. A line that rises with the input's follows it. "
        "One that turns back keeps more of the photographs' own hue than of the hue shown, and a "
        "flat one guesses the same hue whatever it is shown.",
        title="Hue rebuilt by hue shown",
        x="turn of the object's hue (degrees)",
        y="turn of the rebuilt hue (degrees)",
        floor=None,
    )
