"""The conditional patch discriminator of adversarial training.

After Dosovitskiy & Brox 2016, "Generating Images with Perceptual Similarity Metrics based on Deep
Networks": it receives an image and the feature that the image is supposed to have. It is fully
convolutional and scores each patch of the image.
"""

import math

import keras

from tfinvert.networks.blocks import conv, dense, enlarge_grid, precision_scope
from tfinvert.networks.common import Feature, Size, model_name, scale_channels

CHANNELS = (64, 128, 256, 256, 256)  # after each stride-2 convolution
FEATURE_CHANNELS = 128
FINE_SCORE_DEPTH = 3  # stride-2 convolutions before the fine score map, which judges texture


def build(
    feature: Feature, image_size: Size, width: float = 1.0, precision: str = "float32"
) -> keras.Model:
    """Builds the discriminator for a feature's images.

    Args:
      feature: its spec is that of the network's second input.
      image_size: (height, width) of the images, in pixels.
      width: width multiplier for the channels of all layers.
      precision: see `inversion.build`.

    Returns:
      A functional model from [images, standardised features] to a list of score maps
      `[B, rows, columns, 1]`. Higher scores mean more realistic patches; only differences between
      scores are meaningful. The last map is on the feature's grid, or on the smallest larger grid
      that halving the image produces (4×4 cells for a vector). If that map is coarser than 8
      pixels per cell, a fine map with 8 pixels per cell comes before it.
    """
    shape = feature.spec.shape
    grid = shape[:2] if len(shape) == 3 else (4, 4)
    ratio = min(side / cells for side, cells in zip(image_size, grid, strict=True))
    halvings = max(1, math.floor(math.log2(ratio)))
    images = keras.Input((*image_size, 3), name="images")
    features = keras.Input(shape, name="features")
    scores = []
    with precision_scope(precision):
        x = images
        for i in range(halvings):
            channels = scale_channels(CHANNELS[min(i, len(CHANNELS) - 1)], width)
            x = conv(x, channels, 4, f"conv{i + 1}", 2)
            if i + 1 == FINE_SCORE_DEPTH and i + 1 < halvings:
                scores.append(_score_map(x, width, "fine"))
        condition = _resize_feature(
            features, tuple(x.shape[1:3]), scale_channels(FEATURE_CHANNELS, width)
        )
        x = keras.layers.Concatenate(name="both")([x, condition])
        x = conv(x, scale_channels(CHANNELS[-1], width), 3, "both_conv")
        scores.append(_score_map(x, width, "coarse"))
    return keras.Model([images, features], scores, name=model_name("judge", feature))


def _resize_feature(x: keras.KerasTensor, grid: Size, channels: int) -> keras.KerasTensor:
    if len(x.shape) == 2:
        x = dense(x, channels, "feature_dense")
        x = keras.layers.Reshape((1, 1, channels), name="feature_cell")(x)
        return keras.layers.UpSampling2D(grid, name="feature_everywhere")(x)
    x = conv(x, channels, 3, "feature_conv")
    return x if tuple(x.shape[1:3]) == grid else enlarge_grid(x, channels, grid, "feature_enlarge")


def _score_map(x: keras.KerasTensor, width: float, name: str) -> keras.KerasTensor:
    x = conv(x, scale_channels(CHANNELS[-1], width), 3, f"{name}_conv")
    # No bias: it would cancel in every difference, and its gradient would be rounding noise.
    return keras.layers.Conv2D(
        1, 3, padding="same", use_bias=False, name=f"{name}_verdict", dtype="float32"
    )(x)
