"""Conversion of RGB images to grey, the input of the hand-crafted features."""

from tfinvert.common.backend import Tensor


def rgb_to_luma(images: Tensor) -> Tensor:
    """Computes ITU-R 601 luma: RGB `[B, H, W, 3]` to `[B, H, W, 1]`, in the same range.

    The channels are summed one by one. As a matrix product, which is how
    `tf.image.rgb_to_grayscale` works, a GPU may round it to ten bits, and neighbouring pixels that
    differ would compare as equal.
    """
    red, green, blue = (images[..., channel : channel + 1] for channel in range(3))
    return 0.2989 * red + 0.5870 * green + 0.1140 * blue
