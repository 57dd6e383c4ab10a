"""The report of a training run."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfinvert.evaluation import Evaluation
from tfinvert.reporting.grids import image_grid
from tfinvert.reporting.plots import loss_curve
from tfinvert.reporting.report import Figure, write_report

SHOWN = 18
_COLUMNS = 6


def comparison_grid(evaluation: Evaluation, shown: int = SHOWN) -> np.ndarray:
    """Originals above their reconstructions, evenly spaced over the images: uint8 `[h, w, 3]`."""
    count = len(evaluation.images)
    chosen = np.linspace(0, count - 1, min(shown, count)).astype(int)
    scale = max(1, round(128 / evaluation.images.shape[2]))
    rows = {
        "original": evaluation.images[chosen],
        "reconstruction": evaluation.reconstructions[chosen],
    }
    return image_grid(rows, scale=scale, columns=_COLUMNS)


def write_run_report(
    path: pathlib.Path,
    *,
    feature: str,
    evaluation: Evaluation,
    baseline: Mapping[str, Any],
    history: Sequence[Mapping[str, float]],
    details: Mapping[str, Any],
) -> None:
    """Writes `report.html`: findings, metric table, reconstructions, loss curve, how it was made.

    Args:
      path: of the HTML file.
      feature: the feature's name.
      evaluation: of the trained inverter on the validation images.
      baseline: the metrics of the mean training image on the same images.
      history: of `training.loop.fit`; may be empty.
      details: the inverter's card.
    """
    ours = evaluation.metrics
    figures = [
        Figure(
            "Reconstructions",
            f"Each photograph, none of which was trained on, above what the network makes of its "
            f"{feature} feature alone. What is sharp is what the feature keeps; what is blurred "
            f"or wrongly coloured is what it throws away.",
            image=comparison_grid(evaluation),
        )
    ]
    if history:
        figures.append(
            Figure(
                "Training",
                "Squared error per pixel on the training crops, and normalised reconstruction "
                "error on validation images.",
                svg=loss_curve(history),
            )
        )
    write_report(
        path,
        title=f"What {feature} keeps of a photograph",
        lead=f"A network was trained to turn {feature} features back into photographs. This page "
        f"shows what it makes of {ours['images']} images it never saw.",
        findings=[
            f"The normalised reconstruction error is {ours['normalized_error']:.3f}; the mean "
            f"training image, which knows nothing of the feature, scores "
            f"{baseline['normalized_error']:.3f}. Lower is better.",
            f"It reconstructs {ours['images_per_second']:.0f} images a second here, the feature "
            f"included.",
        ],
        figures=figures,
        metrics=[_row(f"{feature} inverter", ours), _row("mean training image", baseline)],
        details=details,
    )


def _row(name: str, metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "predictor": name,
        "normalised error": metrics["normalized_error"],
        "PSNR (dB)": metrics["psnr_db"],
        "SSIM": metrics["ssim"],
        "N": metrics["mean_pairwise_distance"],
        "images": metrics["images"],
    }
