"""Converts the arrays of `train.py` up to version 0.3 to an inverter directory.

Later versions of `train.py` write the directory.

python tools/gpu/collect.py --arrays=hog.npz --data='74 000 photographs' --output=inverters/hog
"""

import json
import pathlib
from collections.abc import Mapping

import keras
import numpy as np
from absl import flags

from tfinvert import features
from tfinvert.commands import runtime
from tfinvert.common.files import read_arrays
from tfinvert.errors import InputError
from tfinvert.features.standardization import Standardization
from tfinvert.inverter import Inverter
from tfinvert.networks import inversion


def inverter_of(arrays: Mapping[str, np.ndarray], feature: str | None = None) -> Inverter:
    """Builds an inverter whose card has the settings and measurements of its training.

    Args:
      arrays: the arrays of `train.py` up to version 0.3.
      feature: name of the feature, if its weights have another path here than in training.

    Raises:
      InputError: the arrays are not those of `train.py`, or do not fit the feature.
    """
    if "made" not in arrays:
        raise InputError(
            "--arrays must be a file that an earlier train.py wrote. Received: arrays without "
            "metadata"
        )
    made = json.loads(str(arrays["made"]))
    chosen = features.get(feature or made["feature"], image_shape=(made["size"], made["size"], 3))
    if made["train_encoder"]:
        chosen = chosen.trainable_copy()
        _fill(chosen.model.trainable_variables, arrays, lambda i, _: f"encoder/{i}")
    size = made["output_size"]
    network = inversion.build(
        chosen, (size, size) if size else None, made["width"], made["units"], made["network"]
    )
    _fill(network.trainable_variables, arrays, lambda _, variable: f"network/{variable.path}")
    mean, scale = (arrays[f"feature/{name}"] for name in ("mean", "scale"))
    return Inverter(chosen, Standardization(mean, scale, chosen.log_floor), network, made)


def _fill(variables: list[keras.Variable], arrays: Mapping[str, np.ndarray], name) -> None:
    for i, variable in enumerate(variables):
        array = arrays.get(name(i, variable))
        if array is None or array.shape != tuple(variable.shape):
            raise InputError(
                f"--arrays lacks an array; train again. Received: no {name(i, variable)} of shape "
                f"{tuple(variable.shape)}"
            )
        variable.assign(array.astype(np.float32))


def main() -> None:
    """Reads the arrays and saves the inverter."""
    if pathlib.Path(FLAGS.output).exists():
        raise InputError(f"--output must not exist yet. Received: {FLAGS.output}")
    inverter = inverter_of(read_arrays(FLAGS.arrays), FLAGS.feature)
    if FLAGS.data:
        inverter.card["data"] = FLAGS.data
    inverter.save(FLAGS.output, "float16")
    print(f"{inverter.feature.name}: {FLAGS.output}")


FLAGS = flags.FLAGS

if __name__ == "__main__":
    flags.DEFINE_string("arrays", None, "File with the arrays of train.py.", required=True)
    flags.DEFINE_string(
        "feature", None, "Feature, if its weights have another path here than in training."
    )
    flags.DEFINE_string(
        "data",
        None,
        "Description of the photographs for the card; default: their path in training.",
    )
    flags.DEFINE_string("output", None, "Directory to write.", required=True)
    runtime.run(main)
