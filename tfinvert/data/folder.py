"""An image folder: JPEG and PNG files, in any depth of sub-folders."""

import concurrent.futures
import hashlib
import itertools
import os
import pathlib
from collections.abc import Sequence

import numpy as np
from absl import logging

from tfinvert.data.decode import EXTENSIONS, read_rgb
from tfinvert.data.image_cache import DecodedImageCache
from tfinvert.data.sources import IndexedSource, compute_digest
from tfinvert.errors import InputError

_HELD_OUT = 0.05
_AT_ONCE = 256
_NAMED = 5  # unreadable files named in the warning; `unreadable` has them all


class ImageFolder(IndexedSource):
    """The images below a folder, in the order of their relative paths.

    Every file is decoded once when the folder is opened, so that broken ones are counted, named
    and skipped then, and a position in training means the same image for ever.

    Args:
      path: the folder.
      part: "all"; or "validation" for about 5 % of the files, chosen by a hash of the relative
        path, and "training" for the others. Adding files moves none to the other part, except in
        a folder so small that two files are chosen to have a pair of images to validate on.
      held: where the images are kept as they are decoded, for training; None keeps none.
      checked: the `names` of a folder that was opened before, where it stays as it is: nothing is
        looked at again, and `part` and `held` play no role.

    Attributes:
      unreadable: one message for each file skipped.

    Raises:
      InputError: there is no such folder, or no readable image in it.
    """

    def __init__(
        self,
        path: str | pathlib.Path,
        part: str = "all",
        held: DecodedImageCache | None = None,
        checked: Sequence[str] | None = None,
    ):
        self.name = f"folder:{path}"
        root = pathlib.Path(path)
        if checked is not None:
            self._root, self._files, self.unreadable = root, [root / n for n in checked], []
            self._classes = sorted({_class(file, root) for file in self._files})
            return
        if not os.path.isdir(root):
            raise InputError(f"no such folder: {root}")
        files = list_image_files(root)
        if not files:
            raise InputError(f"no image in {root}: accepted are files ending in {_ENDINGS}")
        # Of the whole folder, so that a class means the same in each part.
        self._classes = sorted({_class(file, root) for file in files})
        if part != "all":
            files = _split(files, root, part)
        self._root = root
        self.held = held
        self._files, self.unreadable = _readable(files, held)
        if self.unreadable:
            more = len(self.unreadable) - _NAMED
            logging.warning(
                "skipped %d of %d files in %s: %s%s",
                len(self.unreadable),
                len(files),
                root,
                "; ".join(self.unreadable[:_NAMED]),
                f"; and {more} more" if more > 0 else "",
            )
        if not self._files:
            raise InputError(
                f"none of the {len(files)} images in {root} can be read; the first: "
                f"{self.unreadable[0]}"
            )

    def __len__(self) -> int:
        return len(self._files)

    @property
    def names(self) -> list[str]:
        """The files' paths, relative to the folder."""
        return [str(file.relative_to(self._root)) for file in self._files]

    def image(self, index: int) -> np.ndarray:
        """The image in a file."""
        return read_rgb(self._files[index])

    @property
    def classes(self) -> list[str]:
        """See `Source.classes`; the names of the sub-folders right below the folder, sorted.

        Raises:
          InputError: there are images outside them.
        """
        if "" in self._classes:
            raise InputError(
                f"{self.name} has no classes: it holds images outside sub-folders, whose names "
                "would be the classes"
            )
        return list(self._classes)

    def once_labels(self) -> np.ndarray:
        """See `Source.once_labels`."""
        labels = {name: label for label, name in enumerate(self.classes)}
        return np.array([labels[_class(file, self._root)] for file in self._files], np.int64)

    def identity(self) -> str:
        """See `Source.identity`; from the files' names and bytes."""
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            contents = pool.map(_sha256, self._files)
            names = (os.fsencode(file.relative_to(self._root)) for file in self._files)
            return compute_digest(
                part for pair in zip(names, contents, strict=True) for part in pair
            )


_ENDINGS = ", ".join(EXTENSIONS)


def list_image_files(root: pathlib.Path) -> list[pathlib.Path]:
    """The files below a folder that are images by their names, in the order of their paths."""
    found, seen = [], set()
    for folder, inner, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link back, or to another folder of the tree
            inner.clear()
            continue
        seen.add(real)
        inner.sort()
        found += [pathlib.Path(folder, n) for n in names if n.lower().endswith(EXTENSIONS)]
    return sorted(found, key=lambda file: file.relative_to(root).as_posix())


def _class(file: pathlib.Path, root: pathlib.Path) -> str:
    """The sub-folder right below the root that a file is in; "" for the root itself."""
    return next(iter(file.relative_to(root).parts[:-1]), "")


def _split(files: list[pathlib.Path], root: pathlib.Path, part: str) -> list[pathlib.Path]:
    """By a hash of each path; of the readable ones, the first two are held out, the last is not."""

    def rank(file: pathlib.Path) -> bytes:
        return hashlib.sha256(os.fsencode(file.relative_to(root).as_posix())).digest()

    ranked = sorted(files, key=rank)
    first = list(itertools.islice((file for file in ranked if _try(file)[1] is None), 2))
    last = next((file for file in reversed(ranked) if _try(file)[1] is None), None)
    if last is None:
        return files  # none is left, which is for the caller to say
    if last in first:
        raise InputError(
            f"{root} has {len(first)} readable image(s); training holds two out to validate on and "
            "needs a third; or give others as --validation_data"
        )
    limit = int(_HELD_OUT * 256**4).to_bytes(4, "big")
    held_out = ({file for file in files if rank(file) < limit} | {*first}) - {last}
    return [file for file in files if (file in held_out) == (part == "validation")]


def _sha256(file: pathlib.Path) -> bytes:
    try:
        return hashlib.sha256(file.read_bytes()).digest()
    except OSError as error:
        raise InputError(f"{file}: {error.strerror or error}") from error


def _readable(
    files: list[pathlib.Path], held: DecodedImageCache | None
) -> tuple[list[pathlib.Path], list[str]]:
    good, problems = [], []
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for begin in range(0, len(files), _AT_ONCE):  # so that few wait to be held
            some = files[begin : begin + _AT_ONCE]
            for file, (image, problem) in zip(some, pool.map(_try, some), strict=True):
                if problem is not None:
                    problems.append(problem)
                    continue
                good.append(file)
                if held is not None:
                    held.append(image)
    return good, problems


def _try(file: pathlib.Path) -> tuple[np.ndarray | None, str | None]:
    try:
        return read_rgb(file), None
    except InputError as error:
        return None, str(error)
