"""What is kept of an evaluation: metrics.json and the page of reconstructions."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfinvert.evaluation import Evaluation
from tfinvert.files import write_json
from tfinvert.reporting.grids import image_grid
from tfinvert.reporting.plots import loss_curve
from tfinvert.reporting.report import Figure, write_report
from tfinvert.sampling import evenly

METRICS, REPORT = "metrics.json", "report.html"
SHOWN = 18
_WIDTH = 800  # pixels of images in a row


def comparison_grid(evaluation: Evaluation, shown: int = SHOWN) -> np.ndarray:
    """Originals above their reconstructions, evenly spaced over the images: uint8 `[h, w, 3]`."""
    chosen = evenly(len(evaluation.images), shown)
    scale = max(1, round(128 / evaluation.images.shape[2]))
    rows = {
        "original": evaluation.images[chosen],
        "reconstruction": evaluation.reconstructions[chosen],
    }
    columns = max(2, _WIDTH // (scale * evaluation.images.shape[2]))
    return image_grid(rows, scale=scale, columns=columns)


def write_run_report(
    directory: pathlib.Path,
    *,
    feature: str,
    photographs: str,
    evaluation: Evaluation,
    baseline_name: str,
    baseline: Mapping[str, Any],
    history: Sequence[Mapping[str, float]],
    details: Mapping[str, Any],
) -> None:
    """Writes `metrics.json` and `report.html`: findings, reconstructions, loss curve, card.

    Args:
      directory: where; made if missing.
      feature: the feature's name.
      photographs: what the images are, for example "photographs it never saw".
      evaluation: of the inverter on them.
      baseline_name: what is predicted by ignoring the feature, for example "mean training image".
      baseline: its metrics on the same images.
      history: of `training.loop.fit`; may be empty.
      details: the inverter's card.
    """
    ours = evaluation.metrics
    write_json(directory / METRICS, {"inverter": ours, "mean_image": baseline})
    figures = [
        Figure(
            "Reconstructions",
            f"Each photograph above what the network makes of its {feature} feature alone. What is "
            f"sharp is what the feature keeps; what is blurred or wrongly coloured is what it "
            f"throws away.",
            image=comparison_grid(evaluation),
        )
    ]
    if history:
        figures.append(
            Figure(
                "Training",
                "The loss on the training crops, and normalised reconstruction error on validation "
                "images.",
                svg=loss_curve(history),
            )
        )
    write_report(
        directory / REPORT,
        title=f"What {feature} keeps of a photograph",
        lead=f"A network was trained to turn {feature} features back into images. This page shows "
        f"what it makes of {ours['images']} {photographs}.",
        findings=[
            f"The normalised reconstruction error is {ours['normalized_error']:.3f}; the "
            f"{baseline_name}, which knows nothing of the feature, scores "
            f"{baseline['normalized_error']:.3f}. Lower is better.",
            f"It reconstructs {ours['images_per_second']:.0f} images a second here, the feature "
            f"included.",
        ],
        figures=figures,
        metrics=[_row(f"{feature} inverter", ours), _row(baseline_name, baseline)],
        details=details,
    )


def _row(name: str, metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "predictor": name,
        "normalised error": metrics["normalized_error"],
        "PSNR (dB)": metrics["psnr_db"],
        "SSIM": metrics["ssim"],
        **({"LPIPS": metrics["lpips"]} if "lpips" in metrics else {}),
        "N": metrics["mean_pairwise_distance"],
        "images": metrics["images"],
    }
