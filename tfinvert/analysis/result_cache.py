"""Parts of an experiment that take minutes, kept so that a stopped one goes on."""

import pathlib
from collections.abc import Callable, Mapping

import numpy as np

from tfinvert.common.files import atomic_path, read_arrays

Arrays = Mapping[str, np.ndarray]


class ResultCache:
    """Computes named parts once, and keeps them in a directory, a file each; None keeps nothing.

    It is of one run with one set of flags, since a part is found by its name alone.
    """

    def __init__(self, directory: pathlib.Path | None = None):
        self._directory = directory

    def __call__(self, name: str, make: Callable[[], Arrays]) -> Arrays:
        """The arrays of a part, by name: read if they are there, else made and kept.

        The part's name is unlike all others in the directory; "/" makes folders.

        Raises:
          InputError: the part's file is damaged.
        """
        if self._directory is None:
            return make()
        path = self._directory / f"{name}.npz"
        if not path.exists():
            arrays = make()
            with atomic_path(path) as temporary:
                np.savez(temporary, **arrays)
            return arrays
        return read_arrays(path)


NO_CACHE = ResultCache()
