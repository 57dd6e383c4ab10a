"""How little a reconstruction changes when the photograph's contrast does (section 5 of the paper).

HOG divides gradients by those around them, and LBP only asks which pixel is brighter, so both say
little about contrast, and the network fills in what is usual.
"""

import numpy as np

from tfinvert import metrics
from tfinvert.analysis.result import Result
from tfinvert.analysis.scores import image_contrast
from tfinvert.common.images import evenly_spaced_indices, resize_images
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter
from tfinvert.reporting.image_rows import image_rows
from tfinvert.reporting.report import Figure

FACTORS = (1.0, 0.5, 0.25, 0.1)
_SHOWN = 10


def scale_contrast(images: np.ndarray, factor: float) -> np.ndarray:
    """Moves pixels towards, or away from, the mean of their image's channel.

    Images are `[n, H, W, 3]` in [0, 1]. A factor of 0.5 halves every difference from the mean;
    above 1, values are clipped to [0, 1].
    """
    mean = images.mean((1, 2), keepdims=True)
    return np.clip(mean + factor * (images - mean), 0.0, 1.0).astype(np.float32)


def contrast(
    inverters: dict[str, Inverter], images: np.ndarray, factors: tuple[float, ...] = FACTORS
) -> Result:
    """Compares the reconstructions of images with those of the same images at lower contrast.

    Args:
      factors: of the contrast; the first is what the others are compared with.

    Raises:
      InputError: there are fewer than two, or the images are all the same.
    """
    if len(factors) < 2:
        raise InputError(f"contrast compares at least 2 factors. Received: {factors}")
    scaled = [scale_contrast(images, factor) for factor in factors]
    scale = metrics.mean_pairwise_distance(images)
    if not scale:
        raise InputError(f"the {len(images)} images are all the same: no change relative to them")
    rows, findings, figures = [], [], []
    for name, inverter in inverters.items():
        rebuilt = [inverter.reconstruct(copies) for copies in scaled]
        own = metrics.mean_pairwise_distance(resize_images(images, inverter.output_size))
        for factor, copies, reconstructions in zip(factors, scaled, rebuilt, strict=True):
            rows.append(
                {
                    "inverter": name,
                    "contrast": factor,
                    "change of the photographs": _distance(images, copies) / scale,
                    "change of the reconstructions": _distance(rebuilt[0], reconstructions) / own,
                    "contrast of the reconstructions": float(
                        image_contrast(reconstructions).mean() / image_contrast(rebuilt[0]).mean()
                    ),
                }
            )
        halved = rows[-len(factors) + 1]
        findings.append(
            f"{name}: at {halved['contrast']:g} of the contrast the photographs change by "
            f"{halved['change of the photographs']:.3f} N and their reconstructions by "
            f"{halved['change of the reconstructions']:.4f} N; these keep "
            f"{halved['contrast of the reconstructions']:.0%} of their contrast."
        )
        figures.append(_figure(name, factors, scaled, rebuilt))
    return Result(
        "What a reconstruction keeps when the contrast falls",
        f"{len(images)} photographs and the same with all differences from the mean colour scaled; "
        "distances are in units of N, the mean distance between two photographs.",
        findings,
        rows,
        figures,
    )


def _distance(images: np.ndarray, others: np.ndarray) -> float:
    return float(metrics.per_image_distance(images, others).mean())


def _figure(
    name: str, factors: tuple[float, ...], scaled: list[np.ndarray], rebuilt: list[np.ndarray]
) -> Figure:
    chosen = evenly_spaced_indices(len(scaled[0]), _SHOWN)
    rows = {}
    for factor, copies, reconstructions in zip(factors, scaled, rebuilt, strict=True):
        rows[f"contrast {factor:g}"] = copies[chosen]
        rows[f"{name}, {factor:g}"] = resize_images(reconstructions, copies.shape[1:3])[chosen]
    return image_rows(
        rows,
        title=f"{name} at lower contrast",
        caption="Photographs at each contrast, above what is rebuilt from their features.",
    )
