"""TensorBoard summaries of a run."""

import pathlib
from collections.abc import Mapping

import numpy as np

from tfinvert.common.images import evenly_spaced_indices, resize_images

NUM_IMAGES = 8


class ScalarWriter:
    """Writes the scalars of a run.

    Args:
      folder: TensorBoard's log directory.
    """

    def __init__(self, folder: pathlib.Path):
        import tensorflow as tf  # also where Keras runs on JAX

        self._summary = tf.summary
        self._writer = tf.summary.create_file_writer(str(folder))

    def write_scalars(self, entry: Mapping[str, float]) -> None:
        """Writes each value of a history entry under its name."""
        with self._writer.as_default(step=int(entry["step"])):
            for name, value in entry.items():
                if name != "step":
                    self._summary.scalar(name, value)
        self._writer.flush()


class SummaryWriter(ScalarWriter):
    """Writes scalars, and eight validation images next to their reconstructions.

    Args:
      folder: TensorBoard's log directory.
      validation: validation images `[n, H, W, 3]` in [0, 1], of which eight evenly spaced ones are
        written.
      output_size: (height, width) of the reconstructions.
    """

    def __init__(self, folder: pathlib.Path, validation: np.ndarray, output_size: tuple[int, int]):
        super().__init__(folder)
        self._indices = evenly_spaced_indices(len(validation), NUM_IMAGES)
        self._originals = resize_images(validation[self._indices], output_size)

    def write_images(self, reconstructions: np.ndarray, step: int) -> None:
        """Writes pairs of original and reconstruction.

        Args:
          reconstructions: reconstructions of all validation images, `[n, *output_size, 3]`.
          step: current step.
        """
        pairs = np.concatenate([self._originals, reconstructions[self._indices]], axis=2)
        with self._writer.as_default(step=step):
            self._summary.image("original | reconstruction", pairs, max_outputs=NUM_IMAGES)
        self._writer.flush()
