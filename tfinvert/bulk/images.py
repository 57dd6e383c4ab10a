"""Images as a Beam collection: files one by one, a TFDS data set in slices."""

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

Key = tuple[int, str]  # (place in the collection, name)
_SLICE = 256
_WILD = "*?["


class ReadImages(beam.PTransform):
    """Images with their keys, and under `BROKEN` the names of others with what is wrong.

    Applied to a pipeline it gives the collections `None`, of `(key, image)` with images float32
    `[*size, 3]` in [0, 1] (the largest central crop, as everywhere), and `BROKEN`, of
    `(name, reason)`.

    Args:
      data: `folder:PATH`, `files:GLOB` (of any file system that Beam knows) or
        `tfds:NAME[/CONFIG]`, of which the split "train" is taken.
      size: (height, width) of the images.

    Attributes:
      count: how many there are, broken ones too.
      paths: of the files, if they are files.

    Raises:
      InputError: the value has another form, or there is no image.
    """

    def __init__(self, data: str, size: Size):
        super().__init__()
        kind, _, rest = data.partition(":")
        self.paths: list[str] = []
        if kind == "tfds" and rest:
            self.count = TfdsSource(rest).evaluation_size
            begins = range(0, self.count, _SLICE)
            self._elements = [(begin, min(begin + _SLICE, self.count)) for begin in begins]
            self._read = ReadSlice(rest, size)
            return
        if kind == "folder" and rest:
            root, self.paths = rest, _below(rest)
        elif kind == "files" and rest:
            root, self.paths = _fixed_part(rest), _matching(rest)
        else:
            raise InputError(f"data must be {DATA_FORMATS}. Received: {data!r}")
        self.count = len(self.paths)
        names = [os.path.relpath(path, root) if root else path for path in self.paths]
        self._elements = [
            (i, name, path) for i, (name, path) in enumerate(zip(names, self.paths, strict=True))
        ]
        self._read = ReadFile(size)

    def expand(self, pipeline: beam.Pipeline):  # Beam takes a return type for an element's
        """See the class."""
        return (
            pipeline
            | "List" >> beam.Create(self._elements)
            | "Spread" >> beam.Reshuffle()
            | "Read" >> beam.ParDo(self._read).with_outputs(BROKEN, main=None)
        )


class ReadFile(beam.DoFn):
    """(place, name, path) → an image or why it is none."""

    def __init__(self, size: Size):
        self._size = size

    def process(self, element: tuple[int, str, str]) -> Iterator:
        """See the class."""
        index, name, path = element
        try:
            with FileSystems.open(path) as file:
                image = decode_rgb(file.read())
        except (InputError, OSError, BeamIOError) as error:
            yield beam.pvalue.TaggedOutput(BROKEN, (name, first_line(error)))
            return
        yield (index, name), center_crop_and_resize(image, self._size).numpy()


class ReadSlice(beam.DoFn):
    """[begin, end) of a TFDS data set → its images, or why they are none."""

    def __init__(self, name: str, size: Size):
        self._name, self._size = name, size

    def process(self, element: tuple[int, int]) -> Iterator:
        """See the class."""
        source = _tfds(self._name)
        for index, encoded in enumerate(source.encoded_images(*element), element[0]):
            name = f"{index:08d}"
            try:
                image = source.decode(encoded).numpy()
            except tf.errors.OpError as error:
                yield beam.pvalue.TaggedOutput(BROKEN, (name, first_line(error)))
                continue
            yield (index, name), center_crop_and_resize(image, self._size).numpy()


@functools.lru_cache(maxsize=1)
def _tfds(name: str) -> TfdsSource:
    return TfdsSource(name)


def _below(root: str) -> list[str]:
    if not os.path.isdir(root):
        raise InputError(f"no such folder: {root}")
    paths = [str(path) for path in list_image_files(pathlib.Path(root))]
    if not paths:
        raise InputError(f"no image in {root}")
    return paths


def _matching(pattern: str) -> list[str]:
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
    """The folder before the first wildcard, "" for none: names of files are relative to it."""
    first = min((pattern.find(c) for c in _WILD if c in pattern), default=len(pattern))
    return os.path.dirname(pattern[:first])
