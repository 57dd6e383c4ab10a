"""Reconstructions of many images, each with its errors, as a Beam pipeline."""

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
from tfinvert.common.files import atomic_path, write_json
from tfinvert.common.images import evenly_spaced_indices, resize_images
from tfinvert.data.augmentation import Size
from tfinvert.errors import InputError
from tfinvert.reporting.grids import to_uint8, write_png

PICTURES, ERRORS, BROKEN_IMAGES = "reconstructions", "errors.csv", "broken.csv"
SUMMARY = "summary.json"
MAX_PAIRED = 2000

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
    """Reconstructs every image and scores it; returns the summary.

    Into `output` go `reconstructions/NAME.png`, where NAME is an image's path or number in the
    data; `errors.csv`, a row for each: Euclidean distance ‖x - x̂‖₂, PSNR and SSIM; `broken.csv`, a
    row for each image that cannot be read; and, last, `summary.json`: their means, N (see
    `metrics`) and the normalised error. Each file is whole or absent. Done again, they are written
    again.

    Args:
      model: as `models.load_reconstructor` takes it.
      data: as `images.ReadImages` takes it.
      output: a directory that all workers see under this path.
      scale: N; measured over all pairs of at most 2 000 evenly spaced images unless given.
      flags: Beam's.
      image_size: the side of the square images, for a model for any size.

    Raises:
      InputError: something given is wrong, or the pipeline failed.
    """
    parse_beam_options(flags)
    if scale is not None and not 0 < scale < float("inf"):
        raise InputError(f"scale must be positive. Received: {scale}")
    opened = load_reconstructor(model, image_size)
    images = ReadImages(data, opened.size)
    output = pathlib.Path(output).absolute()
    inside = [path for path in images.paths if output in pathlib.Path(path).absolute().parents]
    if inside:
        raise InputError(f"{inside[0]} is one of the images and lies in the output, {output}")
    (output / PICTURES).mkdir(parents=True, exist_ok=True)
    (output / SUMMARY).unlink(missing_ok=True)  # which says that all the rest is there
    handler = ReconstructionHandler(model, image_size)
    paired = (
        frozenset()
        if scale
        else frozenset(evenly_spaced_indices(images.count, MAX_PAIRED).tolist())
    )

    def build(pipeline: beam.Pipeline) -> None:
        read = pipeline | "Images" >> images
        scored = (
            read[None]
            | "Reconstruct" >> RunInference(KeyedModelHandler(handler))
            | "Score"
            >> beam.ParDo(
                ScoreReconstruction(str(output), opened.output_size, paired)
            ).with_outputs(_PAIRED, main="rows")
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
    """A reconstruction → its PNG file and its row; under "paired" some images, as 8 bits.

    Args:
      output: the directory.
      size: (height, width) of the reconstructions.
      paired: places of the images that N is measured on.
    """

    def __init__(self, output: str, size: Size, paired: frozenset[int]):
        self._output, self._size, self._paired = output, size, paired

    def process(self, element: tuple[Key, PredictionResult]) -> Iterator:
        """See the class."""
        (index, name), result = element
        image = resize_images(result.example[np.newaxis], self._size)
        rebuilt = result.inference[np.newaxis]
        write_png(pathlib.Path(self._output, PICTURES, f"{name}.png"), rebuilt[0])
        distance = float(metrics.per_image_distance(image, rebuilt)[0])
        large = min(self._size) >= metrics.SSIM_WINDOW
        similarity = metrics.ssim(image, rebuilt) if large else None
        yield name, distance, metrics.psnr(image, rebuilt), similarity
        if index in self._paired:
            yield beam.pvalue.TaggedOutput(_PAIRED, (index, to_uint8(image[0])))


def summarize(
    output: str,
    rows: Iterable[tuple],
    broken: Iterable[tuple[str, str]],
    paired: Iterable[tuple[int, np.ndarray]],
    facts: dict[str, Any],
) -> None:
    """Writes what is said of all images, the summary last."""
    folder, rows, broken = pathlib.Path(output), sorted(rows), sorted(broken)
    images = [image / np.float32(255) for _, image in sorted(paired, key=lambda pair: pair[0])]
    scale = facts["mean_pairwise_distance"]
    if scale is None and len(images) > 1:
        scale = metrics.mean_pairwise_distance(np.stack(images))
    means = {
        name: float(np.mean([row[at] for row in rows]))
        if rows and rows[0][at] is not None
        else None
        for at, name in enumerate(_COLUMNS[1:], 1)
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
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
