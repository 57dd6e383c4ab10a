"""The perception–distortion trade-off of inverters that were trained with different losses.

Blau & Michaeli 2018, "The Perception-Distortion Tradeoff": beyond some point, an estimator can only
lower its distortion by making its output less like natural images, and vice versa.
"""

import dataclasses
import pathlib
from collections.abc import Mapping

import numpy as np

from tfinvert import features
from tfinvert.common.files import write_json, write_text
from tfinvert.common.images import evenly_spaced_indices
from tfinvert.data.sources import Source
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter
from tfinvert.metrics.evaluation import evaluate, read_at_least_two, read_images
from tfinvert.metrics.lpips import MIN_SIDE
from tfinvert.reporting.charts import path_chart
from tfinvert.reporting.grids import image_grid, stack_vertically, write_png

_COLUMNS = {
    "normalized_error": "error",
    "psnr_db": "PSNR (dB)",
    "ssim": "SSIM",
    "lpips": "LPIPS",
    "frechet_distance": "Fréchet distance",
}
_NUM_SHOWN = 8
_CELL_SIDE = 128  # approximate side of a picture in the grid, in pixels


@dataclasses.dataclass(frozen=True)
class InverterGroup:
    """Inverters of one feature, by the names of their losses.

    Attributes:
      name: the feature's name in tables and pictures.
      inverters: at least two inverters of the same feature and image size.

    Raises:
      InputError: there are fewer than two, they differ in feature or size, or the images are too
        small for LPIPS.
    """

    name: str
    inverters: Mapping[str, Inverter]

    def __post_init__(self) -> None:
        kinds = sorted({_describe(each) for each in self.inverters.values()})
        if len(kinds) > 1:
            raise InputError(
                f"the inverters of {self.name} must have the same feature and image size. "
                f"Received: {' and '.join(kinds)}"
            )
        if len(self.inverters) < 2:
            raise InputError(
                f"{self.name} has one inverter; give at least two to compare. "
                f"Received: {', '.join(self.inverters)}"
            )
        smallest = min(min(each.output_size) for each in self.inverters.values())
        if smallest < MIN_SIDE:
            raise InputError(
                f"LPIPS needs images of at least {MIN_SIDE} pixels. "
                f"Received: {smallest} ({self.name})"
            )

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the images in pixels."""
        return next(iter(self.inverters.values())).feature.image_shape[:2]


def _describe(inverter: Inverter) -> str:
    height, width = inverter.output_size
    description = features.describe(inverter.feature)
    options = ", ".join(f"{key}={value}" for key, value in description["config"].items())
    return f"{description['name']} ({options}) with output {height}×{width}"


def compare_losses(
    groups: list[InverterGroup],
    evaluated: Source,
    shown: Source,
    max_images: int,
    output: pathlib.Path,
) -> None:
    """Evaluates inverters and writes the metrics, a chart and reconstructions.

    Args:
      groups: inverters to compare with one another.
      evaluated: photographs to evaluate on.
      shown: photographs of which some are shown.
      max_images: maximum number of images to evaluate on.
      output: directory for `tradeoff.json`, `tradeoff.md` (a table), `tradeoff.svg` (error against
        LPIPS, one line per group) and `pictures.png`.
    """
    metrics: dict[str, dict[str, dict[str, float]]] = {}
    pictures = []
    for group in groups:
        images = read_at_least_two(evaluated, group.size, max_images)
        metrics[group.name] = {
            loss: evaluate(inverter, images, frechet_distance=True).metrics
            for loss, inverter in group.inverters.items()
        }
        pictures.append(_draw_reconstructions(group, shown))
    lines = {
        name: [(x["normalized_error"], x["lpips"], loss) for loss, x in by_loss.items()]
        for name, by_loss in metrics.items()
    }
    chart = path_chart(
        lines,
        title="Distortion and perception",
        caption="Lower: perceptually closer. Further left: closer in pixels.",
        x="normalised reconstruction error",
        y="LPIPS",
    )
    output.mkdir(parents=True, exist_ok=True)
    write_json(output / "tradeoff.json", metrics)
    write_text(output / "tradeoff.md", _format_table(metrics))
    write_text(output / "tradeoff.svg", chart.svg)
    write_png(output / "pictures.png", stack_vertically(pictures))


def _draw_reconstructions(group: InverterGroup, shown: Source) -> np.ndarray:
    images = read_images(shown, group.size)
    images = images[evenly_spaced_indices(len(images), _NUM_SHOWN)]
    rows: dict[str, np.ndarray] = {}
    for loss, inverter in group.inverters.items():
        evaluation = evaluate(inverter, images)
        rows.setdefault(f"{group.name}: photograph", evaluation.images)
        rows[loss] = evaluation.reconstructions
    side = next(iter(rows.values())).shape[1]
    return image_grid(rows, scale=max(1, round(_CELL_SIDE / side)))


def _format_table(metrics: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    lines = [f"| feature | loss | {' | '.join(_COLUMNS.values())} | images |"]
    lines.append("| --- " * (len(_COLUMNS) + 3) + "|")
    for name, by_loss in metrics.items():
        for loss, row in by_loss.items():
            values = [f"{row[key]:.2f}" if "db" in key else f"{row[key]:.3f}" for key in _COLUMNS]
            lines.append(f"| {name} | {loss} | {' | '.join(values)} | {row['images']} |")
    return "\n".join(lines) + "\n"
