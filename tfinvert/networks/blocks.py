"""The blocks inversion networks are made of: dense, convolution, and up-convolution.

Pure Keras layers, so that they run on every Keras backend.
"""

import contextlib
from collections.abc import Iterator

import keras


@contextlib.contextmanager
def precision_scope(precision: str) -> Iterator[None]:
    """Layers made in the block compute in "float32", "bfloat16" or "float16"; weights are float32.

    All but linear ones, which give the image.
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision if precision == "float32" else f"mixed_{precision}")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _activate(x: keras.KerasTensor, name: str, linear: bool) -> keras.KerasTensor:
    return x if linear else keras.layers.LeakyReLU(0.2, name=f"{name}_relu")(x)


def linear_conv(
    x: keras.KerasTensor,
    channels: int,
    kernel: int,
    name: str,
    *,
    initializer: str = "he_normal",
    strides: int = 1,
) -> keras.KerasTensor:
    """Convolution alone: `[B, 8, 8, c]` becomes `[B, 4, 4, channels]` (strides 2)."""
    return keras.layers.Conv2D(
        channels, kernel, strides, "same", kernel_initializer=initializer, name=name
    )(x)


def conv(
    x: keras.KerasTensor, channels: int, kernel: int, name: str, strides: int = 1
) -> keras.KerasTensor:
    """`linear_conv` and leaky ReLU 0.2."""
    return _activate(linear_conv(x, channels, kernel, name, strides=strides), name, linear=False)


def dense(x: keras.KerasTensor, units: int, name: str) -> keras.KerasTensor:
    """Fully connected layer and leaky ReLU 0.2: `[B, n]` becomes `[B, units]`."""
    x = keras.layers.Dense(units, kernel_initializer="he_normal", name=name)(x)
    return _activate(x, name, linear=False)


def enlarge_grid(
    x: keras.KerasTensor, channels: int, size: tuple[int, int], name: str
) -> keras.KerasTensor:
    """A grid to a slightly larger one and leaky ReLU 0.2: `[B, 6, 6, c]` becomes `[B, 8, 8, c']`.

    A transposed convolution of stride 1 whose kernel just reaches over what is missing.
    """
    kernel = [more - side + 1 for more, side in zip(size, x.shape[1:3], strict=True)]
    x = keras.layers.Conv2DTranspose(
        channels,
        kernel,
        kernel_initializer=keras.initializers.VarianceScaling(2.0, "fan_out", "truncated_normal"),
        name=name,
    )(x)
    return _activate(x, name, linear=False)


def upconv(
    x: keras.KerasTensor,
    channels: int,
    kernel: int,
    name: str,
    linear: bool = False,
    stride: int = 2,
) -> keras.KerasTensor:
    """Up-convolution ↑2 and leaky ReLU 0.2: `[B, 8, 8, c]` becomes `[B, 16, 16, channels]`.

    Each value becomes the top left of a 2×2 block of zeros, and the result is convolved
    (Dosovitskiy & Brox 2016, section 3), which is a transposed convolution of stride 2:

        a b      a 0 b 0
        c d  →   0 0 0 0  → convolved with kernel × kernel
                 c 0 d 0
                 0 0 0 0

    He initialisation, counting only the taps of the kernel that meet a value and not a zero, with
    stride 2 a quarter.

    Args:
      x: `[B, h, w, c]`.
      channels: channels of the result.
      kernel: side of the kernel in pixels of the result.
      name: of the layer.
      linear: leave the activation out, for the last layer, which starts near mid-grey.
      stride: how many times the grid is enlarged. Where it divides the kernel, this is a
        convolution of kernel / stride and a sub-pixel shuffle in one.
    """
    # Keras reads a transposed kernel's shape [k, k, out, in] the other way round: its "fan out" is
    # what is summed over. He's variance is 2 / (k² / stride² · in).
    x = keras.layers.Conv2DTranspose(
        channels,
        kernel,
        stride,
        "same",
        kernel_initializer=keras.initializers.VarianceScaling(
            scale=stride**2 * (0.025 if linear else 2.0),
            mode="fan_out",
            distribution="truncated_normal",
        ),
        bias_initializer=keras.initializers.Constant(0.5) if linear else "zeros",
        name=name,
        dtype="float32" if linear else None,  # the image stays float32 under mixed precision
    )(x)
    return _activate(x, name, linear)
