"""What TensorBoard shows of a run."""

import pathlib
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from tfinvert.common.images import evenly_spaced_indices, resize_images

NUM_IMAGES = 8


class ScalarWriter:
    """The figures of a run.

    Args:
      folder: TensorBoard's log directory.
    """

    def __init__(self, folder: pathlib.Path):
        self._writer = tf.summary.create_file_writer(str(folder))

    def scalars(self, entry: Mapping[str, float]) -> None:
        """An entry of the history, each value under its own name."""
        with self._writer.as_default(step=int(entry["step"])):
            for name, value in entry.items():
                if name != "step":
                    tf.summary.scalar(name, value)
        self._writer.flush()


class SummaryWriter(ScalarWriter):
    """Scalars, and fixed validation images beside their reconstructions.

    Args:
      folder: TensorBoard's log directory.
      validation: `[n, H, W, 3]` in [0, 1]; eight evenly spaced ones are shown.
      output_size: (height, width) of the reconstructions.
    """

    def __init__(self, folder: pathlib.Path, validation: np.ndarray, output_size: tuple[int, int]):
        super().__init__(folder)
        self._shown = evenly_spaced_indices(len(validation), NUM_IMAGES)
        self._originals = resize_images(validation[self._shown], output_size)

    def images(self, reconstructions: np.ndarray, step: int) -> None:
        """Original and reconstruction side by side; the reconstructions of all of `validation`."""
        pairs = np.concatenate([self._originals, reconstructions[self._shown]], axis=2)
        with self._writer.as_default(step=step):
            tf.summary.image("original | reconstruction", pairs, max_outputs=NUM_IMAGES)
        self._writer.flush()
