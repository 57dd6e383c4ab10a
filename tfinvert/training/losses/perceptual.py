"""Distance in layers of a network, in place of pixels (Johnson et al. 2016, Zhang et al. 2018)."""

from collections.abc import Callable

import keras
import tensorflow as tf

from tfinvert.errors import InputError
from tfinvert.features.applications import build_layer_model, load_keras_model
from tfinvert.features.squeezenet import ALIASES
from tfinvert.metrics.lpips import LPIPS, MIN_SIDE_POOL5, build_alexnet_trunk, layer_distance
from tfinvert.networks import alexnet, squeezenet
from tfinvert.networks.weights import squeezenet as squeezenet_weights

_ACCEPTED = "alexnet/LAYER+…, squeezenet/LAYER+… or FILE.keras/LAYER+…"


def perceptual_loss(
    size: tuple[int, int], layers: str = ""
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """A distance between what a fixed network makes of images and of reconstructions.

    Of several layers the distances are added, each as `lpips.layer_distance` without weights. A
    user's model takes RGB in [0, 1]; images are resized to its input where that is of one size.

    Args:
      size: (height, width) of the images.
      layers: "" for LPIPS; or "alexnet/conv2+conv5" or "squeezenet/fire3+fire9", of the networks
        that ship, at the images' own size; or "FILE.keras/LAYER+LAYER", of which no code is run.

    Raises:
      InputError: there is no such network, file or layer, or the images are too small for it.
    """
    if not layers:
        return LPIPS(size)
    model = _model(size, layers)

    def loss(images: tf.Tensor, reconstructions: tf.Tensor) -> tf.Tensor:
        pairs = zip(*(_outputs(model, x) for x in (images, reconstructions)), strict=True)
        return tf.add_n([layer_distance(one, other) for one, other in pairs])

    return loss


def _model(size: tuple[int, int], layers: str) -> keras.Model:
    """From images of that size to the layers that are named."""
    source, _, wanted = layers.rpartition("/")
    name, names = f"perceptual={source}", wanted.split("+")
    if source == "alexnet":
        model = build_alexnet_trunk(size)
        there = {layer.name for layer in model.layers}
        ends = alexnet.VARIANTS["torchvision"].outputs
        if "conv5" in names and ends["conv5"] not in there:
            raise InputError(
                f"{name}/conv5 takes images of at least {MIN_SIDE_POOL5}×{MIN_SIDE_POOL5} pixels. "
                f"Received: {size[0]}×{size[1]}"
            )
        names = [ends[each] if ends.get(each) in there else each for each in names]
    elif source == "squeezenet":
        model = squeezenet.build(size, size)
        path = squeezenet_weights.find_squeezenet(squeezenet_weights.SHIPPED)
        squeezenet_weights.assign_squeezenet(model, squeezenet_weights.read_squeezenet(path))
        names = [ALIASES.get(each, each) for each in names]
    elif source.endswith(".keras"):
        model = load_keras_model(source, "perceptual takes FILE.keras/LAYER+…")
    else:
        raise InputError(f"perceptual takes {_ACCEPTED}. Received: {layers}")
    return build_layer_model(name, model, names, size)


def _outputs(model: keras.Model, images: tf.Tensor) -> list[tf.Tensor]:
    return [tf.cast(x, tf.float32) for x in tf.nest.flatten(model(images, training=False))]
