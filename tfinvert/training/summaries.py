"""TensorBoard summaries of a run."""

import io
import pathlib
from collections.abc import Mapping

import numpy as np
from PIL import Image

from tfinvert.common.images import evenly_spaced_indices, resize_images

NUM_IMAGES = 8
_PAIRS = "original | reconstruction"


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
            self._summary.image(_PAIRS, pairs, max_outputs=NUM_IMAGES)
        self._writer.flush()


def read_pairs(folder: pathlib.Path) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Reads the images that a `SummaryWriter` wrote.

    Returns:
      Originals and reconstructions by step, in order, both uint8 `[n, H, W, 3]`. Of a step that was
      repeated after an interruption, the last ones.
    """
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    events = EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()
    pairs = {}
    for event in events.Tensors(_PAIRS):
        _, _, *files = make_ndarray(event.tensor_proto)  # width, height, and a PNG for each pair
        images = np.stack([np.asarray(Image.open(io.BytesIO(file))) for file in files])
        pairs[event.step] = tuple(np.split(images, 2, axis=2))
    return dict(sorted(pairs.items()))
