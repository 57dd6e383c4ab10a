"""From a feature to the network that inverts it."""

from collections.abc import Callable, Mapping

import keras

from tfinvert.config.choices import DEFAULT_NETWORK as DEFAULT
from tfinvert.errors import InputError
from tfinvert.networks import paper, residual
from tfinvert.networks.blocks import precision_scope
from tfinvert.networks.common import Feature, Size

# Of a feature, an output size and a width; where there are fully connected layers, of their units.
Builder = Callable[..., keras.Model]
_WITH_UNITS = "fully_connected"

# By the name of a design, a builder for each family of features.
NETWORKS: Mapping[str, Mapping[str, Builder]] = {
    "paper": {
        "two_stream": paper.two_stream,
        "one_stream": paper.one_stream,
        "convolutional": paper.convolutional,
        "fully_connected": paper.fully_connected,
    },
    "residual": {
        "two_stream": residual.grid,
        "one_stream": residual.sparse_grid,
        "convolutional": residual.convolutional,
        "fully_connected": paper.fully_connected,  # there is no grid to be residual on
    },
}


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
      network: a key of `NETWORKS`.
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
