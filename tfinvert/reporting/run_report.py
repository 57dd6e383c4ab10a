"""What is kept of an evaluation: metrics.json and the page of reconstructions."""

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
_WIDTH = 800  # pixels of images in a row
DEVIATION_SHOWN_WHITE = 1 / 3  # deviation, or difference, that is shown as white
_OF_DEVIATIONS = (
    " Below: how far it is from the photograph, and how far it says it may be, one standard "
    "deviation of red, green and blue at each pixel; white is a third of the range, or more."
)


def comparison_grid(evaluation: Evaluation, shown: int = MAX_GRID_IMAGES) -> np.ndarray:
    """Originals above their reconstructions, evenly spaced over the images: uint8 `[h, w, 3]`.

    Where deviations are told, a row of them and one of the differences are below, white where they
    are a third or more.
    """
    chosen, scale = evenly_spaced_indices(len(evaluation.images), shown), _scale(evaluation)
    rows = {
        "original": evaluation.images[chosen],
        "reconstruction": evaluation.reconstructions[chosen],
    }
    if evaluation.deviations is not None:
        differences = np.abs(rows["reconstruction"] - rows["original"])
        rows["difference"] = differences / DEVIATION_SHOWN_WHITE
        rows["one deviation"] = evaluation.deviations[chosen] / DEVIATION_SHOWN_WHITE
    columns = max(2, _WIDTH // (scale * evaluation.images.shape[2]))
    return image_grid(rows, scale=scale, columns=columns)


def _scale(evaluation: Evaluation) -> int:
    return max(1, round(128 / evaluation.images.shape[2]))


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
      samples: of the first images that are shown, `[m, n, H, W, 3]`, where the inverter draws.
    """
    ours = evaluation.metrics
    write_json(directory / METRICS_FILE, {"inverter": ours, "mean_image": baseline})
    figures = [
        Figure(
            "Reconstructions",
            f"Each photograph above what the network makes of its {feature} feature alone. What is "
            f"sharp is what the feature keeps; what is blurred or wrongly coloured is what it "
            f"throws away." + (_OF_DEVIATIONS if COVERAGE_KEY in ours else ""),
            image=comparison_grid(evaluation),
        )
    ]
    if samples is not None:
        figures.append(
            Figure(
                "Samples",
                f"Images drawn at random that have the {feature} feature of the photographs above, "
                "in the same order. The reconstruction is near the mean of all such images.",
                image=image_grid(sample_rows(samples), scale=_scale(evaluation)),
            )
        )
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
        directory / REPORT_FILE,
        title=f"What {feature} keeps of a photograph",
        lead=f"A network was trained to turn {feature} features back into images. This page shows "
        f"what it makes of {ours['images']} {photographs}.",
        findings=[
            f"The normalised reconstruction error is {ours['normalized_error']:.3f}; the "
            f"{baseline_name}, which knows nothing of the feature, scores "
            f"{baseline['normalized_error']:.3f}. Lower is better.",
            f"It reconstructs {ours['images_per_second']:.0f} images a second here, the feature "
            f"included.",
            *(
                [
                    f"Of all differences, pixel by pixel, {ours[COVERAGE_KEY]:.1%} are within the "
                    f"deviation that the network tells from the feature alone (68 % would be if "
                    f"it told the truth and they were Gaussian)."
                ]
                if COVERAGE_KEY in ours
                else []
            ),
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
        **({"SSIM": metrics["ssim"]} if "ssim" in metrics else {}),
        **({"LPIPS": metrics["lpips"]} if "lpips" in metrics else {}),
        **({"within one deviation": metrics[COVERAGE_KEY]} if COVERAGE_KEY in metrics else {}),
        "N": metrics["mean_pairwise_distance"],
        "images": metrics["images"],
    }
