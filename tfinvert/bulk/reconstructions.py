"""Reconstructs many images, with the error of each, in a Beam pipeline."""

import csv
import json
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.ml.inference.base import KeyedModelHandler, PredictionResult, RunInference

from tfinvert import metrics
from tfinvert.bulk.beam_runner import parse_beam_options, run_pipeline
from tfinvert.bulk.images import BROKEN, Key, ReadImages
from tfinvert.bulk.models import ReconstructionHandler, load_reconstructor
from tfinvert.common.files import ESCAPE, atomic_path, write_json
from tfinvert.common.images import evenly_spaced_indices, resize_images
from tfinvert.data.augmentation import Size
from tfinvert.errors import InputError
from tfinvert.reporting.grids import to_uint8, write_png

PICTURES, ERRORS, BROKEN_IMAGES = "reconstructions", "errors.csv", "broken.csv"
SUMMARY = "summary.json"
MAX_PAIRED_IMAGES = 2000

_COLUMNS = ("image", "distance", "psnr_db", "ssim")
_PAIRED = "paired"


def reconstruct(
    model: str,
    data: str,
    output: str | os.PathLike[str],
    scale: float | None = None,
    flags: Sequence[str] = (),
    image_size: int | None = None,
) -> dict[str, Any]:
    """Reconstructs every image, measures its error and returns the summary.

    Writes to `output`: `reconstructions/NAME.png`, where NAME is an image's path or index in the
    data; `errors.csv`, with one row per image: Euclidean distance ‖x - x̂‖₂, PSNR and SSIM;
    `broken.csv`, with one row per unreadable image; and last `summary.json`: the means, N (see
    `metrics`) and the normalised error. Every file is written atomically. A second run overwrites
    them.

    Args:
      model: as `models.load_reconstructor` accepts it.
      data: as `images.ReadImages` accepts it.
      output: a directory that all workers see under this path.
      scale: N; by default the mean distance over all pairs of at most 2 000 evenly spaced images.
      flags: Beam's flags.
      image_size: side of the square images, for a model that accepts any size.

    Raises:
      InputError: an argument is wrong, or the pipeline failed.
    """
    parse_beam_options(flags)
    if scale is not None and not 0 < scale < float("inf"):
        raise InputError(f"--scale must be a finite number above 0. Received: {scale}")
    reconstructor = load_reconstructor(model, image_size)
    images = ReadImages(data, reconstructor.size)
    output = pathlib.Path(output).absolute()
    inside = [path for path in images.paths if output in pathlib.Path(path).absolute().parents]
    if inside:
        raise InputError(
            f"--output must not contain the images. Received: {output}, which contains {inside[0]}"
        )
    (output / PICTURES).mkdir(parents=True, exist_ok=True)
    (output / SUMMARY).unlink(missing_ok=True)  # its presence means that the output is complete
    handler = ReconstructionHandler(model, image_size)
    paired = evenly_spaced_indices(images.count, MAX_PAIRED_IMAGES).tolist() if not scale else []
    score = ScoreReconstruction(str(output), reconstructor.output_size, frozenset(paired))

    def build(pipeline: beam.Pipeline) -> None:
        read = pipeline | "Images" >> images
        scored = (
            read[None]
            | "Reconstruct" >> RunInference(KeyedModelHandler(handler))
            | "Score" >> beam.ParDo(score).with_outputs(_PAIRED, main="rows")
        )
        _ = (
            pipeline
            | "Once" >> beam.Create([str(output)])
            | "Summarize"
            >> beam.ParDo(
                summarize,
                beam.pvalue.AsList(scored["rows"]),
                beam.pvalue.AsList(read[BROKEN]),
                beam.pvalue.AsList(scored[_PAIRED]),
                {"model": model, "data": data, "mean_pairwise_distance": scale},
            )
        )

    run_pipeline(build, flags)
    return json.loads((output / SUMMARY).read_text(encoding="utf-8"))


class ScoreReconstruction(beam.DoFn):
    """Writes a reconstruction as a PNG and measures its error.

    Args:
      output: the output directory.
      size: (height, width) of the reconstructions.
      paired: indices of the images that N is measured on.
    """

    def __init__(self, output: str, size: Size, paired: frozenset[int]):
        self._output, self._size, self._paired = output, size, paired

    def process(self, element: tuple[Key, PredictionResult]) -> Iterator:
        """Yields a row, and the 8-bit image tagged `_PAIRED` if N is measured on it."""
        (index, name), result = element
        image = resize_images(result.example[np.newaxis], self._size)
        reconstruction = result.inference[np.newaxis]
        write_png(pathlib.Path(self._output, PICTURES, f"{name}.png"), reconstruction[0])
        distance = float(metrics.per_image_distance(image, reconstruction)[0])
        has_ssim = min(self._size) >= metrics.SSIM_WINDOW
        ssim = metrics.ssim(image, reconstruction) if has_ssim else None
        yield name, distance, metrics.psnr(image, reconstruction), ssim
        if index in self._paired:
            yield beam.pvalue.TaggedOutput(_PAIRED, (index, to_uint8(image[0])))


def summarize(
    output: str,
    rows: Iterable[tuple],
    broken: Iterable[tuple[str, str]],
    paired: Iterable[tuple[int, np.ndarray]],
    facts: dict[str, Any],
) -> None:
    """Writes the tables and, last, the summary.

    Args:
      output: the output directory.
      rows: of `errors.csv`.
      broken: rows of `broken.csv`.
      paired: index and uint8 pixels of the images that N is measured on.
      facts: values of the summary; `mean_pairwise_distance` is N or None.
    """
    folder, rows, broken = pathlib.Path(output), sorted(rows), sorted(broken)
    images = [image / np.float32(255) for _, image in sorted(paired, key=lambda pair: pair[0])]
    scale = facts["mean_pairwise_distance"]
    if scale is None and len(images) > 1:
        scale = metrics.mean_pairwise_distance(np.stack(images))
    means = {
        name: float(np.mean([row[column] for row in rows]))
        if rows and rows[0][column] is not None
        else None
        for column, name in enumerate(_COLUMNS[1:], 1)
    }
    _write_csv(folder / ERRORS, _COLUMNS, rows)
    _write_csv(folder / BROKEN_IMAGES, ("image", "reason"), broken)
    summary = {
        **facts,
        "images": len(rows),
        "broken": len(broken),
        **means,
        "mean_pairwise_distance": scale,
        "paired_images": len(images),
        "normalized_error": means["distance"] / scale if scale and rows else None,
    }
    write_json(folder / SUMMARY, summary)


def _write_csv(path: pathlib.Path, columns: Sequence[str], rows: Iterable[tuple]) -> None:
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", errors=ESCAPE, newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
