"""Photographs of a folder with features that were computed elsewhere (`--pairs`)."""

from __future__ import annotations

import functools
import os
import pathlib
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from absl import logging

from tfinvert.config.stored_pairs import PairsConfig
from tfinvert.data.augmentation import Size, largest_crop, resize_uint8
from tfinvert.data.feature_file import FeatureFile
from tfinvert.data.folder import ImageFolder, find_image_files, name_some
from tfinvert.data.image_cache import DecodedImageCache
from tfinvert.data.shuffling import WHOLE_BATCH, BatchShard
from tfinvert.errors import InputError

if TYPE_CHECKING:
    import tensorflow as tf


class StoredPairs:
    """The photographs of a folder that have a row in a file of features.

    Names of rows are compared with paths relative to the folder, with paths relative to the current
    folder, with file names and with file names without suffix; the comparison that matches most
    decides. A file name that occurs twice matches nothing. Photographs without a row and rows
    without a photograph are counted and named in a warning.

    Args:
      config: the file, and how rows belong to photographs.
      data: the folder, `folder:PATH`.

    Attributes:
      features: the file of features.

    Raises:
      InputError: `data` is no folder of images, the file is invalid (see `FeatureFile`), or too few
        photographs or rows match.
    """

    def __init__(self, config: PairsConfig, data: str):
        kind, _, folder = data.partition(":")
        if kind != "folder" or not folder:
            raise InputError(
                "stored features belong to the photographs of a folder; give --data=folder:PATH. "
                f"Received: --data={data}"
            )
        self._config, self._root = config, pathlib.Path(folder)
        files = [str(file.relative_to(self._root)) for file in find_image_files(self._root)]
        self.features = FeatureFile(config.path, config.shape, config.match == "name")
        if config.match == "name":
            self._rows = _match_names(self.features.names, files, self._root)
            self._report(files)
            return
        if len(files) != len(self.features):
            raise InputError(
                "--pairs_match=order requires as many rows as image files. Received: "
                f"{len(self.features)} rows in {config.path}, {len(files)} files in {folder}"
            )
        self._rows = {file: row for row, file in enumerate(files)}

    def open(self, split: str, size: Size, memory_gb: float | None = None) -> PairedPhotographs:
        """Opens the photographs of a split, as images of one size.

        Args:
          split: "training", "validation" or "all", see `ImageFolder`.
          size: (height, width) of the images.
          memory_gb: memory in GB for images that are decoded once; None decodes at every access.
        """
        crop = self._config.view == "crop"
        return PairedPhotographs(
            self._root, split, self._rows, self.features, size, crop, memory_gb
        )

    def _report(self, files: list[str]) -> None:
        """Counts and names what does not match.

        Raises:
          InputError: it is too much.
        """
        features, used = self.features, {*self._rows.values()}
        photographs = [file for file in files if file not in self._rows]
        rows = [features.describe_row(row) for row in range(len(features)) if row not in used]
        problems = [
            f"{len(items)} of {total} {kind}: {name_some(items)}"
            for items, total, kind in (
                (photographs, len(files), f"photographs of {self._root} have no row"),
                (rows, len(features), f"rows of {features.path} have no photograph"),
            )
            if items
        ]
        share = min(len(used) / len(files), len(used) / len(features))
        if not used or share < self._config.min_share:
            raise InputError(
                f"too few photographs and rows have the same file name: {share:.3g} instead of "
                f"--pairs_min_share={self._config.min_share:g}; correct the names, or lower it. "
                f"Received: {'; '.join(problems)}"
            )
        if problems:
            logging.warning("%s", "; ".join(problems))


class PairedPhotographs(ImageFolder):
    """Photographs of one split as images of one size, with their stored features.

    Created by `StoredPairs.open`.

    Attributes:
      features: the file of features.
      rows: the row of each photograph in it, int64 `[n]`.
    """

    def __init__(
        self,
        root: pathlib.Path,
        split: str,
        row_of: Mapping[str, int],
        features: FeatureFile,
        size: Size,
        crop: bool = False,
        memory_gb: float | None = None,
    ):
        self._view = functools.partial(make_view, size=size, crop=crop)
        cache = None if memory_gb is None else DecodedImageCache(self._view, memory_gb)
        super().__init__(root, split, cache, only=row_of)
        self.features, self._size = features, size
        self.rows = np.array([row_of[name] for name in self.names], np.int64)

    def image(self, index: int) -> np.ndarray:
        """Reads the image at the index, at the size of the images."""
        return self._view(super().image(index))

    def read(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Reads images, uint8 `[n, H, W, 3]`, and their features, float32 `[n, *shape]`."""
        images = np.stack([self.training_image(index) for index in indices])
        return images, self.features[self.rows[indices]]

    def batches(
        self,
        batch_size: int,
        seed: int,
        start_step: int = 0,
        shard: BatchShard = WHOLE_BATCH,
    ) -> tf.data.Dataset:
        """Infinite batches of images and their features, see `pipeline.stored_batches`."""
        from tfinvert.data.pipeline import stored_batches  # needs TensorFlow

        shapes = (*self._size, 3), self.features.shape
        return stored_batches(self.read, len(self), shapes, batch_size, seed, start_step, shard)


def make_view(image: np.ndarray, size: Size, crop: bool = False) -> np.ndarray:
    """Resizes a photograph, uint8 `[H, W, 3]`, to (height, width) `size`.

    Args:
      image: the photograph.
      size: (height, width) of the result.
      crop: whether the largest central crop with that aspect ratio is resized, instead of the whole
        photograph.
    """
    if crop:
        extent = image.shape[:2]
        window = largest_crop(extent, size)
        top, left = ((side - part) // 2 for side, part in zip(extent, window, strict=True))
        image = image[top : top + window[0], left : left + window[1]]
    return resize_uint8(image, tuple(size))


def _match_names(names: list[str], files: list[str], root: pathlib.Path) -> dict[str, int]:
    """Returns the row of each file that has one."""
    here = os.path.abspath(root)

    def relative(name: str) -> str:
        return os.path.relpath(os.path.abspath(name), here)

    def stem(name: str) -> str:
        return os.path.splitext(os.path.basename(name))[0]

    # Pairs of functions, of the name of a row and of a file's path relative to the folder.
    comparisons: tuple[tuple[Callable[[str], str], Callable[[str], str]], ...] = (
        (os.path.normpath, str),
        (relative, str),
        (os.path.basename, os.path.basename),
        (stem, stem),
    )
    found = []
    for row_key, file_key in comparisons:
        row_keys, file_keys = [*map(row_key, names)], [*map(file_key, files)]
        row_of = {key: row for row, key in enumerate(row_keys)}
        counts = Counter(row_keys) | Counter(file_keys)  # the larger of the two counts
        pairs = zip(files, file_keys, strict=True)
        found.append(
            {file: row_of[key] for file, key in pairs if key in row_of and counts[key] == 1}
        )
    return max(found, key=len)
