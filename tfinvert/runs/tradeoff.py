"""Distortion against perception: inverters of one feature, fitted by different losses, compared.

Blau & Michaeli 2018, "The Perception-Distortion Tradeoff": beyond a point the error cannot fall
without reconstructions becoming less like photographs, and the other way round.
"""

import dataclasses
import pathlib
from collections.abc import Mapping

import numpy as np

from tfinvert import features
from tfinvert.common.files import atomic_path, write_json
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
_SHOWN = 8
_SIDE = 128  # pixels of an image of the pictures, about


@dataclasses.dataclass(frozen=True)
class InverterGroup:
    """Inverters of one feature by the names of their losses.

    Attributes:
      name: of the feature, in tables and pictures.
      inverters: of one feature and image size, at least two.

    Raises:
      InputError: they are not, or make images of different sizes.
    """

    name: str
    inverters: Mapping[str, Inverter]

    def __post_init__(self) -> None:
        kinds = sorted({_kind(each) for each in self.inverters.values()})
        if len(kinds) > 1:
            raise InputError(
                f"{self.name} must be one feature of one size. Received: {' and '.join(kinds)}"
            )
        if len(self.inverters) < 2:
            raise InputError(f"{self.name} takes two inverters or more. Received: one")
        smallest = min(min(each.output_size) for each in self.inverters.values())
        if smallest < MIN_SIDE:
            raise InputError(f"LPIPS takes {MIN_SIDE} pixels. Received: {smallest} ({self.name})")

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the images."""
        return next(iter(self.inverters.values())).feature.image_shape[:2]


def _kind(inverter: Inverter) -> str:
    height, width = inverter.output_size
    description = features.describe(inverter.feature)
    options = ", ".join(f"{key}={value}" for key, value in description["config"].items())
    return f"{description['name']} ({options}) rebuilt at {height}×{width}"


def compare_losses(
    compared: list[InverterGroup],
    measured: Source,
    shown: Source,
    images: int,
    output: pathlib.Path,
) -> None:
    """Measures the inverters and writes what is found.

    Args:
      compared: of one feature each.
      measured: photographs to measure on.
      shown: photographs to show, some of them.
      images: at most so many of those to measure on.
      output: gets `tradeoff.json`, `tradeoff.md` (a table), `tradeoff.svg` (error against LPIPS, a
        line a feature) and `pictures.png`.
    """
    found: dict[str, dict[str, dict[str, float]]] = {}
    pictures = []
    for each in compared:
        photographs = read_at_least_two(measured, each.size, images)
        found[each.name] = {
            loss: evaluate(inverter, photographs, frechet_distance=True).metrics
            for loss, inverter in each.inverters.items()
        }
        pictures.append(_pictures(each, shown))
    lines = {
        name: [(x["normalized_error"], x["lpips"], loss) for loss, x in by_loss.items()]
        for name, by_loss in found.items()
    }
    chart = path_chart(
        lines,
        title="Distortion and perception",
        caption="Below: more alike to people. Left: nearer in pixels.",
        x="normalised reconstruction error",
        y="LPIPS",
    )
    output.mkdir(parents=True, exist_ok=True)
    write_json(output / "tradeoff.json", found)
    for name, text in (("tradeoff.md", _table(found)), ("tradeoff.svg", chart.svg)):
        with atomic_path(output / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    write_png(output / "pictures.png", stack_vertically(pictures))


def _pictures(compared: InverterGroup, shown: Source) -> np.ndarray:
    photographs = read_images(shown, compared.size)
    photographs = photographs[evenly_spaced_indices(len(photographs), _SHOWN)]
    rows: dict[str, np.ndarray] = {}
    for loss, inverter in compared.inverters.items():
        evaluation = evaluate(inverter, photographs)
        rows.setdefault(f"{compared.name}: photograph", evaluation.images)
        rows[loss] = evaluation.reconstructions
    side = next(iter(rows.values())).shape[1]
    return image_grid(rows, scale=max(1, round(_SIDE / side)))


def _table(found: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    lines = [f"| feature | loss | {' | '.join(_COLUMNS.values())} | images |"]
    lines.append("| --- " * (len(_COLUMNS) + 3) + "|")
    for name, by_loss in found.items():
        for loss, metrics in by_loss.items():
            values = [
                f"{metrics[key]:.2f}" if "db" in key else f"{metrics[key]:.3f}" for key in _COLUMNS
            ]
            lines.append(f"| {name} | {loss} | {' | '.join(values)} | {metrics['images']} |")
    return "\n".join(lines) + "\n"
