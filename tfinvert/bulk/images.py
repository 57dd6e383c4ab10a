"""Reads images as a Beam collection: files one by one, a TFDS data set in slices."""

import functools
import os
import pathlib
from collections.abc import Iterator

import apache_beam as beam
import tensorflow as tf
from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems

from tfinvert.data.augmentation import Size
from tfinvert.data.decode import decode_rgb
from tfinvert.data.folder import list_image_files
from tfinvert.data.pipeline import center_crop_and_resize
from tfinvert.data.tfds import TfdsSource
from tfinvert.errors import InputError, first_line

DATA_FORMATS = "folder:PATH, files:GLOB or tfds:NAME[/CONFIG]"
BROKEN = "broken"

Key = tuple[int, str]  # (index in the collection, name)
_SLICE_SIZE = 256
_WILDCARDS = "*?["


class ReadImages(beam.PTransform):
    """Reads images with their keys, and the names of unreadable images with the reason.

    Applied to a pipeline it returns two collections: `None`, of `(key, image)` with images float32
    `[*size, 3]` in [0, 1] (the largest central crop), and `BROKEN`, of `(name, reason)`.

    Attributes:
      count: number of images, including unreadable ones.
      paths: paths of the files; empty for a TFDS data set.
    """

    def __init__(self, data: str, size: Size):
        """Lists the images.

        Args:
          data: `folder:PATH`, `files:GLOB` (on any file system that Beam supports) or
            `tfds:NAME[/CONFIG]`, of which the split "train" is read.
          size: (height, width) of the images.

        Raises:
          InputError: the value has another form, or there is no image.
        """
        super().__init__()
        kind, _, rest = data.partition(":")
        self.paths: list[str] = []
        if kind == "tfds" and rest:
            self.count = TfdsSource(rest).evaluation_size
            begins = range(0, self.count, _SLICE_SIZE)
            self._elements = [(begin, min(begin + _SLICE_SIZE, self.count)) for begin in begins]
            self._read = ReadSlice(rest, size)
            return
        if kind == "folder" and rest:
            root, self.paths = rest, _list_folder(rest)
        elif kind == "files" and rest:
            root, self.paths = _fixed_part(rest), _match_pattern(rest)
        else:
            raise InputError(f"--data must be {DATA_FORMATS}. Received: {data!r}")
        self.count = len(self.paths)
        names = [os.path.relpath(path, root) if root else path for path in self.paths]
        self._elements = [
            (i, name, path) for i, (name, path) in enumerate(zip(names, self.paths, strict=True))
        ]
        self._read = ReadFile(size)

    def expand(self, pipeline: beam.Pipeline):  # Beam would check elements against a return type
        """Adds the steps to a pipeline."""
        return (
            pipeline
            | "List" >> beam.Create(self._elements)
            | "Distribute" >> beam.Reshuffle()
            | "Read" >> beam.ParDo(self._read).with_outputs(BROKEN, main=None)
        )


class ReadFile(beam.DoFn):
    """Reads the image at (index, name, path), or reports why it is unreadable."""

    def __init__(self, size: Size):
        self._size = size

    def process(self, element: tuple[int, str, str]) -> Iterator:
        """Yields (key, image), or (name, reason) tagged `BROKEN`."""
        index, name, path = element
        try:
            with FileSystems.open(path) as file:
                image = decode_rgb(file.read())
        except (InputError, OSError, BeamIOError) as error:
            yield beam.pvalue.TaggedOutput(BROKEN, (name, first_line(error)))
            return
        yield (index, name), center_crop_and_resize(image, self._size).numpy()


class ReadSlice(beam.DoFn):
    """Reads the images [begin, end) of a TFDS data set, or reports why they are unreadable."""

    def __init__(self, name: str, size: Size):
        self._name, self._size = name, size

    def process(self, element: tuple[int, int]) -> Iterator:
        """Yields (key, image), or (name, reason) tagged `BROKEN`, for each image."""
        source = _open_tfds(self._name)
        for index, encoded in enumerate(source.encoded_images(*element), element[0]):
            name = f"{index:08d}"
            try:
                image = source.decode(encoded).numpy()
            except tf.errors.OpError as error:
                yield beam.pvalue.TaggedOutput(BROKEN, (name, first_line(error)))
                continue
            yield (index, name), center_crop_and_resize(image, self._size).numpy()


@functools.lru_cache(maxsize=1)
def _open_tfds(name: str) -> TfdsSource:
    return TfdsSource(name)


def _list_folder(root: str) -> list[str]:
    if not os.path.isdir(root):
        raise InputError(f"no such folder: {root}")
    paths = [str(path) for path in list_image_files(pathlib.Path(root))]
    if not paths:
        raise InputError(f"no images in {root}")
    return paths


def _match_pattern(pattern: str) -> list[str]:
    try:
        (found,) = FileSystems.match([pattern])
    except (BeamIOError, ValueError, OSError) as error:
        raise InputError(f"files:{pattern} cannot be listed: {first_line(error)}") from error
    paths = sorted(
        file.path
        for file in found.metadata_list
        if file.size_in_bytes or not file.path.endswith("/")
    )
    paths = [path for path in paths if not os.path.isdir(path)]
    if not paths:
        raise InputError(f"files:{pattern} matches no file")
    return paths


def _fixed_part(pattern: str) -> str:
    """Returns the folder before the first wildcard, "" for none; file names are relative to it."""
    first = min((pattern.find(c) for c in _WILDCARDS if c in pattern), default=len(pattern))
    return os.path.dirname(pattern[:first])
