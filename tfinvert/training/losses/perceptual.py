"""Perceptual loss: distance in the layers of a fixed network (Johnson et al. 2016, Zhang et al.
2018)."""

import functools
import operator
from collections.abc import Callable

import keras
from keras import ops

from tfinvert.common.backend import Tensor, default_settings
from tfinvert.errors import InputError
from tfinvert.features.applications import build_layer_model, load_keras_model
from tfinvert.features.squeezenet import ALIASES
from tfinvert.metrics.lpips import LPIPS, MIN_SIDE_POOL5, build_alexnet_trunk, layer_distance
from tfinvert.networks import alexnet, squeezenet
from tfinvert.networks.weights import squeezenet as squeezenet_weights

_FORMATS = "alexnet/LAYER+…, squeezenet/LAYER+… or FILE.keras/LAYER+…"


@default_settings
def perceptual_loss(size: tuple[int, int], layers: str = "") -> Callable[[Tensor, Tensor], Tensor]:
    """Creates a loss that compares a fixed network's activations.

    The distances of several layers (`lpips.layer_distance`, unweighted) are summed. A user's model
    takes RGB images in [0, 1], which are resized if its input has a fixed size.

    Args:
      size: (height, width) of the images.
      layers: "" for LPIPS; layers of a shipped network at the images' own size, such as
        "alexnet/conv2+conv5" or "squeezenet/fire3+fire9"; or layers of a Keras file,
        "FILE.keras/LAYER+LAYER", which is loaded in safe mode, without executing code.

    Raises:
      InputError: network, file or layer do not exist, or the images are too small.
    """
    if not layers:
        return LPIPS(size)
    model = _build_model(size, layers)

    def loss(images: Tensor, reconstructions: Tensor) -> Tensor:
        pairs = zip(*(_activations(model, x) for x in (images, reconstructions)), strict=True)
        return functools.reduce(operator.add, (layer_distance(*pair) for pair in pairs))

    loss.variables = model.variables
    return loss


def _build_model(size: tuple[int, int], layers: str) -> keras.Model:
    """Builds a model from images to the activations of the named layers."""
    source, _, wanted = layers.rpartition("/")
    prefix, names = f"perceptual={source}", wanted.split("+")
    if source == "alexnet":
        model = build_alexnet_trunk(size)
        present = {layer.name for layer in model.layers}
        outputs = alexnet.VARIANTS["torchvision"].outputs
        if "conv5" in names and outputs["conv5"] not in present:
            raise InputError(
                f"--loss={prefix}/conv5 requires images of at least "
                f"{MIN_SIDE_POOL5}×{MIN_SIDE_POOL5} pixels. Received: {size[0]}×{size[1]}"
            )
        names = [outputs[name] if outputs.get(name) in present else name for name in names]
    elif source == "squeezenet":
        model = squeezenet.build(size, size)
        path = squeezenet_weights.find_squeezenet(squeezenet_weights.SHIPPED)
        squeezenet_weights.assign_squeezenet(model, squeezenet_weights.read_squeezenet(path))
        names = [ALIASES.get(name, name) for name in names]
    elif source.endswith(".keras"):
        model = load_keras_model(source, f"--loss=perceptual=… takes {_FORMATS}. Received")
    else:
        raise InputError(f"--loss=perceptual=… takes {_FORMATS}. Received: {layers}")
    return build_layer_model(prefix, model, names, size)


def _activations(model: keras.Model, images: Tensor) -> list[Tensor]:
    return [ops.cast(x, "float32") for x in keras.tree.flatten(model(images, training=False))]
