"""Caches slow intermediate results, so that an interrupted experiment can resume."""

import pathlib
from collections.abc import Callable, Mapping

import numpy as np

from tfinvert.common.files import atomic_path, read_arrays

Arrays = Mapping[str, np.ndarray]


class ResultCache:
    """Computes named results once, and keeps each in a file of a directory.

    Results are found by name alone, so a cache belongs to one run with one set of flags.

    Args:
      directory: where the files are; None computes every time.
    """

    def __init__(self, directory: pathlib.Path | None = None):
        self._directory = directory

    def __call__(self, name: str, compute: Callable[[], Arrays]) -> Arrays:
        """Reads a result, or computes and saves it.

        Args:
          name: unique in the directory; "/" makes folders.
          compute: gives the arrays, by name.

        Raises:
          InputError: the file of the result is damaged.
        """
        if self._directory is None:
            return compute()
        path = self._directory / f"{name}.npz"
        if not path.exists():
            arrays = compute()
            with atomic_path(path) as temporary:
                np.savez(temporary, **arrays)
            return arrays
        return read_arrays(path)


NO_CACHE = ResultCache()
