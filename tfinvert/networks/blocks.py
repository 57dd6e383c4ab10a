"""Building blocks of inversion networks: dense, convolution and up-convolution layers.

They consist of Keras layers only, so they run on every Keras backend.
"""

import contextlib
from collections.abc import Iterator

import keras


@contextlib.contextmanager
def precision_scope(precision: str) -> Iterator[None]:
    """Sets the compute precision of the layers created in the `with` block.

    Weights stay float32, as do the layers that output images.

    Args:
      precision: "float32", "bfloat16" or "float16".
    """
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision if precision == "float32" else f"mixed_{precision}")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(previous)


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
    """Applies a convolution without activation.

    Args:
      x: `[B, h, w, c]`.
      channels: output channels.
      kernel: side of the kernel, in cells.
      name: name of the layer.
      initializer: initialiser of the kernel.
      strides: stride; 2 turns `[B, 8, 8, c]` into `[B, 4, 4, channels]`.
    """
    return keras.layers.Conv2D(
        channels, kernel, strides, "same", kernel_initializer=initializer, name=name
    )(x)


def conv(
    x: keras.KerasTensor, channels: int, kernel: int, name: str, strides: int = 1
) -> keras.KerasTensor:
    """Applies `linear_conv` and leaky ReLU with slope 0.2."""
    return _activate(linear_conv(x, channels, kernel, name, strides=strides), name, linear=False)


def dense(x: keras.KerasTensor, units: int, name: str) -> keras.KerasTensor:
    """Applies a fully connected layer and leaky ReLU with slope 0.2: `[B, n]` → `[B, units]`."""
    x = keras.layers.Dense(units, kernel_initializer="he_normal", name=name)(x)
    return _activate(x, name, linear=False)


def enlarge_grid(
    x: keras.KerasTensor, channels: int, size: tuple[int, int], name: str
) -> keras.KerasTensor:
    """Enlarges a grid by a few cells: `[B, 6, 6, c]` → `[B, 8, 8, channels]`.

    Applies a transposed convolution of stride 1, whose kernel covers exactly the missing cells,
    and leaky ReLU with slope 0.2.

    Args:
      x: `[B, h, w, c]`.
      channels: output channels.
      size: (rows, columns) of the output, at least those of `x`.
      name: name of the layer.
    """
    kernel = [target - side + 1 for target, side in zip(size, x.shape[1:3], strict=True)]
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
    """Applies an up-convolution and leaky ReLU with slope 0.2.

    With stride 2, `[B, 8, 8, c]` becomes `[B, 16, 16, channels]`: each value becomes the top left
    of a 2×2 block of zeros, and the result is convolved (Dosovitskiy & Brox 2016, section 3),
    which is a transposed convolution of stride 2:

        a b      a 0 b 0
        c d  →   0 0 0 0  → convolved with kernel × kernel
                 c 0 d 0
                 0 0 0 0

    He initialisation counts only the kernel taps that meet a value rather than a zero: a quarter
    of them with stride 2.

    Args:
      x: `[B, h, w, c]`.
      channels: output channels.
      kernel: side of the kernel, in output pixels.
      name: name of the layer.
      linear: whether to omit the activation, as in the last layer, which starts near mid-grey.
      stride: upsampling factor. If it divides the kernel, the layer equals a convolution with
        kernel / stride followed by a sub-pixel shuffle.
    """
    # Keras reads a transposed kernel's shape [k, k, out, in] as [k, k, in, out], so its "fan_out"
    # is the number of inputs. The He variance is 2 / (k² / stride² · in).
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
        dtype="float32" if linear else None,  # the image stays float32 in mixed precision
    )(x)
    return _activate(x, name, linear)
