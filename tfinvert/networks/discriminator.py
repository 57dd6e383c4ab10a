"""The opponent of an adversarial inverter: is this the photograph that the feature is of?

After Dosovitskiy & Brox 2016, "Generating Images with Perceptual Similarity Metrics based on Deep
Networks": it sees an image and the feature. All convolutional, so that it judges each part.
"""

import math

import keras

from tfinvert.networks.blocks import conv, dense, enlarge_grid, precision_scope
from tfinvert.networks.common import Feature, Size, scale_channels

CHANNELS = (64, 128, 256, 256, 256)  # after each halving
FEATURE_CHANNELS = 128
FINE = 3  # halvings after which there is a verdict already, on what texture is


def build(
    feature: Feature, image_size: Size, width: float = 1.0, precision: str = "float32"
) -> keras.Model:
    """The discriminator of the images of a feature.

    Args:
      feature: its spec is the network's second input.
      image_size: (height, width) of the images, as the inverter gives them.
      width: scales the channels of all layers.
      precision: as `inversion.build`.

    Returns:
      A functional model from [images, standardised features] to maps of verdicts, of which only
      differences mean something: the higher, the more of a photograph. One is on the feature's
      grid, or the next larger one that halving reaches (of a vector, on 4×4 cells), and where that
      is coarser another on cells of 8 pixels.
    """
    shape = feature.spec.shape
    cells = shape[:2] if len(shape) == 3 else (4, 4)
    times = min(side / cell for side, cell in zip(image_size, cells, strict=True))
    halvings = max(1, math.floor(math.log2(times)))
    images = keras.Input((*image_size, 3), name="images")
    features = keras.Input(shape, name="features")
    verdicts = []
    with precision_scope(precision):
        x = images
        for i in range(halvings):
            x = conv(
                x, scale_channels(CHANNELS[min(i, len(CHANNELS) - 1)], width), 4, f"conv{i + 1}", 2
            )
            if i + 1 == FINE and i + 1 < halvings:
                verdicts.append(_verdict(x, width, "fine"))
        condition = _on_grid(features, tuple(x.shape[1:3]), scale_channels(FEATURE_CHANNELS, width))
        x = keras.layers.Concatenate(name="both")([x, condition])
        x = conv(x, scale_channels(CHANNELS[-1], width), 3, "both_conv")
        verdicts.append(_verdict(x, width, "coarse"))
    return keras.Model([images, features], verdicts, name=f"judge_{feature.name.replace('/', '_')}")


def _on_grid(x: keras.KerasTensor, grid: Size, channels: int) -> keras.KerasTensor:
    if len(x.shape) == 2:
        x = dense(x, channels, "feature_dense")
        x = keras.layers.Reshape((1, 1, channels), name="feature_cell")(x)
        return keras.layers.UpSampling2D(grid, name="feature_everywhere")(x)
    x = conv(x, channels, 3, "feature_conv")
    return x if tuple(x.shape[1:3]) == grid else enlarge_grid(x, channels, grid, "feature_enlarge")


def _verdict(x: keras.KerasTensor, width: float, name: str) -> keras.KerasTensor:
    x = conv(x, scale_channels(CHANNELS[-1], width), 3, f"{name}_conv")
    # A bias would change no difference, and get a gradient of rounding errors.
    return keras.layers.Conv2D(
        1, 3, padding="same", use_bias=False, name=f"{name}_verdict", dtype="float32"
    )(x)
