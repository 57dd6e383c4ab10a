"""Parts of an experiment that take minutes, kept so that a stopped one goes on."""

import pathlib
from collections.abc import Callable, Mapping

import numpy as np

from tfinvert.files import atomic_path, read_arrays

Arrays = Mapping[str, np.ndarray]


class Parts:
    """Computes named parts once.

    Args:
      directory: where they are kept, a file each; of one run with one set of flags, since a part is
        found by its name alone. None keeps nothing.
    """

    def __init__(self, directory: pathlib.Path | None = None):
        self._directory = directory

    def __call__(self, name: str, make: Callable[[], Arrays]) -> Arrays:
        """The arrays of a part: read if they are there, else made and kept.

        Args:
          name: of the part, unlike all others in the directory; "/" makes folders.
          make: gives its arrays, by name.

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


NOTHING_KEPT = Parts()
