"""Decoded photographs, held so that training never decodes one twice."""

import tempfile
from collections.abc import Callable

import numpy as np

from tfinvert.config.choices import MEMORY_GB
from tfinvert.errors import InputError


class DecodedImageCache:
    """Photographs as uint8, in memory up to a budget and beyond that in a file that is mapped.

    The file has no name: it lies in the folder for temporary files (`TMPDIR`), and is gone with the
    process, however that ends.

    Args:
      fit: what is done to each photograph before it is held, for example to make it smaller.
      memory_gb: the budget, in GB (10⁹ bytes).

    Attributes:
      in_memory: bytes held in memory.
      on_disk: bytes in the file.
    """

    def __init__(
        self,
        fit: Callable[[np.ndarray], np.ndarray] = lambda photo: photo,
        memory_gb: float = MEMORY_GB,
    ):
        if not memory_gb >= 0:
            raise InputError(f"memory_gb must not be negative. Received: {memory_gb}")
        self._fit, self._budget = fit, memory_gb * 1e9
        self._photos: list[np.ndarray | tuple[int, tuple[int, ...]]] = []
        self._file, self._mapped = None, None
        self.in_memory = self.on_disk = 0

    def __len__(self) -> int:
        return len(self._photos)

    def __str__(self) -> str:
        """For people; nothing where nothing is held."""
        disk = f" and {self.on_disk / 1e9:.2f} GB on disk" if self.on_disk else ""
        return f"; photographs held: {self.in_memory / 1e9:.2f} GB{disk}" if len(self) else ""

    def append(self, photo: np.ndarray) -> None:
        """Holds one more, uint8 `[H, W, 3]`.

        Raises:
          InputError: there is no room on the disk.
        """
        photo = np.ascontiguousarray(self._fit(photo))
        if self._file is None and self.in_memory + photo.nbytes <= self._budget:
            self._photos.append(photo)
            self.in_memory += photo.nbytes
            return
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115 lives as long as this
            self._file.write(photo)
        except OSError as error:
            raise InputError(
                f"no room to hold decoded photographs in {tempfile.gettempdir()} beside "
                f"{self._budget / 1e9:g} GB in memory: {error.strerror or error}; give more "
                "memory (--memory_gb), or set TMPDIR to a larger folder"
            ) from error
        self._photos.append((self.on_disk, photo.shape))
        self.on_disk += photo.nbytes
        self._mapped = None

    def clear(self) -> None:
        """Lets go of everything."""
        self._photos, self._file, self._mapped = [], None, None
        self.in_memory = self.on_disk = 0

    def __getitem__(self, index: int) -> np.ndarray:
        """The photograph held at that place, uint8 `[H, W, 3]`."""
        held = self._photos[index]
        if isinstance(held, np.ndarray):
            return held
        if self._mapped is None:
            self._file.flush()
            self._mapped = np.memmap(self._file, np.uint8, "r")
        begin, shape = held
        return self._mapped[begin : begin + int(np.prod(shape))].reshape(shape)
