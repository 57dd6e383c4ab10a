"""Builds the inversion network for a feature."""

import keras

from tfinvert.common.backend import default_settings
from tfinvert.config.registry import DEFAULT_NETWORK as DEFAULT
from tfinvert.config.registry import NETWORKS
from tfinvert.errors import InputError
from tfinvert.networks.blocks import precision_scope
from tfinvert.networks.common import Feature, Size

_WITH_HIDDEN_UNITS = "fully_connected"


@default_settings
def build(
    feature: Feature,
    output_size: Size | None = None,
    width: float = 1.0,
    hidden_units: int = 0,
    network: str = DEFAULT,
    precision: str = "float32",
) -> keras.Model:
    """Builds the inversion network for a feature.

    Args:
      feature: the feature to invert; its spec is the network's input, its `decoder` names the
        family of networks.
      output_size: (height, width) of the output image, in pixels; defaults to the feature's image
        size, adjusted to the next size that the up-convolutions can produce.
      width: width multiplier for the channels of every layer but the last.
      hidden_units: units of each of the first two fully connected layers (vector features only);
        0 means 4096 × width.
      network: the architecture, a key of `config.registry.NETWORKS`.
      precision: compute precision of all layers but the last, "float32", "bfloat16" or "float16";
        weights are float32.

    Returns:
      A functional model from standardised features `[B, *feature.spec.shape]` to images
      `[B, height, width, 3]`, with a linear output around [0, 1].

    Raises:
      InputError: no network fits the feature, none produces `output_size`, or an argument is out
        of range.
    """
    if not width > 0:
        raise InputError(f"--width must be positive. Received: {width}")
    builders = NETWORKS[network]
    if feature.decoder not in builders:
        raise InputError(
            f"unknown decoder of the feature {feature.name}; choose one of "
            f"{', '.join(sorted(builders))}. Received: {feature.decoder!r}"
        )
    if hidden_units < 0:
        raise InputError(f"--hidden_units must not be negative. Received: {hidden_units}")
    takes_hidden_units = feature.decoder == _WITH_HIDDEN_UNITS
    if hidden_units and not takes_hidden_units:
        raise InputError(
            f"the network for {feature.name} has no fully connected layers, so --hidden_units must "
            f"be 0. Received: {hidden_units}"
        )
    arguments = (hidden_units,) if takes_hidden_units else ()
    with precision_scope(precision):
        return builders[feature.decoder](feature, output_size, width, *arguments)
