"""Fills the feature cache for training with a Beam pipeline, one cache file per element."""

import dataclasses
import functools
import json
import pathlib
import threading
from collections.abc import Sequence

import apache_beam as beam

from tfinvert import features
from tfinvert.bulk.beam_runner import parse_beam_options, run_pipeline
from tfinvert.data.feature_cache import (
    ComputeViews,
    FeatureCache,
    Shape,
    shard_ranges,
    write_shard,
)
from tfinvert.data.folder import ImageFolder
from tfinvert.data.open_source import open_source
from tfinvert.data.sources import Source
from tfinvert.errors import InputError
from tfinvert.training.datasets import CachedTrainingDataset, image_cache_for
from tfinvert.training.settings import Settings

_CHECKED_FILES = "checked.json"
_LOCK = threading.Lock()


@dataclasses.dataclass(frozen=True)
class FeatureJob:
    """Which features to compute, with the settings of the training that will read them.

    Attributes:
      feature: name of the feature.
      data: photographs, as `open_source` accepts them.
      image_size: height and width of the augmented images, in pixels.
      settings: seed, augmentation and `cached_views`.
      split: "training" if a part of `data` is held out for validation, else "all".
    """

    feature: str
    data: str
    image_size: int
    settings: Settings
    split: str = "training"

    def make_dataset(self, source: Source, folder: str, **options) -> CachedTrainingDataset:
        """Returns the dataset that training with these settings reads."""
        shape = (self.image_size, self.image_size, 3)
        feature = features.get(self.feature, image_shape=shape)
        return CachedTrainingDataset(feature, source, self.settings, folder, **options)


def fill_cache(job: FeatureJob, folder: str, flags: Sequence[str] = ()) -> FeatureCache:
    """Opens the cache of a job, computing it with a pipeline if it does not exist.

    The workers write to a folder beside the cache, so all of them have to see `folder`, and the
    photographs, under the same path. The folder becomes the cache once it is complete.

    Args:
      job: the features to compute.
      folder: parent folder of the caches.
      flags: Beam's flags.

    Raises:
      InputError: see `open_cache` and `beam_runner.run_pipeline`; no files are left behind.
    """
    if not job.settings.cached_views:
        raise InputError(
            "--cached_views must be at least 1, the number of augmented images to cache per "
            f"photograph. Received: {job.settings.cached_views}"
        )
    parse_beam_options(flags)  # fails before any image is read
    source = open_source(job.data, job.split)
    shape = (job.image_size, job.image_size, 3)
    stem, _ = features.get(job.feature, image_shape=shape).stem()

    def fill(directory: pathlib.Path, count: int, _: ComputeViews) -> tuple[Shape, Shape]:
        if isinstance(source, ImageFolder):  # spares the workers from checking every file again
            (directory / _CHECKED_FILES).write_text(json.dumps(source.names), encoding="utf-8")
        shards = [(name, *views) for name, views in shard_ranges(count).items()]

        def build(pipeline: beam.Pipeline) -> None:
            _ = (
                pipeline
                | "List" >> beam.Create(shards)
                | "Distribute" >> beam.Reshuffle()
                | "Write" >> beam.ParDo(WriteShard(job, str(directory)))
            )

        run_pipeline(build, flags)
        (directory / _CHECKED_FILES).unlink(missing_ok=True)
        return stem.image_shape, tuple(stem.spec.shape)

    return job.make_dataset(source, folder, write_shards=fill).cache


class WriteShard(beam.DoFn):
    """Writes one file of a cache, deterministically.

    Args:
      job: the features to compute.
      directory: folder of the files.
    """

    def __init__(self, job: FeatureJob, directory: str):
        self._job, self._directory = job, directory

    def process(self, shard: tuple[str, int, int]) -> None:
        """Writes the file of (name, begin, end), with the augmented images [begin, end)."""
        name, begin, end = shard
        with _LOCK:  # the threads of a process share one source
            dataset = _open_dataset(self._job, self._directory)
        path = pathlib.Path(self._directory, name)
        write_shard(path, end - begin, dataset.compute_views(begin, end))


@functools.lru_cache(maxsize=1)
def _open_dataset(job: FeatureJob, directory: str) -> CachedTrainingDataset:
    checked_files = pathlib.Path(directory, _CHECKED_FILES)
    if checked_files.exists():
        names = json.loads(checked_files.read_text(encoding="utf-8"))
        source = ImageFolder(job.data.partition(":")[2], checked=names)
    else:
        size = job.image_size, job.image_size
        source = open_source(job.data, job.split, image_cache_for(job.settings, size))
    return job.make_dataset(source, directory)
