"""The report of an evaluation: `metrics.json` and the page of reconstructions."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfinvert.common.files import write_json
from tfinvert.common.images import evenly_spaced_indices
from tfinvert.metrics.evaluation import COVERAGE_KEY, Evaluation
from tfinvert.reporting.charts import loss_curve
from tfinvert.reporting.grids import image_grid, sample_rows
from tfinvert.reporting.report import Figure, write_report

METRICS_FILE, REPORT_FILE = "metrics.json", "report.html"
MAX_GRID_IMAGES = 18
DEVIATION_SHOWN_WHITE = 1 / 3  # standard deviation or absolute difference that is drawn as white
_ROW_WIDTH = 800  # pixels of images in a row
_IMAGE_WIDTH = 128  # pixels to which smaller images are enlarged
_DEVIATIONS_CAPTION = (
    " Below: the absolute difference from the photograph, and the predicted standard deviation, of "
    "red, green and blue at each pixel; white is a third of the range or more."
)


def comparison_grid(evaluation: Evaluation, max_images: int = MAX_GRID_IMAGES) -> np.ndarray:
    """Draws evenly spaced originals above their reconstructions: uint8 `[h, w, 3]`.

    If the inverter predicts standard deviations, rows of absolute differences and of standard
    deviations follow, in which white is a third of the range or more.
    """
    chosen = evenly_spaced_indices(len(evaluation.images), max_images)
    rows = {
        "original": evaluation.images[chosen],
        "reconstruction": evaluation.reconstructions[chosen],
    }
    if evaluation.deviations is not None:
        differences = np.abs(rows["reconstruction"] - rows["original"])
        rows["difference"] = differences / DEVIATION_SHOWN_WHITE
        rows["standard deviation"] = evaluation.deviations[chosen] / DEVIATION_SHOWN_WHITE
    scale = _enlargement(evaluation)
    columns = max(2, _ROW_WIDTH // (scale * evaluation.images.shape[2]))
    return image_grid(rows, scale=scale, columns=columns)


def _enlargement(evaluation: Evaluation) -> int:
    return max(1, round(_IMAGE_WIDTH / evaluation.images.shape[2]))


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
    samples: np.ndarray | None = None,
) -> None:
    """Writes `metrics.json` and `report.html`: findings, reconstructions, loss curve and card.

    Args:
      directory: directory of both files; created if missing.
      feature: the feature's name.
      photographs: description of the images, for example "photographs not seen in training".
      evaluation: evaluation of the inverter on the images.
      baseline_name: name of the baseline that ignores the feature, for example "mean training
        image".
      baseline: metrics of the baseline on the same images.
      history: the training history, from `training.history`; may be empty.
      details: the inverter's card.
      samples: samples for the first images of the grid, `[m, n, H, W, 3]`, if the inverter has a
        sampler.
    """
    metrics = evaluation.metrics
    write_json(directory / METRICS_FILE, {"inverter": metrics, "mean_image": baseline})
    figures = [
        Figure(
            "Reconstructions",
            f"Each photograph above its reconstruction from the {feature} feature alone. Sharp "
            f"detail is preserved by the feature; blur and wrong colours show what it discards."
            + (_DEVIATIONS_CAPTION if COVERAGE_KEY in metrics else ""),
            image=comparison_grid(evaluation),
        )
    ]
    if samples is not None:
        figures.append(
            Figure(
                "Samples",
                f"Random images with the {feature} feature of the photographs above, in the order "
                "of the photographs. The reconstruction approximates the mean of all such images.",
                image=image_grid(sample_rows(samples), scale=_enlargement(evaluation)),
            )
        )
    if history:
        figures.append(
            Figure(
                "Training",
                "The loss on the training crops, and the normalised reconstruction error on the "
                "validation images.",
                svg=loss_curve(history),
            )
        )
    findings = [
        f"The normalised reconstruction error is {metrics['normalized_error']:.3f}; the "
        f"{baseline_name}, which ignores the feature, scores "
        f"{baseline['normalized_error']:.3f}. Lower is better.",
        f"It reconstructs {metrics['images_per_second']:.0f} images per second on this machine, "
        f"{'from stored features' if details.get('pairs') else 'feature computation included'}.",
    ]
    if COVERAGE_KEY in metrics:
        findings.append(
            f"{metrics[COVERAGE_KEY]:.1%} of the pixel differences are within the standard "
            f"deviation predicted from the feature alone (68 % for calibrated Gaussian "
            f"predictions)."
        )
    write_report(
        directory / REPORT_FILE,
        title=f"What {feature} preserves of a photograph",
        lead=f"A network was trained to invert {feature} features into images. This page shows its "
        f"reconstructions of {metrics['images']} {photographs}.",
        findings=findings,
        figures=figures,
        metrics=[metrics_row(f"{feature} inverter", metrics), metrics_row(baseline_name, baseline)],
        details=details,
    )


def metrics_row(name: str, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a row of the table of metrics, for `write_report`.

    Args:
      name: name of the predictor.
      metrics: its metrics, see `metrics.evaluation.Evaluation`.
    """
    return {
        "predictor": name,
        "normalised error": metrics["normalized_error"],
        "PSNR (dB)": metrics["psnr_db"],
        **({"SSIM": metrics["ssim"]} if "ssim" in metrics else {}),
        **({"LPIPS": metrics["lpips"]} if "lpips" in metrics else {}),
        **({"within one deviation": metrics[COVERAGE_KEY]} if COVERAGE_KEY in metrics else {}),
        "N": metrics["mean_pairwise_distance"],
        "images": metrics["images"],
    }
