"""The cache that training reads, filled by a Beam pipeline: an element is a file of it."""

import dataclasses
import functools
import json
import pathlib
import threading
from collections.abc import Sequence

import apache_beam as beam

from tfinvert import features
from tfinvert.bulk.beam_runner import parse_beam_options, run_pipeline
from tfinvert.data.feature_cache import ComputeViews, FeatureCache, Shape, shard_ranges, write_shard
from tfinvert.data.folder import ImageFolder
from tfinvert.data.open_source import open_source
from tfinvert.data.sources import Source
from tfinvert.errors import InputError
from tfinvert.training.datasets import CachedTrainingDataset, image_cache_for
from tfinvert.training.settings import Settings

_CHECKED = "checked.json"
_LOCK = threading.Lock()


@dataclasses.dataclass(frozen=True)
class FeatureJob:
    """What is computed, as a program that trains would be told.

    Attributes:
      feature: the feature's name.
      data: photographs, as `open_source` takes them.
      image_size: height and width of the views, in pixels.
      settings: seed, augmentation and `cached_views`.
      part: "training" where `data` holds some out to validate on, else "all".
    """

    feature: str
    data: str
    image_size: int
    settings: Settings
    part: str = "training"

    def examples(self, source: Source, folder: str, **options) -> CachedTrainingDataset:
        """What training with such settings reads."""
        shape = (self.image_size, self.image_size, 3)
        feature = features.get(self.feature, image_shape=shape)
        return CachedTrainingDataset(feature, source, self.settings, folder, **options)


def fill_cache(job: FeatureJob, folder: str, flags: Sequence[str] = ()) -> FeatureCache:
    """The cache for a job, computed by a pipeline where there is none; as `open_cache`.

    The workers write into a folder beside the cache, so all of them have to see `folder`, and
    photographs, under the same path. It becomes the cache when all of it is there.

    Args:
      job: what is computed.
      folder: where caches lie.
      flags: Beam's.

    Raises:
      InputError: see `open_cache` and `beam_runner.run_pipeline`; nothing is left of it then.
    """
    if not job.settings.cached_views:
        raise InputError("cached_views must be at least 1: so many views of each photograph")
    parse_beam_options(flags)  # before anything is read
    source = open_source(job.data, job.part)
    shape = (job.image_size, job.image_size, 3)
    stem, _ = features.get(job.feature, image_shape=shape).stem()

    def fill(directory: pathlib.Path, count: int, _: ComputeViews) -> tuple[Shape, Shape]:
        if isinstance(source, ImageFolder):  # so that no worker looks at every file again
            (directory / _CHECKED).write_text(json.dumps(source.names), encoding="utf-8")
        shards = [(name, *views) for name, views in shard_ranges(count).items()]

        def build(pipeline: beam.Pipeline) -> None:
            _ = (
                pipeline
                | "Shards" >> beam.Create(shards)
                | "Spread" >> beam.Reshuffle()
                | "Write" >> beam.ParDo(WriteShard(job, str(directory)))
            )

        run_pipeline(build, flags)
        (directory / _CHECKED).unlink(missing_ok=True)
        return stem.image_shape, tuple(stem.spec.shape)

    return job.examples(source, folder, write_shards=fill).cache


class WriteShard(beam.DoFn):
    """Writes one file of a cache; done twice, it writes the same.

    Args:
      job: what is computed.
      directory: where the files go.
    """

    def __init__(self, job: FeatureJob, directory: str):
        self._job, self._directory = job, directory

    def process(self, shard: tuple[str, int, int]) -> None:
        """From (name, begin, end) to a file with the views [begin, end)."""
        name, begin, end = shard
        with _LOCK:  # one opens the source for all threads of the process
            examples = _examples(self._job, self._directory)
        path = pathlib.Path(self._directory, name)
        write_shard(path, end - begin, examples.compute_views(begin, end))


@functools.lru_cache(maxsize=1)
def _examples(job: FeatureJob, directory: str) -> CachedTrainingDataset:
    checked = pathlib.Path(directory, _CHECKED)
    if checked.exists():
        names = json.loads(checked.read_text(encoding="utf-8"))
        source = ImageFolder(job.data.partition(":")[2], checked=names)
    else:
        size = job.image_size, job.image_size
        source = open_source(job.data, job.part, image_cache_for(job.settings, size))
    return job.examples(source, directory)
