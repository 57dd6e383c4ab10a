"""In-memory cache of decoded images, spilling to disk."""

import tempfile
from collections.abc import Callable

import numpy as np

from tfinvert.config.choices import MEMORY_GB
from tfinvert.errors import InputError


class DecodedImageCache:
    """A list of uint8 images, kept in memory up to a budget and beyond it in a mapped file.

    The file is unnamed, lies in the folder for temporary files (`TMPDIR`), and is deleted with the
    process, however that ends.

    Args:
      transform: applied to each image before it is stored, for example to reduce its size.
      memory_gb: memory budget in GB (10⁹ bytes).

    Attributes:
      memory_gb: memory budget in GB.
      in_memory: bytes stored in memory.
      on_disk: bytes stored in the file.
    """

    def __init__(
        self,
        transform: Callable[[np.ndarray], np.ndarray] = lambda image: image,
        memory_gb: float = MEMORY_GB,
    ):
        if not memory_gb >= 0:
            raise InputError(f"memory_gb must not be negative. Received: {memory_gb}")
        self._transform, self.memory_gb = transform, memory_gb
        self._images: list[np.ndarray | tuple[int, tuple[int, ...]]] = []
        self._file, self._mapped = None, None
        self.in_memory = self.on_disk = 0

    def __len__(self) -> int:
        return len(self._images)

    def __str__(self) -> str:
        """The cache's size as the end of a sentence; empty for an empty cache."""
        if not len(self):
            return ""
        disk = f" and {self.on_disk / 1e9:.2f} GB on disk" if self.on_disk else ""
        return f"; decoded images cached: {self.in_memory / 1e9:.2f} GB in memory{disk}"

    def append(self, image: np.ndarray) -> None:
        """Transforms and stores an image, uint8 `[H, W, 3]`.

        Raises:
          InputError: the disk is full.
        """
        image = np.ascontiguousarray(self._transform(image))
        if self._file is None and self.in_memory + image.nbytes <= self.memory_gb * 1e9:
            self._images.append(image)
            self.in_memory += image.nbytes
            return
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115 open as long as the cache
            self._file.write(image)
        except OSError as error:
            raise InputError(
                f"no space for decoded images in {tempfile.gettempdir()}: "
                f"{error.strerror or error}; increase --memory_gb, or set TMPDIR to a larger "
                f"folder. Received: memory_gb={self.memory_gb:g}"
            ) from error
        self._images.append((self.on_disk, image.shape))
        self.on_disk += image.nbytes
        self._mapped = None

    def clear(self) -> None:
        """Releases all images and the file."""
        self._images, self._file, self._mapped = [], None, None
        self.in_memory = self.on_disk = 0

    def __getitem__(self, index: int) -> np.ndarray:
        """Returns the image at the index, uint8 `[H, W, 3]`."""
        image = self._images[index]
        if isinstance(image, np.ndarray):
            return image
        if self._mapped is None:
            self._file.flush()
            self._mapped = np.memmap(self._file, np.uint8, "r")
        begin, shape = image
        return self._mapped[begin : begin + int(np.prod(shape))].reshape(shape)
