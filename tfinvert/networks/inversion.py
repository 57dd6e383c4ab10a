"""From a feature to the network that inverts it."""

import keras

from tfinvert.config.registry import DEFAULT_NETWORK as DEFAULT
from tfinvert.config.registry import NETWORKS
from tfinvert.errors import InputError
from tfinvert.networks.blocks import precision_scope
from tfinvert.networks.common import Feature, Size

_WITH_UNITS = "fully_connected"


def build(
    feature: Feature,
    output_size: Size | None = None,
    width: float = 1.0,
    units: int = 0,
    network: str = DEFAULT,
    precision: str = "float32",
) -> keras.Model:
    """The inversion network for a feature.

    Args:
      feature: its spec is the network's input, its `decoder` names the family of networks.
      output_size: (height, width) of the image; by default the feature's image size, brought to
        the next size the up-convolutions reach.
      width: scales the channels of every layer but the last.
      units: of the first two fully connected layers of a network for vectors; 0 for 4096 × width.
      network: a name in `registry.NETWORKS`.
      precision: what all layers but the last compute in, "float32", "bfloat16" or "float16"; the
        weights are float32.

    Returns:
      A functional model from `[B, *feature.spec.shape]`, standardised, to `[B, height, width, 3]`,
      in linear units around [0, 1].

    Raises:
      InputError: no network fits the feature, or none reaches `output_size`.
    """
    if not width > 0:
        raise InputError(f"width must be positive. Received: {width}")
    builders = NETWORKS[network]
    if feature.decoder not in builders:
        raise InputError(
            f"{feature.name} asks for the decoder {feature.decoder!r}; there are: "
            f"{', '.join(sorted(builders))}"
        )
    if units < 0:
        raise InputError(f"units must not be negative. Received: {units}")
    takes_units = feature.decoder == _WITH_UNITS
    if units and not takes_units:
        raise InputError(
            f"the network for {feature.name} has no fully connected layers that could take units. "
            f"Received: {units}"
        )
    arguments = (units,) if takes_units else ()
    with precision_scope(precision):
        return builders[feature.decoder](feature, output_size, width, *arguments)
