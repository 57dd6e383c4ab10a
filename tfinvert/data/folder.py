"""Image folders: JPEG and PNG files in arbitrarily nested sub-folders."""

import concurrent.futures
import hashlib
import itertools
import os
import pathlib
from collections.abc import Container, Sequence

import numpy as np
from absl import logging

from tfinvert.common.files import user_path
from tfinvert.data.decode import EXTENSIONS, read_rgb
from tfinvert.data.image_cache import DecodedImageCache
from tfinvert.data.sources import IndexedSource, compute_digest
from tfinvert.errors import InputError

VALIDATION_FRACTION = 0.05
_DECODE_BATCH = 256
_MAX_NAMED = 5  # items named in a warning


class ImageFolder(IndexedSource):
    """The images in a folder and its sub-folders, in the order of their relative paths.

    Every file is decoded once when the folder is opened, so that unreadable files are reported and
    skipped then, and an index always denotes the same image during training.

    Args:
      path: the folder.
      split: "all"; "validation" for about 5 % of the files, chosen by a hash of the relative path;
        or "training" for the others. Adding files does not move existing files between the splits,
        except in a folder so small that two files are chosen in order to validate on a pair of
        images.
      image_cache: cache for the decoded images, for training; None for no cache.
      only: relative paths of the files to use; None for all files.
      checked: the `names` of the folder when it was opened before and has not changed since. The
        files are then not decoded again, and `split`, `image_cache` and `only` are ignored.

    Attributes:
      unreadable: one message per skipped file.

    Raises:
      InputError: the folder does not exist, or has no readable image.
    """

    def __init__(
        self,
        path: str | pathlib.Path,
        split: str = "all",
        image_cache: DecodedImageCache | None = None,
        checked: Sequence[str] | None = None,
        only: Container[str] | None = None,
    ):
        self.name = f"folder:{path}"
        root = user_path(path)
        if checked is not None:
            self._root, self._files, self.unreadable = root, [root / n for n in checked], []
            self._classes = sorted({_class_name(file, root) for file in self._files})
            return
        files = find_image_files(root)
        # From the whole folder, so that labels are the same in every split.
        self._classes = sorted({_class_name(file, root) for file in files})
        if only is not None:
            files = [file for file in files if str(file.relative_to(root)) in only]
        if split != "all":
            files = _select_split(files, root, split)
        self._root = root
        self.image_cache = image_cache
        self._files, self.unreadable = _select_readable(files, image_cache)
        if self.unreadable:
            logging.warning(
                "skipped %d unreadable of %d files in %s: %s",
                len(self.unreadable),
                len(files),
                root,
                name_some(self.unreadable),
            )
        if not self._files:
            raise InputError(
                f"none of the {len(files)} images in {root} can be read; the first error: "
                f"{self.unreadable[0]}"
            )

    def __len__(self) -> int:
        return len(self._files)

    @property
    def names(self) -> list[str]:
        """The paths of the images relative to the folder."""
        return [str(file.relative_to(self._root)) for file in self._files]

    def image(self, index: int) -> np.ndarray:
        """Reads the image at the index."""
        return read_rgb(self._files[index])

    @property
    def classes(self) -> list[str]:
        """See `Source.classes`; the names of the folder's immediate sub-folders, sorted.

        Raises:
          InputError: there are images outside the sub-folders.
        """
        if "" in self._classes:
            raise InputError(
                f"{self.name} has no classes: some images are not in a sub-folder; move each image "
                "into a sub-folder named after its class"
            )
        return list(self._classes)

    def evaluation_labels(self) -> np.ndarray:
        """See `Source.evaluation_labels`."""
        labels = {name: label for label, name in enumerate(self.classes)}
        return np.array([labels[_class_name(file, self._root)] for file in self._files], np.int64)

    def identity(self) -> str:
        """See `Source.identity`; computed from the names and bytes of the files."""
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            contents = pool.map(_sha256, self._files)
            names = (os.fsencode(file.relative_to(self._root)) for file in self._files)
            pairs = zip(names, contents, strict=True)
            return compute_digest(part for pair in pairs for part in pair)


def name_some(items: Sequence[str]) -> str:
    """Names the first items for a message, and counts the others."""
    more = len(items) - _MAX_NAMED
    return "; ".join(items[:_MAX_NAMED]) + (f"; and {more} more" if more > 0 else "")


def find_image_files(root: pathlib.Path) -> list[pathlib.Path]:
    """Lists the image files of a folder, as `list_image_files`, of which there must be some.

    Raises:
      InputError: the folder does not exist, or there are no such files.
    """
    if not os.path.isdir(root):
        raise InputError(f"no such folder: {root}")
    files = list_image_files(root)
    if not files:
        raise InputError(f"no images in {root}; files must end in {', '.join(EXTENSIONS)}")
    return files


def list_image_files(root: pathlib.Path) -> list[pathlib.Path]:
    """Lists the files with an image extension in a folder tree, in the order of their paths."""
    found, visited = [], set()
    for folder, inner, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in visited:  # a link to a folder that has been visited
            inner.clear()
            continue
        visited.add(real)
        inner.sort()
        found += [pathlib.Path(folder, n) for n in names if n.lower().endswith(EXTENSIONS)]
    return sorted(found, key=lambda file: file.relative_to(root).as_posix())


def _class_name(file: pathlib.Path, root: pathlib.Path) -> str:
    """The immediate sub-folder of the root that contains a file; "" for the root itself."""
    return next(iter(file.relative_to(root).parts[:-1]), "")


def _select_split(files: list[pathlib.Path], root: pathlib.Path, split: str) -> list[pathlib.Path]:
    """Splits files by a hash of their paths.

    Of the readable files, the two with the smallest hashes are always validation files, and the one
    with the largest hash is always a training file.
    """

    def rank(file: pathlib.Path) -> bytes:
        return hashlib.sha256(os.fsencode(file.relative_to(root).as_posix())).digest()

    ranked = sorted(files, key=rank)
    first = list(itertools.islice((file for file in ranked if _try_read(file)[1] is None), 2))
    last = next((file for file in reversed(ranked) if _try_read(file)[1] is None), None)
    if last is None:
        return files  # none is readable, which the caller reports
    if last in first:
        raise InputError(
            f"{root} needs at least three readable images, two of them to validate on; add images, "
            f"or give others with --validation_data. Received: {len(first)} readable image(s)"
        )
    limit = int(VALIDATION_FRACTION * 256**4).to_bytes(4, "big")
    validation = ({file for file in files if rank(file) < limit} | {*first}) - {last}
    return [file for file in files if (file in validation) == (split == "validation")]


def _sha256(file: pathlib.Path) -> bytes:
    try:
        return hashlib.sha256(file.read_bytes()).digest()
    except OSError as error:
        raise InputError(f"{file}: {error.strerror or error}") from error


def _select_readable(
    files: list[pathlib.Path], image_cache: DecodedImageCache | None
) -> tuple[list[pathlib.Path], list[str]]:
    """Returns the readable files and an error message per unreadable file; fills the cache."""
    readable, problems = [], []
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        # In batches, so that few decoded images wait for the cache.
        for begin in range(0, len(files), _DECODE_BATCH):
            batch = files[begin : begin + _DECODE_BATCH]
            for file, (image, problem) in zip(batch, pool.map(_try_read, batch), strict=True):
                if problem is not None:
                    problems.append(problem)
                    continue
                readable.append(file)
                if image_cache is not None:
                    image_cache.append(image)
    return readable, problems


def _try_read(file: pathlib.Path) -> tuple[np.ndarray | None, str | None]:
    """Returns the image or, if the file is unreadable, an error message."""
    try:
        return read_rgb(file), None
    except InputError as error:
        return None, str(error)
