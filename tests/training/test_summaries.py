"""TensorBoard's images, written and read."""

import numpy as np

from tfinvert.training.summaries import SummaryWriter, read_pairs


def test_pairs_of_images_are_read_by_step(tmp_path):
    """A second writer, as after an interruption, repeats a step."""
    images, first, other, last = np.random.default_rng(0).random((4, 3, 8, 8, 3), np.float32)
    writer = SummaryWriter(tmp_path, images, (8, 8))
    writer.write_images(first, 5)
    writer.write_images(other, 10)
    SummaryWriter(tmp_path, images, (8, 8)).write_images(last, 10)
    pairs = read_pairs(tmp_path)
    assert [*pairs] == [5, 10]
    for step, expected in {5: first, 10: last}.items():
        originals, reconstructions = pairs[step]
        assert originals.dtype == reconstructions.dtype == np.uint8
        np.testing.assert_allclose(originals / 255, images, atol=0.004)
        np.testing.assert_allclose(reconstructions / 255, expected, atol=0.004)
