"""The conditional velocity field that flow matching samples images with.

Lipman et al. 2023, "Flow Matching for Generative Modeling": an ordinary differential equation
transports noise at time 0 to an image at time 1 (see `inverter.flow_matching`). The network is
conditioned on the feature and on its reconstruction by an inverter, and predicts a correction to
the velocity of white noise. It is a U-Net of gated residual blocks as in `residual.py`, each
modulated by the time and, if the feature is a vector, by the feature.
"""

import functools
import math
from typing import Any

import keras
import numpy as np
from keras import ops

from tfinvert.errors import InputError
from tfinvert.networks.blocks import conv, enlarge_grid, linear_conv, precision_scope, upconv
from tfinvert.networks.common import Feature, model_name, scale_channels

# By level: a half, a quarter and an eighth of the image's resolution. All levels but the last have
# this number of blocks both on the way down and on the way up.
CHANNELS = (48, 96, 192)
BLOCKS = (2, 2, 3)
EMBEDDING_CHANNELS = 192
FREQUENCIES = 32

_conv = functools.partial(linear_conv, initializer="lecun_normal")


# Saved networks contain the registered names "Waves" and "Straight".
@keras.saving.register_keras_serializable(package="tfinvert", name="Waves")
class FourierTimeEmbedding(keras.layers.Layer):
    """Sines and cosines of a time in [0, 1] at geometrically spaced frequencies.

    Args:
      frequencies: number of frequencies, from 2⁰ to 2⁹ half-periods over [0, 1].
    """

    def __init__(self, frequencies: int = FREQUENCIES, **kwargs: Any):
        super().__init__(**kwargs)
        self.frequencies = frequencies

    def call(self, x: Any) -> Any:
        """Maps times `[B, 1]` to embeddings `[B, 2 · frequencies]`."""
        factors = np.pi * 2.0 ** np.linspace(0, 9, self.frequencies, dtype=np.float32)
        angles = ops.cast(x, "float32") * ops.convert_to_tensor(factors, "float32")
        return ops.concatenate([ops.sin(angles), ops.cos(angles)], -1)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, int]:
        """Returns the shape of the embeddings."""
        return (input_shape[0], 2 * self.frequencies)

    def get_config(self) -> dict[str, Any]:
        """Returns the layer's constructor arguments."""
        return {**super().get_config(), "frequencies": self.frequencies}


@keras.saving.register_keras_serializable(package="tfinvert", name="Straight")
class WhiteNoiseVelocity(keras.layers.Layer):
    """The velocity that transports white noise of variance 1 to independent white noise.

    The expected direction of the straight lines between the two noises that pass through the state
    x at time t is x (2t - 1) / (t² + (1 - t)²).
    """

    def call(self, x: Any, time: Any) -> Any:
        """Maps states `[B, h, w, 3]` at times `[B, 1]` to velocities `[B, h, w, 3]`."""
        t = ops.reshape(ops.cast(time, x.dtype), (-1, 1, 1, 1))
        return x * (2 * t - 1) / (ops.square(t) + ops.square(1 - t))

    def compute_output_shape(self, x_shape: Any, time_shape: Any) -> tuple[int | None, ...]:
        """Returns the shape of the states."""
        return tuple(x_shape)


def build(feature: Feature, width: float = 1.0, precision: str = "float32") -> keras.Model:
    """Builds the velocity network for a feature and images of the feature's size.

    Args:
      feature: its spec is that of the network's last input.
      width: width multiplier for the channels of every layer but the last.
      precision: see `inversion.build`.

    Returns:
      A functional model from [state `[B, h, w, 3]`, time `[B, 1]`, the inverter's reconstruction
      `[B, h, w, 3]`, standardised features] to a velocity `[B, h, w, 3]`.

    Raises:
      InputError: the sides of the images are not multiples of 8.
    """
    size = tuple(feature.image_shape[:2])
    if any(side % 8 for side in size):
        raise InputError(
            f"a sampler needs images whose sides are multiples of 8. Received: {size[0]}×{size[1]}"
        )
    state = keras.Input((*size, 3), name="state")
    time = keras.Input((1,), name="time")
    image = keras.Input((*size, 3), name="image")
    features = keras.Input(feature.spec.shape, name="features")
    channels = [scale_channels(each, width) for each in CHANNELS]
    embedding_channels = scale_channels(EMBEDDING_CHANNELS, width)
    with precision_scope(precision):
        embedding = FourierTimeEmbedding(name="waves", dtype="float32")(time)
        embedding = _dense(embedding, embedding_channels, "time1", "silu")
        embedding = _dense(embedding, embedding_channels, "time2", "linear")
        if len(feature.spec.shape) == 1:
            vector = _dense(features, 2 * embedding_channels, "vector1", "silu")
            vector = _dense(vector, embedding_channels, "vector2", "linear")
            embedding = keras.layers.Add(name="embedding_of_both")([embedding, vector])
        embedding = keras.layers.Activation("silu", name="embedding")(embedding)
        reconstruction = keras.layers.Rescaling(4.0, -2.0, name="image_rescaled")(image)
        x = keras.layers.Concatenate(name="pixels")([state, reconstruction])
        x, skips = _conv(x, channels[0], 4, "down1", strides=2), []
        for level, blocks in enumerate(BLOCKS[:-1], 1):
            for i in range(1, blocks + 1):
                x = _block(x, embedding, f"down{level}_block{i}")
            skips.append(x)
            x = _conv(x, channels[level], 4, f"down{level + 1}", strides=2)
        if len(feature.spec.shape) == 3:
            condition = _resize_feature(features, tuple(x.shape[1:3]), x.shape[-1])
            x = keras.layers.Add(name="with_features")([x, condition])
        for i in range(1, BLOCKS[-1] + 1):
            x = _block(x, embedding, f"middle_block{i}", context=True)
        for level in range(len(BLOCKS) - 1, 0, -1):
            # LeCun initialisation that counts only the four taps which do not meet a zero.
            initializer = keras.initializers.VarianceScaling(4.0, "fan_out", "truncated_normal")
            x = keras.layers.Conv2DTranspose(
                channels[level - 1], 4, 2, "same", kernel_initializer=initializer, name=f"up{level}"
            )(x)
            x = keras.layers.Concatenate(name=f"up{level}_both")([x, skips.pop()])
            x = _conv(x, channels[level - 1], 1, f"up{level}_merged")
            for i in range(1, BLOCKS[level - 1] + 1):
                x = _block(x, embedding, f"up{level}_block{i}")
        x = _modulate(x, embedding, "last")
        x = keras.layers.Conv2DTranspose(
            3, 6, 2, "same", kernel_initializer="zeros", name="velocity", dtype="float32"
        )(x)
        prior = WhiteNoiseVelocity(name="straight", dtype="float32")(state, time)
        x = keras.layers.Add(name="velocity_in_all", dtype="float32")([prior, x])
    inputs = [state, time, image, features]
    return keras.Model(inputs, x, name=model_name("draw", feature))


def _block(
    x: keras.KerasTensor, embedding: keras.KerasTensor, name: str, context: bool = False
) -> keras.KerasTensor:
    """Applies a gated residual block, optionally with the mean over the grid as context."""
    channels = x.shape[-1]
    modulated = _modulate(x, embedding, name)
    values = _conv(modulated, channels, 3, f"{name}_values")
    gates = _conv(modulated, channels, 1, f"{name}_gates")
    if context:
        mean = keras.layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_mean")(modulated)
        values, gates = (
            keras.layers.Add(name=f"{name}_{path}_in_context")(
                [y, _conv(mean, channels, 1, f"{name}_around_{path}", initializer="zeros")]
            )
            for path, y in (("values", values), ("gates", gates))
        )
    gates = keras.layers.Activation("sigmoid", name=f"{name}_sigmoid")(gates)
    update = keras.layers.Multiply(name=f"{name}_gated")([values, gates])
    update = _conv(update, channels, 3, f"{name}_out", initializer="zeros")
    return keras.layers.Add(name=name)([x, update])


def _modulate(x: keras.KerasTensor, embedding: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Applies adaptive layer normalisation over the channels, and SiLU.

    The embedding determines the scale and the shift.
    """
    channels = x.shape[-1]
    x = keras.layers.LayerNormalization(
        epsilon=1e-5, center=False, scale=False, name=f"{name}_normal"
    )(x)
    parameters = []
    for kind, bias in (("scale", "ones"), ("shift", "zeros")):
        parameter = keras.layers.Dense(
            channels, kernel_initializer="zeros", bias_initializer=bias, name=f"{name}_{kind}"
        )(embedding)
        reshape = keras.layers.Reshape((1, 1, channels), name=f"{name}_{kind}_cell")
        parameters.append(reshape(parameter))
    x = keras.layers.Multiply(name=f"{name}_scaled")([x, parameters[0]])
    x = keras.layers.Add(name=f"{name}_shifted")([x, parameters[1]])
    return keras.layers.Activation("silu", name=f"{name}_silu")(x)


def _resize_feature(
    x: keras.KerasTensor, grid: tuple[int, int], channels: int
) -> keras.KerasTensor:
    """Brings a feature to another grid: enlarges it by a few cells, then upsamples it ×2."""
    x = conv(x, channels, 3, "features_conv")
    if tuple(x.shape[1:3]) == grid:
        return _conv(x, channels, 3, "features_on_grid")
    rows, columns = x.shape[1:3]
    upsamplings = math.floor(math.log2(max(1.0, min(grid[0] / rows, grid[1] / columns))))
    initial = (grid[0] >> upsamplings, grid[1] >> upsamplings)
    divisible = all(side % (1 << upsamplings) == 0 for side in grid)
    if not divisible or rows > initial[0] or columns > initial[1]:
        # The feature is finer than the grid, or no doubling leads to the grid: interpolate.
        x = keras.layers.Resizing(*grid, name="features_resized", dtype="float32")(x)
        return _conv(x, channels, 3, "features_on_grid")
    if initial != tuple(x.shape[1:3]):
        x = enlarge_grid(x, channels, initial, "features_enlarge")
    for i in range(1, upsamplings + 1):
        x = upconv(x, channels, 4, f"features_upconv{i}")
    return _conv(x, channels, 3, "features_on_grid")


def _dense(x: keras.KerasTensor, units: int, name: str, activation: str) -> keras.KerasTensor:
    return keras.layers.Dense(units, activation, kernel_initializer="he_normal", name=name)(x)
