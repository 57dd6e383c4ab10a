"""Whether the hue of a reconstruction follows the hue of an object (section 5 of the paper).

The paper turns the hue of an apple. Here the middle of each photograph stands for the apple, so
that the question can be put to many photographs and answered in degrees.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.stats
import skimage.color
import tqdm

from tfinvert.analysis.inverters import NETWORK, kind, labels, layer_of
from tfinvert.analysis.masks import soft_disc
from tfinvert.analysis.result import Claim, Result
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter
from tfinvert.reporting import plots
from tfinvert.reporting.image_rows import image_rows
from tfinvert.reporting.report import Figure
from tfinvert.resize import resize_images

INPUT = "input"
_EDGE = 0.1  # of the image's width, over which the turned disc fades into its surroundings
_VIVID = 0.1  # mean length of chroma, of 1, from which on a disc is not grey
_LEAST = 4  # photographs that are kept, vivid or not
_CHANCE = 90.0  # degrees by which a hue drawn at random is off
_NEAR_CHANCE = 80.0
_CONFIRMS = 45.0
_DEEPEST = 2  # fully connected layers that the claim is about
_BATCH = 64

FOLLOWS, STAYS = "part that follows", "part that stays"
ERROR, ERROR_SE = "mean error (degrees)", "standard error (degrees)"


def turn_hue(images: np.ndarray, degrees: float) -> np.ndarray:
    """Turns the hue of HSV and keeps saturation and value: `[..., 3]` in [0, 1]."""
    hsv = skimage.color.rgb2hsv(images)
    hsv[..., 0] = (hsv[..., 0] + degrees / 360.0) % 1.0
    return skimage.color.hsv2rgb(hsv)


def chroma(images: np.ndarray) -> np.ndarray:
    """Colour as a complex number whose angle is the hue: `[..., 3]` in [0, 1] becomes `[...]`.

    c = (R - (G + B)/2) + i·(√3/2)·(G - B): red is 1, green and blue are 120° either way from it,
    and greys are 0. The angle differs from HSV's hue by 1.1° at most.
    """
    red, green, blue = np.moveaxis(images, -1, 0)
    return (red - (green + blue) / 2) + 0.75**0.5 * 1j * (green - blue)


def agreement(chromas: np.ndarray, others: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Σ mask · conj(c) · c' over the pixels of each image: two of `[n, H, W]` become `[n]`.

    Its angle is the turn from the first hue to the second, in which vivid pixels count most.
    """
    return np.einsum("hw,nhw,nhw->n", mask, chromas.conj(), others, dtype=np.complex128)


def angular_error(agreements: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """How far hues are from where the turn would have taken them.

    Args:
      agreements: `[turns, n]`, of `agreement`; 0 has no hue, and counts as chance would.
      turns: `[turns]` in degrees.

    Returns:
      `[turns, n]` in degrees, from 0 to 180.
    """
    back = np.exp(-1j * np.radians(turns))[:, np.newaxis]
    return np.where(agreements == 0, _CHANCE, np.abs(np.degrees(np.angle(agreements * back))))


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
      inverters: by name, from the first layer to the last.
      images: `[n, H, W, 3]` in [0, 1], of the size the features take.
      seed: as every experiment has one; nothing is drawn here.
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
    disc = _disc(images, size)
    # Where the hue is turned in full: of the fading edge, the photograph's own hue is a part.
    inside = (disc == 1).astype(np.float32)
    if not inside.any():
        raise InputError(f"a disc of {size:g} of the width has no pixel of the images in it")
    vivid = _vivid(images, inside)
    chosen = images[vivid]
    turns = np.arange(angles) * 360.0 / angles
    shown, agreements = _agreements(inverters, chosen, disc, inside, turns)
    energy = agreement(chroma(chosen), chroma(chosen), inside).real.sum()
    names = labels(inverters)
    rows = [
        {"inverter": name, "layer": layer_of(inverter), "kind": kind(inverter)}
        | _row(agreements[name], turns, energy)
        for name, inverter in inverters.items()
    ]
    return Result(
        "Does the hue of a reconstruction follow the object's?",
        f"The middle of {len(chosen)} of {len(images)} photographs, those with colour in it, had "
        f"its hue turned through the circle in {angles} steps. The error is the angle between the "
        "hue rebuilt there and the hue shown, averaged over steps and photographs; 90° is chance. "
        "Strength is the chroma rebuilt along the common turn, of the photographs' own; of it a "
        "part follows the turn, and a part stays where the photographs' own hue is.",
        _findings(rows, names, len(chosen), len(images)),
        rows,
        [
            _turn_chart(
                {INPUT: shown} | {names[name]: each for name, each in agreements.items()}, turns
            ),
            _error_chart(rows, names),
            _pictures(inverters, names, chosen[:1], disc, turns),
        ],
        _claims(inverters, rows, names),
    )


def _disc(images: np.ndarray, size: float) -> np.ndarray:
    height, width = images.shape[1:3]
    return soft_disc(height, width, (size + 2 * _EDGE) * width, _EDGE * width)


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


def _turned(images: np.ndarray, disc: np.ndarray, degrees: float) -> np.ndarray:
    weight = disc[..., np.newaxis]
    return images * (1 - weight) + turn_hue(images, degrees) * weight


def _agreements(
    inverters: dict[str, Inverter],
    images: np.ndarray,
    disc: np.ndarray,
    inside: np.ndarray,
    turns: np.ndarray,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Of unturned photographs with turned ones, and with what each inverter rebuilds of these.

    Returns:
      `[turns, n]`, and by inverter `[turns, n]`.
    """
    shown, *others = np.zeros((1 + len(inverters), len(turns), len(images)), complex)
    found = dict(zip(inverters, others, strict=True))
    for start in tqdm.trange(0, len(images), _BATCH, desc="color", leave=False):
        batch = images[start : start + _BATCH]
        own, place = chroma(batch), slice(start, start + _BATCH)
        for i, degrees in enumerate(turns):
            turned = _turned(batch, disc, degrees)
            shown[i, place] = agreement(own, chroma(turned), inside)
            for name, inverter in inverters.items():
                rebuilt = resize_images(inverter.reconstruct(turned), images.shape[1:3])
                found[name][i, place] = agreement(own, chroma(rebuilt), inside)
    return shown, found


def _row(agreements: np.ndarray, turns: np.ndarray, energy: float) -> dict[str, Any]:
    errors = angular_error(agreements, turns)
    pooled = agreements.sum(1, keepdims=True)
    return {
        ERROR: float(errors.mean()),
        ERROR_SE: float(scipy.stats.sem(errors.mean(0))),
        "error of all together (degrees)": float(angular_error(pooled, turns).mean()),
        "strength": float(np.abs(pooled).mean() / energy),
        # The two that make up a + b·exp(i·turn), fitted to what is rebuilt.
        FOLLOWS: float((pooled[:, 0] * np.exp(-1j * np.radians(turns))).mean().real / energy),
        STAYS: float(pooled.mean().real / energy),
        "photographs": agreements.shape[1],
    }


def _error(row: Mapping[str, Any], names: Mapping[str, str]) -> str:
    return f"{names[row['inverter']]} {row[ERROR]:.1f} ± {row[ERROR_SE]:.1f}°"


def _findings(
    rows: list[dict[str, Any]], names: Mapping[str, str], kept: int, count: int
) -> list[str]:
    found = [
        f"The rebuilt hue is off by {', '.join(_error(row, names) for row in rows)}, where chance "
        "is 90°.",
        "Of the photographs' chroma, what follows the turn and what stays where it was: "
        + ", ".join(
            f"{names[row['inverter']]} {row[FOLLOWS]:.2f} and {row[STAYS]:.2f}" for row in rows
        )
        + ".",
        f"{kept} of {count} photographs have colour enough in the middle to be turned.",
    ]
    flat = [names[row["inverter"]] for row in rows if row[ERROR] > _NEAR_CHANCE]
    if flat:
        found.insert(1, f"Near chance, since the hue hardly turns: {', '.join(flat)}.")
    return found


def _turn_chart(agreements: Mapping[str, np.ndarray], turns: np.ndarray) -> Figure:
    shown = list(agreements.items())[: plots.MAX_ORDERED]
    rest = len(agreements) - len(shown)
    lines = {}
    for label, values in shown:
        # Steps from one angle to the next are taken the short way round.
        measured = np.degrees(np.unwrap(np.angle(values.sum(1))))
        lines[label] = list(zip(turns.tolist(), measured.tolist(), strict=True))
    return plots.line_chart(
        lines,
        title="Hue rebuilt by hue shown",
        caption="Of all photographs together. A line that rises with the input's follows it. "
        "One that turns back keeps more of the photographs' own hue than of the hue shown, and a "
        "flat one guesses the same hue whatever it is shown."
        + (f" The last {rest} inverters are left out." if rest else ""),
        x="turn of the object's hue (degrees)",
        y="turn of the rebuilt hue (degrees)",
        floor=None,
        ordered=True,
    )


def _error_chart(rows: list[dict[str, Any]], names: Mapping[str, str]) -> Figure:
    return plots.dot_chart(
        {"error": {names[row["inverter"]]: (row[ERROR], row[ERROR_SE]) for row in rows}},
        title="Error of the hue by layer",
        caption="Means over photographs, with standard errors.",
        x="angle to the hue shown (degrees; chance: 90)",
    )


def _pictures(
    inverters: Mapping[str, Inverter],
    names: Mapping[str, str],
    image: np.ndarray,
    disc: np.ndarray,
    turns: np.ndarray,
) -> Figure:
    copies = np.concatenate([_turned(image, disc, degrees) for degrees in turns])
    rows = {INPUT: copies}
    for name, inverter in inverters.items():
        rows[names[name]] = resize_images(inverter.reconstruct(copies), image.shape[1:3])
    return image_rows(
        rows,
        title="One photograph with its hue turned",
        caption="The photograph with most colour, and what is rebuilt of it.",
        columns=[f"{degrees:.0f}°" for degrees in turns],
    )


def _claims(
    inverters: Mapping[str, Inverter], rows: list[dict[str, Any]], names: Mapping[str, str]
) -> list[Claim]:
    connected = [
        row
        for row in rows
        if row["kind"] == NETWORK and len(inverters[row["inverter"]].feature.spec.shape) == 1
    ][-_DEEPEST:]
    if not connected:
        return []
    return [
        Claim(
            "The colour of the object comes back even from the highest layers.",
            f"The mean angular error of the hue is below {_CONFIRMS:g}° (chance: 90°) at the "
            f"deepest fully connected layers given, at most {_DEEPEST}.",
            ", ".join(_error(row, names) for row in connected),
            all(row[ERROR] < _CONFIRMS for row in connected),
        )
    ]
