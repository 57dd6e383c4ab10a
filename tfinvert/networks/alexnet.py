"""AlexNet in its three published variants, as Keras functional models with the published names.

Krizhevsky, Sutskever & Hinton 2012. Weights of one variant do not fit the features of another,
even where the shapes agree, so the variant is always named (`tfinvert.networks.weights`).
"""

import dataclasses

import keras

from tfinvert.errors import InputError
from tfinvert.networks.layers import (
    GroupedConv2D,
    LocalResponseNormalization,
    Preprocess,
    ceil_max_pool,
)


@dataclasses.dataclass(frozen=True)
class Variant:
    """What tells one AlexNet from another.

    Attributes:
      widths: channels of conv1 … conv5.
      groups: of conv1 … conv5.
      padding: pixels around the input of conv1.
      input_size: side of the square images it was trained on.
      preprocessing: see `layers.PREPROCESSING`.
      after_conv: what follows the ReLU of conv1 and conv2.
      ceil: whether pooling keeps a last, partial window.
      outputs: the raw layer that ends each of the paper's layers, its "last processing step".
    """

    widths: tuple[int, int, int, int, int]
    groups: tuple[int, int, int, int, int]
    padding: int
    input_size: int
    preprocessing: str
    after_conv: tuple[str, ...]
    ceil: bool
    outputs: dict[str, str]


def _outputs(first: str, second: str) -> dict[str, str]:
    convolutions = {"conv1": first, "conv2": second, "conv3": "relu3", "conv4": "relu4"}
    rest = {"conv5": "pool5", "fc6": "relu6", "fc7": "relu7", "fc8": "fc8", "probabilities": "prob"}
    return convolutions | rest


_CAFFE = {
    "widths": (96, 256, 384, 384, 256),
    "groups": (1, 2, 1, 2, 2),
    "padding": 0,
    "input_size": 227,
    "preprocessing": "caffe_rounded",
    "ceil": True,
}
VARIANTS = {
    "caffenet": Variant(**_CAFFE, after_conv=("pool", "norm"), outputs=_outputs("norm1", "norm2")),
    "bvlc": Variant(**_CAFFE, after_conv=("norm", "pool"), outputs=_outputs("pool1", "pool2")),
    "torchvision": Variant(
        widths=(64, 192, 384, 256, 256),
        groups=(1, 1, 1, 1, 1),
        padding=2,
        input_size=224,
        preprocessing="torch",
        after_conv=("pool",),
        ceil=False,
        outputs=_outputs("pool1", "pool2"),
    ),
}
PAPER_LAYERS = tuple(VARIANTS["caffenet"].outputs)


def build(
    variant: str,
    image_size: tuple[int, int] | None = None,
    input_size: int | tuple[int, int] | None = None,
    units: tuple[int, int, int] | None = (4096, 4096, 1000),
    dropout: float = 0.5,
    seed: int = 0,
    last_pool: bool = True,
) -> keras.Model:
    """AlexNet from RGB images in [0, 1]; its layers are named conv1, relu1, pool1, norm1, … prob.

    Args:
      variant: "caffenet", "bvlc" or "torchvision".
      image_size: (height, width) of the images; by default the network's own input size. Others
        are resized to it.
      input_size: what the network sees, a side or (height, width); by default what the variant
        was trained on, 227 or 224.
      units: of fc6, fc7 and fc8; None ends the network with conv5 and its pooling.
      dropout: after fc6 and fc7, while training.
      seed: of the initial weights.
      last_pool: False ends the network with relu5, which smaller inputs have too.

    Returns:
      A functional model from `[B, *image_size, 3]` to class probabilities, pool5 or relu5.

    Raises:
      InputError: there is no such variant, or the input is too small for a layer.
    """
    if variant not in VARIANTS:
        raise InputError(f"unknown AlexNet {variant!r}; there are: {', '.join(VARIANTS)}")
    facts = VARIANTS[variant]
    size = input_size or facts.input_size
    size = (size, size) if isinstance(size, int) else tuple(size)
    if min(size) < 1:
        raise InputError(_too_small("conv1"))
    inputs = keras.Input((*(image_size or size), 3), name="images")
    x = Preprocess(size, facts.preprocessing, name="preprocess")(inputs)
    x = _convolution(x, facts, 1, seed)
    x = _after(x, facts, 1)
    x = _after(_convolution(x, facts, 2, seed), facts, 2)
    for i in (3, 4, 5):
        x = _convolution(x, facts, i, seed)
    if not last_pool:
        return keras.Model(inputs, x, name=f"alexnet_{variant}")
    x = _pool(x, facts, "pool5")
    if units is not None:
        x = keras.layers.Flatten(name="flatten")(x)
        for i, count in zip((6, 7), units, strict=False):
            x = keras.layers.Dense(
                count, kernel_initializer=keras.initializers.HeNormal(seed), name=f"fc{i}"
            )(x)
            x = keras.layers.ReLU(name=f"relu{i}")(x)
            x = keras.layers.Dropout(dropout, name=f"drop{i}")(x)
        glorot = keras.initializers.GlorotUniform(seed)
        x = keras.layers.Dense(units[2], kernel_initializer=glorot, name="fc8", dtype="float32")(x)
        x = keras.layers.Softmax(name="prob")(x)
    return keras.Model(inputs, x, name=f"alexnet_{variant}")


def _convolution(x: keras.KerasTensor, facts: Variant, i: int, seed: int) -> keras.KerasTensor:
    kernel, stride = {1: (11, 4), 2: (5, 1)}.get(i, (3, 1))
    padding = facts.padding if i == 1 else kernel // 2
    if min(x.shape[1:3]) + 2 * padding < kernel:
        raise InputError(_too_small(f"conv{i}"))
    if i == 1 and padding:
        x = keras.layers.ZeroPadding2D(padding, name="conv1_pad")(x)
    groups = facts.groups[i - 1]
    x = (GroupedConv2D if groups > 1 else keras.layers.Conv2D)(
        facts.widths[i - 1],
        kernel,
        stride,
        "valid" if i == 1 else "same",
        groups=groups,
        kernel_initializer=keras.initializers.HeNormal(seed),
        name=f"conv{i}",
    )(x)
    return keras.layers.ReLU(name=f"relu{i}")(x)


def _after(x: keras.KerasTensor, facts: Variant, i: int) -> keras.KerasTensor:
    for step in facts.after_conv:
        if step == "norm":
            x = LocalResponseNormalization(name=f"norm{i}")(x)
        else:
            x = _pool(x, facts, f"pool{i}")
    return x


def _pool(x: keras.KerasTensor, facts: Variant, name: str) -> keras.KerasTensor:
    if min(x.shape[1:3]) < (2 if facts.ceil else 3):
        raise InputError(_too_small(name))
    if facts.ceil:
        return ceil_max_pool(x, name)
    return keras.layers.MaxPooling2D(3, 2, name=name)(x)


def _too_small(layer: str) -> str:
    return f"the input of AlexNet is too small: {layer} would be empty; 63×63 pixels are enough"
