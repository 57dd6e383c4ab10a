"""The grey image that the hand-crafted features are computed on."""

import tensorflow as tf


def rgb_to_luma(images: tf.Tensor) -> tf.Tensor:
    """ITU-R 601 luma: RGB `[B, H, W, 3]` becomes `[B, H, W, 1]`, in the same range.

    Summed channel by channel: as a matrix product, which `tf.image.rgb_to_grayscale` is, a GPU may
    round it to ten bits, and neighbouring pixels that differ would compare as equal.
    """
    red, green, blue = (images[..., channel : channel + 1] for channel in range(3))
    return 0.2989 * red + 0.5870 * green + 0.1140 * blue
